//! What people read in the file, and what isn't there to be read.

use std::{fs, process::Command, sync::Arc};

use cloakroom::{
    Timestamp,
    store::{Store, Written},
};
use cloakroom_core::Secret;
use cloakroom_sqlite::SqliteStore;

use crate::fixture::{Folder, T0, create, id, session, tombstone, with_data};

const DATA: &str = r#"{"cart":["umbrella","café"],"n":1}"#;

#[tokio::test]
async fn people_read_sessions_as_text() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &with_data(&session(1, "user-1815"), DATA)).await;
    create(&store, &session(2, "user-1815")).await;
    assert_eq!(store.end(tombstone(id(2)), None, T0).await.unwrap(), Written::Stored);
    create(&store, &session(3, "user-1816")).await;
    let index = store.index().unwrap();
    index.end_started_before(Timestamp::from_millis(T0.as_millis() + 1), T0).await.unwrap();

    let row = |n: u64| {
        let sql = "SELECT concat_ws('|', state, subject, client, created, started, active, expires, ended, ended_why, data)
                   FROM sessions WHERE id = ?1";
        folder.connect().query_row(sql, [id(n).to_string()], |row| row.get::<_, String>(0)).unwrap()
    };
    let start = "2026-01-01T00:04:05.678Z";
    let living =
        format!("user-1815|Firefox on Linux|{start}|{start}|{start}|2026-01-01T00:34:05.678Z|{DATA}");
    assert_eq!(row(1), format!("revoked|{living}"));
    assert_eq!(row(2), format!("ended|{start}|{start}|{start}|2026-01-01T00:05:05.678Z|{start}|logout"));
}

/// Sessions in each state, as the view names them on today's clock.
#[tokio::test]
async fn people_read_which_sessions_live() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    let mut lasting = session(2, "user");
    lasting.times.end = Timestamp::from_millis(4_102_444_800_000);
    (lasting.times.active, lasting.times.idle_s) = (T0, u32::MAX);
    create(&store, &lasting).await;
    let db = folder.connect();
    let state = |n: u64| -> String {
        db.query_row("SELECT state FROM sessions WHERE id = ?1", [id(n).to_string()], |row| row.get(0))
            .unwrap()
    };
    assert_eq!((state(1).as_str(), state(2).as_str()), ("expired", "alive"));
}

/// The real command line, which may be years older than the SQLite inside the store.
#[tokio::test]
async fn the_sqlite3_command_line_reads_and_writes_the_file() {
    if Command::new("sqlite3").arg("--version").output().is_err() {
        eprintln!("left out: there is no sqlite3 command line here");
        return;
    }
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &with_data(&session(1, "user"), DATA)).await;
    let run = |sql: &str| {
        let output = Command::new("sqlite3").arg(folder.file()).arg(sql).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("SELECT id, subject, data FROM sessions"), format!("{}|user|{DATA}\n", id(1)));
    run("UPDATE session SET data = json_set(data, '$.n', 2)");
    assert_eq!(crate::fixture::data(&store, id(1)).await.unwrap(), DATA.replace(":1", ":2"));
}

/// Neither a secret nor, once a session has ended, what it held: also not in pages that are free.
#[tokio::test]
async fn what_must_not_be_in_the_file_is_not_there() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    let secret = Secret::from_bytes([0xa7; 16]);
    let large = format!(r#"{{"large":"{}"}}"#, "very private ".repeat(1_000));
    for (n, json) in [(1, r#"{"small":"very private "}"#), (2, large.as_str())] {
        let mut record = with_data(&session(n, "very private "), json);
        record.authority = cloakroom::store::Authority::new(secret.verifier(&id(n)));
        create(&store, &record).await;
        let next = with_data(&record, r#"{"small":"very private "}"#);
        let replaced = store.replace(Arc::new(next), record.version, T0).await.unwrap();
        assert_eq!(replaced, Written::Stored);
        assert_eq!(store.end(tombstone(id(n)), None, T0).await.unwrap(), Written::Stored);
    }
    store.close().await.unwrap();
    let bytes = fs::read(folder.file()).unwrap();
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(holds(id(1).to_string().as_bytes()), "the tombstone is there");
    assert!(!holds(b"very private"), "what the session held");
    assert!(!holds(&[0xa7; 16]), "its secret");
}
