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
    store::{Authority, EndReason, Loaded, Revocation, Store, Times, Tombstone, Written},
};
use cloakroom_core::Secret;
use cloakroom_redis::RedisStore;
use cloakroom_store_test::Harness;
use engines::{Engine, shared};
use redis::{
    FromRedisValue, aio::MultiplexedConnection, cluster::ClusterClient, cluster_async::ClusterConnection,
};

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

/// A store on a prefix of its own, and a look behind it.
pub(crate) async fn open(url: &str) -> (RedisStore, Behind) {
    let prefix = prefix();
    let store = RedisStore::open(&with_prefix(url, &prefix)).await.unwrap();
    (store, Behind::of(url, prefix).await)
}

pub(crate) fn with_prefix(url: &str, prefix: &str) -> String {
    format!("{url}?prefix={prefix}")
}

/// What the engine holds, as somebody sees it who comes by another way.
pub(crate) struct Behind {
    pub(crate) prefix: String,
    wire: Wire,
}

enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Behind {
    async fn of(url: &str, prefix: String) -> Self {
        let wire = match url.strip_prefix("redis+cluster://") {
            Some(nodes) => {
                let nodes = nodes.split(',').map(|node| format!("redis://{node}"));
                Wire::Cluster(ClusterClient::new(nodes).unwrap().get_async_connection().await.unwrap())
            }
            None => {
                Wire::One(redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap())
            }
        };
        Self { prefix, wire }
    }

    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> T {
        match &mut self.wire {
            Wire::One(wire) => command.query_async(wire).await.unwrap(),
            Wire::Cluster(wire) => command.query_async(wire).await.unwrap(),
        }
    }

    /// Every key of the prefix, on all servers.
    pub(crate) async fn keys(&mut self) -> Vec<Vec<u8>> {
        let pattern = format!("{}*", self.prefix);
        self.ask(redis::cmd("KEYS").arg(pattern)).await
    }

    pub(crate) async fn ttl_ms(&mut self, key: &[u8]) -> i64 {
        self.ask(redis::cmd("PTTL").arg(key)).await
    }

    /// The key whose name ends so.
    pub(crate) async fn key(&mut self, end: &str) -> Vec<u8> {
        let keys = self.keys().await;
        let mut matching = keys.iter().filter(|key| String::from_utf8_lossy(key).ends_with(end));
        let key = matching.next().unwrap_or_else(|| panic!("no key ends in {end}")).clone();
        assert!(matching.next().is_none(), "several keys end in {end}");
        key
    }
}

pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Spread like random ones, over all shards.
pub(crate) fn id(n: u64) -> SessionId {
    let number = u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    SessionId::from_bytes(
        (number ^ (number >> 61)).wrapping_mul(0xda94_2042_e4dd_58b5_9e37_79b9).to_be_bytes(),
    )
}

/// A session that began at [`T0`].
pub(crate) fn anonymous(n: u64) -> Record {
    Record {
        id: id(n),
        version: Version::from_write_id(unique()),
        subject: None,
        authority: Authority::new(Secret::from_bytes([n as u8; 16]).verifier(&id(n))),
        times: Times::start(Lifetime::default(), T0, T0),
        client: Some("Firefox on Linux".into()),
        data: Data::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap(),
    }
}

pub(crate) fn session(n: u64, name: &str) -> Record {
    Record { subject: Some(subject(name)), ..anonymous(n) }
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

pub(crate) fn changed(record: &Record) -> Record {
    Record { version: Version::from_write_id(unique()), ..record.clone() }
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

pub(crate) fn tombstone(id: SessionId) -> Tombstone {
    let version = Version::from_write_id(unique());
    Tombstone { id, version, at: T0, reason: EndReason::Logout, expires: later(60) }
}

pub(crate) fn revocation() -> Revocation {
    Revocation {
        at: T0,
        except: None,
        reason: EndReason::Revoked,
        version: Version::from_write_id(unique()),
        tombstones_expire: later(60),
    }
}

pub(crate) async fn create(store: &RedisStore, record: &Record) {
    assert_eq!(store.create(Arc::new(record.clone()), T0).await.unwrap(), Written::Stored);
}

pub(crate) async fn is_alive(store: &RedisStore, record: &Record) -> bool {
    matches!(store.load(record.id, T0).await.unwrap(), Loaded::Found(found) if found.version == record.version)
}

pub(crate) async fn listed(store: &RedisStore, name: &str) -> Vec<SessionId> {
    let page = store.index().unwrap().list(&subject(name), None, 1_000, T0).await.unwrap();
    page.into_iter().map(|summary| summary.id).collect()
}

/// Runs a test as the suite does.
pub(crate) fn run(test: impl Future<Output = ()>) {
    cloakroom_store_test::run(test);
}
