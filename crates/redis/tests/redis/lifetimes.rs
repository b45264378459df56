//! Nothing stays for ever: every key has a time to live, and one that is long enough.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Lifetime, Record,
    store::{Store as _, Times, Written},
};
use engines::{Redis, RedisCluster, Valkey, shared};

use crate::fixture::{
    T0, anonymous, changed, create, id, later, listed, open, revocation, run, session, subject, tombstone,
};

#[test]
fn every_key_has_a_time_to_live_on_redis() {
    run(every_key_has_a_time_to_live(shared::<Redis>()));
}

#[test]
fn every_key_has_a_time_to_live_on_valkey() {
    run(every_key_has_a_time_to_live(shared::<Valkey>()));
}

#[test]
fn every_key_has_a_time_to_live_on_a_cluster() {
    run(every_key_has_a_time_to_live(shared::<RedisCluster>()));
}

async fn every_key_has_a_time_to_live(url: String) {
    let (store, mut behind) = open(&url).await;
    let index = store.index().unwrap();
    index.end_started_before(T0, T0).await.unwrap();
    for n in 0..60 {
        let record = if n % 2 == 0 { anonymous(n) } else { session(n, &format!("user-{}", n % 7)) };
        create(&store, &record).await;
        let next = Record { subject: Some(subject("ada")), ..changed(&record) };
        assert_eq!(store.replace(Arc::new(next.clone()), record.version, T0).await.unwrap(), Written::Stored);
        assert_eq!(store.touch(id(n), later(60), later(60)).await.unwrap(), Written::Stored);
        if n % 3 == 0 {
            assert_eq!(store.end(tombstone(id(n)), None, T0).await.unwrap(), Written::Stored);
        }
    }
    // Refused changes leave nothing either.
    assert_eq!(store.touch(id(1_000), T0, T0).await.unwrap(), Written::Gone);
    assert_eq!(store.end(tombstone(id(1_000)), None, T0).await.unwrap(), Written::Gone);
    listed(&store, "ada").await;
    index.end_subject(&subject("user-1"), revocation(), T0).await.unwrap();
    index.end_subject(&subject("ada"), revocation(), T0).await.unwrap();
    index.end_started_before(later(1), later(1)).await.unwrap();
    let keys = behind.keys().await;
    assert!(keys.len() > 60 + 256, "{} keys", keys.len());
    for key in keys {
        let ttl_ms = behind.ttl_ms(&key).await;
        let is_bounded = (1..=3 * 86_400_000).contains(&ttl_ms);
        assert!(is_bounded, "{} is kept for {ttl_ms} ms", String::from_utf8_lossy(&key));
    }
}

/// A minute longer than the caller's clock says, and never so short that something is lost.
#[test]
fn keys_live_as_long_as_what_they_hold() {
    run(async {
        let (store, mut behind) = open(&shared::<Redis>()).await;
        let record = session(1, "ada");
        create(&store, &record).await;
        let about = |seconds: i64| 1_000 * (seconds + 50)..=1_000 * (seconds + 60);
        let key = behind.key(&format!("s:{}", record.id)).await;
        assert!(about(1_800).contains(&behind.ttl_ms(&key).await), "the idle timeout");
        let index = behind.key("u:ada").await;
        assert!(about(86_400).contains(&behind.ttl_ms(&index).await), "the absolute one");
        let watermark = behind.key("w").await;
        assert!(behind.ttl_ms(&watermark).await > 86_400_000, "it outlives every session of its shard");

        assert_eq!(store.touch(record.id, later(1_000), later(1_000)).await.unwrap(), Written::Stored);
        assert!(about(1_800).contains(&behind.ttl_ms(&key).await), "counted anew");
        assert_eq!(store.touch(record.id, later(85_000), later(1_001)).await.unwrap(), Written::Stored);
        let to_the_end = 86_400 - 1_001;
        assert!(about(to_the_end).contains(&behind.ttl_ms(&key).await), "and no longer than to the end");

        let month = Duration::from_secs(30 * 86_400);
        let long =
            Record { times: Times::start(Lifetime::new(month, month).unwrap(), T0, T0), ..changed(&record) };
        assert_eq!(store.replace(Arc::new(long), record.version, T0).await.unwrap(), Written::Stored);
        for key in [&key, &index, &watermark] {
            assert!(behind.ttl_ms(key).await > 29 * 86_400_000, "a session that is to last longer");
        }
        assert_eq!(store.end(tombstone(record.id), None, T0).await.unwrap(), Written::Stored);
        assert!(about(60).contains(&behind.ttl_ms(&key).await), "a tombstone is kept for its grace");
    });
}

/// Rotation, and every other change that leaves the subject as it is, writes one key.
#[test]
fn a_plain_change_writes_one_key() {
    run(async {
        let (store, mut behind) = open(&shared::<Redis>()).await;
        let record = session(1, "ada");
        create(&store, &record).await;
        let (index, watermark) = (behind.key("u:ada").await, behind.key("w").await);
        let mut before = Vec::new();
        for key in [&index, &watermark] {
            before.push(behind.ask::<Option<Vec<u8>>>(redis::cmd("DUMP").arg(key)).await);
        }
        let next = changed(&record);
        assert_eq!(store.replace(Arc::new(next), record.version, later(1)).await.unwrap(), Written::Stored);
        for (key, before) in [&index, &watermark].into_iter().zip(before) {
            assert_eq!(behind.ask::<Option<Vec<u8>>>(redis::cmd("DUMP").arg(key)).await, before);
        }
    });
}
