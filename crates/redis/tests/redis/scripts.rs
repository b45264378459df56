//! Scripts that the server doesn't know any more, and what calls cost.

use std::sync::Arc;

use cloakroom::store::{Store as _, Written};
use cloakroom_redis::RedisStore;
use engines::{Breakable as _, Engine as _, Redis, Valkey};

use crate::fixture::{
    T0, anonymous, changed, create, is_alive, later, listed, open, revocation, run, session, subject,
    tombstone,
};

#[test]
fn scripts_that_were_flushed_are_loaded_again() {
    run(async {
        let redis = Redis::start();
        let (store, mut behind) = open(&redis.url()).await;
        every_change(&store, 0).await;
        behind.ask::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await;
        every_change(&store, 10).await;
    });
}

#[test]
fn a_restarted_server_is_given_the_scripts_again() {
    run(async {
        let mut redis = Redis::start_durable();
        let (store, _) = open(&redis.url()).await;
        let record = session(100, "ada");
        create(&store, &record).await;
        every_change(&store, 0).await;
        redis.kill();
        redis.restart();
        // The first call finds the connection broken, and is made again on a new one.
        assert!(is_alive(&store, &record).await, "what was acknowledged is there");
        every_change(&store, 10).await;
        assert_eq!(store.seen().reconnections, 1);
    });
}

async fn every_change(store: &RedisStore, first: u64) {
    let (one, other) = (session(first, "user"), anonymous(first + 1));
    create(store, &one).await;
    create(store, &other).await;
    let next = changed(&one);
    assert_eq!(store.replace(Arc::new(next), one.version, T0).await.unwrap(), Written::Stored);
    assert_eq!(store.touch(one.id, later(1), T0).await.unwrap(), Written::Stored);
    assert_eq!(listed(store, "user").await, [one.id]);
    let ended = store.revoke().unwrap().end_subject(&subject("user"), revocation(), T0).await.unwrap();
    assert_eq!(ended, Some(vec![one.id]));
    assert_eq!(store.end(tombstone(other.id), None, T0).await.unwrap(), Written::Stored);
    store.index().unwrap().end_started_before(T0, T0).await.unwrap();
}

/// One command goes to the server for each call, counted by the server itself.
#[test]
fn each_call_is_one_command() {
    run(async {
        let valkey = Valkey::start();
        let (store, mut behind) = open(&valkey.url()).await;
        // The scripts are loaded.
        every_change(&store, 0).await;
        let record = session(100, "ada");
        let next = changed(&record);
        let mut count = async || {
            let told: String = behind.ask(redis::cmd("INFO").arg("commandstats")).await;
            let calls = |name: &str| {
                let line = told.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
                line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
            };
            // What scripts call is counted too: of that, only what they never do is told here.
            (calls("evalsha") + calls("eval"), calls("mget"))
        };
        let before = count().await;
        create(&store, &record).await;
        assert_eq!(store.replace(Arc::new(next.clone()), record.version, T0).await.unwrap(), Written::Stored);
        assert_eq!(store.touch(record.id, later(1), T0).await.unwrap(), Written::Stored);
        assert!(is_alive(&store, &next).await);
        assert_eq!(store.end(tombstone(record.id), None, T0).await.unwrap(), Written::Stored);
        let after = count().await;
        assert_eq!((after.0 - before.0, after.1 - before.1), (4, 1));
    });
}
