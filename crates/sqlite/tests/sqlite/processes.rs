//! Several users of one file.

use std::sync::Arc;

use cloakroom::{SessionId, Timestamp, Version};
use cloakroom::{
    Subject,
    store::{EndReason, Loaded, Revocation, Store, Written},
};
use cloakroom_sqlite::SqliteStore;

use crate::fixture::{Folder, T0, child, child_path, create, data, id, session, tombstone, with_data};

const WRITERS: u64 = 25;
const INCREMENTS: u64 = 4;

/// Fifty writers in two processes increment one number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_update() {
    let folder = Folder::new();
    let store = Arc::new(SqliteStore::open(folder.file()).unwrap());
    create(&store, &with_data(&session(1, "user"), r#"{"n":0}"#)).await;
    let mut other = child("processes::increments", &folder.file()).spawn().unwrap();
    increment_all(&store).await;
    assert!(tokio::task::spawn_blocking(move || other.wait()).await.unwrap().unwrap().success());
    assert_eq!(data(&store, id(1)).await.unwrap(), format!(r#"{{"n":{}}}"#, 2 * WRITERS * INCREMENTS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test"]
async fn increments() {
    increment_all(&Arc::new(SqliteStore::open(child_path()).unwrap())).await;
}

async fn increment_all(store: &Arc<SqliteStore>) {
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(increment(Arc::clone(store)))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn increment(store: Arc<SqliteStore>) {
    let mut left = INCREMENTS;
    while left > 0 {
        let Loaded::Found(record) = store.load(id(1), T0).await.unwrap() else {
            panic!("the session is gone")
        };
        let n: u64 = serde_json::from_slice(record.data.get("n").unwrap()).unwrap();
        let mut next = with_data(&record, &format!(r#"{{"n":{}}}"#, n + 1));
        // Two processes count alike, and their versions must differ.
        next.version = Version::from_write_id(
            record.version.write_id().wrapping_mul(31) ^ u64::from(std::process::id()),
        );
        match store.replace(Arc::new(next), record.version, T0).await.unwrap() {
            Written::Stored => left -= 1,
            Written::Conflict => {}
            Written::Gone => panic!("the session is gone"),
        }
    }
}

/// Nothing is cached: what one store answered, the other sees at once.
#[tokio::test]
async fn what_one_store_ends_is_gone_in_the_other() {
    let folder = Folder::new();
    let (one, other) = (SqliteStore::open(folder.file()).unwrap(), SqliteStore::open(folder.file()).unwrap());
    for n in 1..=4 {
        create(&one, &session(n, if n == 2 { "revoked" } else { "user" })).await;
        assert!(lives(&other, id(n)).await);
    }
    assert_eq!(one.end(tombstone(id(1)), None, T0).await.unwrap(), Written::Stored);
    assert!(!lives(&other, id(1)).await);

    let revocation = Revocation {
        at: T0,
        except: None,
        reason: EndReason::Revoked,
        version: Version::from_write_id(1),
        tombstones_expire: T0,
    };
    let name = Subject::new("revoked").unwrap();
    assert_eq!(
        other.revoke().unwrap().end_subject(&name, revocation, T0).await.unwrap(),
        Some([id(2)].into())
    );
    assert!(!lives(&one, id(2)).await && lives(&one, id(3)).await);
    assert_eq!(one.revoke().unwrap().last_revocation(&name, T0).await.unwrap(), Some(revocation));

    let instant = Timestamp::from_millis(T0.as_millis() + 1);
    one.index().unwrap().end_started_before(instant, T0).await.unwrap();
    assert!(!lives(&other, id(3)).await);
    assert_eq!(other.touch(id(4), T0, T0).await.unwrap(), Written::Gone);
}

/// Either can go first.
#[tokio::test]
async fn a_store_that_closes_takes_nothing_from_the_other() {
    let folder = Folder::new();
    let (one, other) = (SqliteStore::open(folder.file()).unwrap(), SqliteStore::open(folder.file()).unwrap());
    create(&one, &session(1, "user")).await;
    one.close().await.unwrap();
    assert!(lives(&other, id(1)).await);
    create(&other, &session(2, "user")).await;
    let again = SqliteStore::open(folder.file()).unwrap();
    assert!(lives(&again, id(2)).await);
}

async fn lives(store: &SqliteStore, id: SessionId) -> bool {
    data(store, id).await.is_some()
}
