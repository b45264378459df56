//! Rows that somebody else changed: they fail for their own session, and for no other.

use std::sync::Arc;

use cloakroom::{
    Record, Subject,
    store::{Store, Written},
};
use cloakroom_sqlite::SqliteStore;

use crate::fixture::{Folder, T0, create, data, id, session, tombstone, with_data};

#[tokio::test]
async fn a_damaged_row_fails_its_own_session_alone() {
    for damage in [
        r#"data = '{"card": "4111'"#,
        "data = '[1, 2]'",
        "data = NULL",
        "authority = x'0100'",
        "authority = NULL",
        "subject = char(7)",
        "client = CAST(x'ff' AS TEXT)",
        "ended_ms = 1, ended_why = 'because', subject = NULL, client = NULL, epoch = NULL, authority = NULL, data = NULL",
    ] {
        let (_folder, store, record) = damaged(damage).await;
        let error = store.load(record.id, T0).await.unwrap_err();
        assert!(error.is_corrupt(), "{damage}: {error:?}");
        let told = format!("{error} {error:?}");
        assert!(told.contains(&record.id.to_string()) && !told.contains("4111"), "{told}");
        assert!(data(&store, id(2)).await.is_some(), "{damage}");
    }
}

#[tokio::test]
async fn a_damaged_session_can_be_replaced_or_ended() {
    let (_folder, store, record) = damaged("data = 'nonsense'").await;
    let next = with_data(&record, r#"{"n":2}"#);
    assert_eq!(store.replace(Arc::new(next), record.version, T0).await.unwrap(), Written::Stored);
    assert_eq!(data(&store, record.id).await.unwrap(), r#"{"n":2}"#);

    let (_folder, store, record) = damaged("authority = x'00'").await;
    assert_eq!(store.end(tombstone(record.id), Some(record.version), T0).await.unwrap(), Written::Stored);
}

#[tokio::test]
async fn a_damaged_session_hides_no_other_from_its_owner() {
    let (_folder, store, _) = damaged("client = CAST(x'ff' AS TEXT)").await;
    let user = Subject::new("user").unwrap();
    let listed = store.index().unwrap().list(&user, None, 10, T0).await.unwrap();
    assert_eq!(listed.iter().map(|summary| summary.id).collect::<Vec<_>>(), [id(2)]);
}

/// The table itself refuses what no session can be.
#[tokio::test]
async fn the_table_refuses_nonsense() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    for nonsense in [
        "end_ms = -1",
        "active_ms = 'soon'",
        "idle_s = 4294967296",
        "subject = ''",
        "ended_ms = 1",
        "data = 7.5, ended_ms = 1, ended_why = 'logout'",
    ] {
        let refused = folder.connect().execute(&format!("UPDATE session SET {nonsense}"), []);
        assert!(refused.is_err(), "{nonsense}");
    }
}

/// A store of two sessions of `user`, the first of which was changed like this by somebody else.
async fn damaged(damage: &str) -> (Folder, SqliteStore, Record) {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    let record = session(1, "user");
    create(&store, &record).await;
    create(&store, &session(2, "user")).await;
    let changed = folder
        .connect()
        .execute(&format!("UPDATE session SET {damage} WHERE id = ?1"), [record.id.to_string()])
        .unwrap();
    assert_eq!(changed, 1);
    (folder, store, record)
}
