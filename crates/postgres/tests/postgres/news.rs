//! News of changes, between two stores on one database.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Data, Lifetime, Record, SessionId, Timestamp, Version,
    store::{Authority, Store as _, Times, Watch, Written},
};
use cloakroom_core::Secret;
use tokio::time::timeout;

use crate::fixture::{Database, until};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_845_678);

fn record(number: u8, write_id: u64) -> Arc<Record> {
    let id = SessionId::from_bytes([number; 16]);
    Arc::new(Record {
        id,
        version: Version::from_write_id(write_id),
        subject: None,
        authority: Authority::new(Secret::from_bytes([1; 16]).verifier(&id)),
        times: Times::start(Lifetime::default(), NOW, NOW),
        client: None,
        data: Data::new(),
    })
}

async fn until_live(watch: &mut Watch) {
    timeout(Duration::from_secs(20), async {
        while !watch.is_live() {
            watch.changed().await;
        }
    })
    .await
    .expect("news come");
}

/// Whether news come before long. Some may come for nothing.
async fn is_told(watch: &mut Watch) -> bool {
    timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
}

#[tokio::test]
async fn a_change_by_one_is_told_to_the_other() {
    let database = Database::new();
    let (first, second) = (database.store().await, database.store().await);
    let [watched, other] = [record(7, 1), record(8, 1)];
    let (mut ours, mut theirs) = (first.watch(watched.id).unwrap(), second.watch(watched.id).unwrap());
    until_live(&mut ours).await;
    until_live(&mut theirs).await;

    first.create(Arc::clone(&watched), NOW).await.unwrap();
    assert!(is_told(&mut theirs).await && is_told(&mut ours).await);
    let written = second.replace(record(7, 2), watched.version, NOW).await.unwrap();
    assert_eq!(written, Written::Stored);
    assert!(is_told(&mut ours).await && is_told(&mut theirs).await);

    // What isn't watched, or isn't stored, is no news, once everything that was has come.
    while timeout(Duration::from_secs(1), ours.changed()).await.is_ok() {}
    first.create(other, NOW).await.unwrap();
    assert_eq!(first.replace(record(7, 9), Version::from_write_id(1), NOW).await.unwrap(), Written::Conflict);
    assert!(timeout(Duration::from_millis(300), ours.changed()).await.is_err());
}

#[tokio::test]
async fn news_that_cease_say_so_and_come_again() {
    let database = Database::new();
    let store = database.store().await;
    let mut watch = store.watch(record(7, 1).id).unwrap();
    until_live(&mut watch).await;
    let admin = database.admin().await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    admin.batch_execute(cut).await.unwrap();
    until(async || !watch.is_live()).await;
    until_live(&mut watch).await;
    store.close().await.unwrap();
    assert!(!watch.is_live());
}
