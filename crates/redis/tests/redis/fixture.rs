//! Places and sessions to test with.

use std::{
    marker::PhantomData,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cloakroom::{
    Data, Lifetime, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Store, Times, Tombstone, Written},
};
use cloakroom_core::Secret;
use cloakroom_redis::RedisStore;
use cloakroom_store_test::Harness;
use engines::{Engine, shared};

/// 2026-01-01T00:04:05.678Z.
pub(crate) const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);

/// A prefix of its own on an engine that other tests use as well. What is left there has a time to live.
pub(crate) struct Place<E> {
    prefix: String,
    engine: PhantomData<fn() -> E>,
}

impl<E: Engine> Place<E> {
    pub(crate) fn new() -> Self {
        Self { prefix: prefix(), engine: PhantomData }
    }
}

impl<E: Engine> Harness for Place<E> {
    type Store = RedisStore;

    async fn open(&self) -> RedisStore {
        RedisStore::open(&format!("{}?prefix={}", shared::<E>(), self.prefix)).await.unwrap()
    }
}

/// A prefix that no other test has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("t{}-{}-{since}:", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
