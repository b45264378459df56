//! Group commit: what is written together, what isn't written, and what is left when the store goes away.

use std::{
    fs,
    io::{BufRead, BufReader},
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use cloakroom::{
    Record,
    store::{Answer, Store, Written},
};
use cloakroom_sqlite::SqliteStore;
use rusqlite::Connection;

use crate::fixture::{Folder, T0, child, child_path, create, data, id, session};

#[tokio::test]
async fn writes_that_wait_are_committed_together() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    let before = commits(&folder);
    let lock = locked(&folder);
    let creating: Vec<_> = (0..60).map(|n| begin_create(&store, &session(n, "user"))).collect();
    drop(lock);
    for create in creating {
        assert_eq!(create.await.unwrap(), Written::Stored);
    }
    let groups = commits(&folder) - before;
    assert!(
        (1..=2).contains(&groups),
        "{groups} commits for what came before and what came during the first"
    );
}

#[tokio::test]
async fn each_write_is_in_the_log_when_it_is_answered() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    for n in 1..=20 {
        let before = commits(&folder);
        create(&store, &session(n, "user")).await;
        assert_eq!(commits(&folder), before + 1);
    }
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_not_made() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    let lock = locked(&folder);
    let abandoned = [begin_create(&store, &session(1, "user")), begin_create(&store, &session(2, "user"))];
    let wanted = begin_create(&store, &session(3, "user"));
    drop(abandoned);
    drop(lock);
    assert_eq!(wanted.await.unwrap(), Written::Stored);
    for (n, is_there) in [(1, false), (2, false), (3, true)] {
        assert_eq!(data(&store, id(n)).await.is_some(), is_there, "session {n}");
    }
}

/// The lock that another process's transaction holds: it fails writes after a while, and no read.
#[tokio::test]
async fn a_lock_that_stays_fails_writes_and_not_reads() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    let lock = locked(&folder);
    let refused = begin_create(&store, &session(2, "user"));
    assert!(data(&store, id(1)).await.is_some());
    let error = refused.await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("is locked by another process"), "{error}");
    drop(lock);
    create(&store, &session(2, "user")).await;
}

#[tokio::test]
async fn a_closed_store_leaves_one_whole_file() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    let creating: Vec<_> = (0..50).map(|n| begin_create(&store, &session(n, "user"))).collect();
    let loading = begun(store.load(id(1), T0));
    store.close().await.unwrap();
    for create in creating {
        assert_eq!(create.await.unwrap(), Written::Stored);
    }
    assert!(loading.await.is_ok());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the log was merged into the file");
    assert_eq!(sessions(&folder), 50);
    assert!(store.create(Arc::new(session(51, "user")), T0).await.unwrap_err().is_unavailable());
    assert!(store.load(id(1), T0).await.unwrap_err().is_unavailable());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_store_loses_nothing_that_was_answered() {
    let folder = Folder::new();
    for n in 0..20 {
        let store = SqliteStore::open(folder.file()).unwrap();
        create(&store, &session(n, "user")).await;
        let _abandoned = begin_create(&store, &session(100 + n, "user"));
    }
    let store = SqliteStore::open(folder.file()).unwrap();
    for n in 0..20 {
        assert!(data(&store, id(n)).await.is_some(), "session {n}");
    }
}

/// Three times, a process that creates sessions as fast as it can is killed in the middle of it.
#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = Folder::new();
    for round in 0..3 {
        let mut child =
            child("writing::creates_until_killed", &folder.file()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut answered =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("stored ")?.parse::<u64>().ok());
        let mut last = answered.by_ref().nth(300).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        last = answered.last().unwrap_or(last);

        let store = SqliteStore::open(folder.file()).unwrap();
        let first = round * ROUND;
        for n in first..=last {
            assert!(data(&store, id(n)).await.is_some(), "session {n} of {first} to {last}");
        }
        create(&store, &session(first + ROUND - 1, "user")).await;
        store.close().await.unwrap();
        let check: String =
            folder.connect().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// Numbers of sessions in one round.
const ROUND: u64 = 1_000_000;

#[tokio::test]
#[ignore = "run by another test"]
async fn creates_until_killed() {
    let store = SqliteStore::open(child_path()).unwrap();
    let mut first = 0;
    while data(&store, id(first + ROUND - 1)).await.is_some() {
        first += ROUND;
    }
    for group in 0.. {
        let numbers = first + 16 * group..first + 16 * (group + 1);
        let creating: Vec<_> = numbers.clone().map(|n| begin_create(&store, &session(n, "user"))).collect();
        for (n, create) in numbers.zip(creating) {
            assert_eq!(create.await.unwrap(), Written::Stored);
            println!("stored {n}");
        }
    }
}

fn begin_create<'a>(store: &'a SqliteStore, record: &Record) -> Answer<'a, Written> {
    begun(store.create(Arc::new(record.clone()), T0))
}

/// Hands a call to its thread, and doesn't wait for it.
fn begun<T>(mut call: Answer<'_, T>) -> Answer<'_, T> {
    match Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Answer::ready(answer),
        Poll::Pending => call,
    }
}

/// Keeps the writer from beginning a transaction until it is dropped.
fn locked(folder: &Folder) -> Connection {
    let other = folder.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

fn sessions(folder: &Folder) -> i64 {
    folder.connect().query_row("SELECT count(*) FROM session", [], |row| row.get(0)).unwrap()
}

/// Transactions in the write-ahead log, counted in the file itself: those frames that say how large the database is
/// after them. <https://www.sqlite.org/fileformat2.html#walformat>
fn commits(folder: &Folder) -> usize {
    let log = fs::read(folder.log()).unwrap();
    if log.is_empty() {
        return 0;
    }
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let (page_bytes, salts) = (number(8) as usize, &log[16..24]);
    let frames = (32..log.len()).step_by(24 + page_bytes).take_while(|at| log[at + 8..at + 16] == *salts);
    frames.filter(|at| number(at + 4) != 0).count()
}
