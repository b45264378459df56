//! News of changes, between two stores on one engine.

use std::{sync::Arc, time::Duration};

use cloakroom::store::{Store as _, Watch, Written};
use cloakroom_redis::RedisStore;
use engines::{Breakable as _, Engine, Redis, RedisCluster, RedisSentinel};
use tokio::time::timeout;

use crate::fixture::{T0, anonymous, changed, create, prefix, run, with_prefix};

async fn until(watch: &mut Watch, is_live: bool) {
    timeout(Duration::from_secs(20), async {
        while watch.is_live() != is_live {
            watch.changed().await;
        }
    })
    .await
    .expect("news come, or cease to");
}

/// Whether news come before long. Some may come for nothing.
async fn is_told(watch: &mut Watch) -> bool {
    timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
}

async fn a_change_by_one_is_told_to_the_other(url: &str) {
    let url = with_prefix(url, &prefix());
    let stores = [RedisStore::open(&url).await.unwrap(), RedisStore::open(&url).await.unwrap()];
    let (watched, other) = (anonymous(7), anonymous(8));
    let mut watches = stores.each_ref().map(|store| store.watch(watched.id).unwrap());
    for watch in &mut watches {
        until(watch, true).await;
    }
    create(&stores[0], &watched).await;
    for watch in &mut watches {
        assert!(is_told(watch).await);
    }
    let next = Arc::new(changed(&watched));
    let written = stores[1].replace(Arc::clone(&next), watched.version, T0).await.unwrap();
    assert_eq!(written, Written::Stored);
    for watch in &mut watches {
        assert!(is_told(watch).await);
    }
    // What isn't watched, or isn't stored, is no news, once everything that was has come.
    let [ours, _] = &mut watches;
    while timeout(Duration::from_secs(1), ours.changed()).await.is_ok() {}
    create(&stores[0], &other).await;
    assert_eq!(stores[0].replace(next, watched.version, T0).await.unwrap(), Written::Conflict);
    assert!(timeout(Duration::from_millis(300), ours.changed()).await.is_err());
}

#[test]
fn on_a_server() {
    run(async { a_change_by_one_is_told_to_the_other(&engines::shared::<Redis>()).await });
}

#[test]
fn on_a_cluster() {
    run(async { a_change_by_one_is_told_to_the_other(&engines::shared::<RedisCluster>()).await });
}

#[test]
fn with_sentinels() {
    let engine = RedisSentinel::start();
    run(async { a_change_by_one_is_told_to_the_other(&engine.url()).await });
}

#[test]
fn news_that_cease_say_so_and_come_again() {
    let mut engine = <Redis as Engine>::start();
    run(async {
        let store = RedisStore::open(&engine.url()).await.unwrap();
        let mut watch = store.watch(anonymous(7).id).unwrap();
        until(&mut watch, true).await;
        engine.kill();
        until(&mut watch, false).await;
        engine.restart();
        until(&mut watch, true).await;
        store.close().await.unwrap();
        assert!(!watch.is_live());
    });
}
