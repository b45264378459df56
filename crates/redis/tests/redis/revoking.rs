//! Ends that nothing undoes: neither a clock that is behind, nor a server that throws keys away.

use std::sync::Arc;

use cloakroom::{
    Record, SessionId,
    store::{Loaded, Store as _, Written},
};
use engines::{Engine, Redis, RedisCluster, Valkey, shared};

use crate::fixture::{T0, anonymous, create, later, listed, open, revocation, run, session, subject};

macro_rules! on_engines {
    ($($case:ident)*) => {
        mod on_redis { $(#[test] fn $case() { super::run(super::$case::<super::Redis>()); })* }
        mod on_valkey { $(#[test] fn $case() { super::run(super::$case::<super::Valkey>()); })* }
        mod on_cluster { $(#[test] fn $case() { super::run(super::$case::<super::RedisCluster>()); })* }
    };
}

on_engines! {
    what_has_expired_by_the_revokers_clock_ends_too
    a_watermark_that_was_thrown_away_revives_nothing
}

/// The bug: logging out everywhere passed over a session whose time was over by the revoker's clock; a touch with an
/// earlier time came after it, and the session lived on. The mend: it ends, and isn't reported.
async fn what_has_expired_by_the_revokers_clock_ends_too<E: Engine>() {
    let (store, _) = open(&shared::<E>()).await;
    let record = session(1, "ada");
    create(&store, &record).await;
    let revoke = store.revoke().unwrap();
    let ended = revoke.end_subject(&subject("ada"), revocation(), later(1_801)).await.unwrap();
    assert_eq!(ended, Some(Vec::new()));
    assert_eq!(store.touch(record.id, later(1_799), later(1_799)).await.unwrap(), Written::Gone);
    assert!(matches!(store.load(record.id, later(1_799)).await.unwrap(), Loaded::Absent));
    assert_eq!(
        store.create(Arc::new(record), later(1_799)).await.unwrap(),
        Written::Conflict,
        "an id is used once"
    );
}

/// The bug: a shard's watermark that the server had thrown away meant that nothing was ended there, so all that had been
/// was alive again. The mend: without it nothing in the shard is alive, and a new one begins with the next session.
async fn a_watermark_that_was_thrown_away_revives_nothing<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    let in_shard_7 = |n: u8, record: Record| {
        let mut bytes = [n; 16];
        bytes[0] = 7;
        Record { id: SessionId::from_bytes(bytes), ..record }
    };
    let (cut, after) = (in_shard_7(1, session(1, "ada")), in_shard_7(2, anonymous(2)));
    create(&store, &cut).await;
    store.index().unwrap().end_started_before(later(1), later(1)).await.unwrap();
    let watermark = format!("{}{{07}}w", behind.prefix);
    assert_eq!(behind.ask::<u64>(redis::cmd("DEL").arg(&watermark)).await, 1);
    let is_gone = async || {
        assert!(matches!(store.load(cut.id, later(2)).await.unwrap(), Loaded::Absent));
        assert_eq!(store.touch(cut.id, later(2), later(2)).await.unwrap(), Written::Gone);
        assert!(listed(&store, "ada").await.is_empty());
    };
    is_gone().await;
    let mut times = after.times;
    (times.created, times.started, times.active) = (later(100), later(100), later(100));
    let after = Record { times, ..after };
    assert_eq!(store.create(Arc::new(after.clone()), later(100)).await.unwrap(), Written::Stored);
    is_gone().await;
    assert!(matches!(store.load(after.id, later(100)).await.unwrap(), Loaded::Found(_)));
    assert!(matches!(store.load(after.id, T0).await.unwrap(), Loaded::Found(_)));
}
