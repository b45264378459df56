//! A disk that is full: on Linux, where a small one can be had.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use cloakroom::store::{Store, Written};
use cloakroom_sqlite::SqliteStore;

use crate::fixture::{Folder, T0, child, child_path, create, data, id, is_root, session, with_data};

/// Runs the other tests of this file, each on a disk of four mebibytes that exists for its process alone.
#[test]
fn on_a_small_disk() {
    for test in ["a_full_disk_is_refused_at_the_start", "a_full_disk_fails_writes_until_there_is_room"] {
        let folder = Folder::new();
        if !on_small_disk(&Command::new("true"), folder.path()).status.success() {
            eprintln!(
                "left out: this process may not mount a disk in memory, also not in a namespace of its own"
            );
            return;
        }
        let output = on_small_disk(&child(&format!("disk_full::{test}"), folder.path()), folder.path());
        assert!(output.status.success(), "{output:#?}");
    }
}

fn on_small_disk(command: &Command, mounted_at: &Path) -> Output {
    let mut outer = Command::new("unshare");
    if !is_root() {
        outer.args(["--user", "--map-root-user"]);
    }
    outer.args(["--mount", "sh", "-ec", r#"mount -t tmpfs -o size=4m none "$0"; exec "$@""#]);
    outer.arg(mounted_at).arg(command.get_program()).args(command.get_args());
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.output().unwrap()
}

#[tokio::test]
#[ignore = "needs a small disk of its own: run by `on_a_small_disk`"]
async fn a_full_disk_is_refused_at_the_start() {
    let folder = child_path();
    let (new, known) = (folder.join("new.db"), folder.join("known.db"));
    let store = SqliteStore::open(&known).unwrap();
    create(&store, &session(1, "user")).await;
    store.close().await.unwrap();
    let before = fs::read(&known).unwrap();

    let ballast = fill(&folder);
    for path in [&new, &known] {
        let error = SqliteStore::open(path).unwrap_err();
        assert!(
            error.is_unavailable() && error.to_string().contains("the disk is full"),
            "{path:?}: {error:?}"
        );
    }
    assert_eq!(fs::read(&known).unwrap(), before);

    fs::remove_file(ballast).unwrap();
    create(&SqliteStore::open(&new).unwrap(), &session(1, "user")).await;
    assert!(data(&SqliteStore::open(&known).unwrap(), id(1)).await.is_some());
}

#[tokio::test]
#[ignore = "needs a small disk of its own: run by `on_a_small_disk`"]
async fn a_full_disk_fails_writes_until_there_is_room() {
    let folder = child_path();
    let store = SqliteStore::open(folder.join("sessions.db")).unwrap();
    create(&store, &session(0, "user")).await;
    let ballast = fill(&folder);
    let large = format!(r#"{{"large":"{}"}}"#, "x".repeat(16_000));
    let mut stored = 1;
    let error = loop {
        let record = with_data(&session(stored, "user"), &large);
        match store.create(Arc::new(record), T0).await {
            Ok(answer) => assert_eq!(answer, Written::Stored),
            Err(error) => break error,
        }
        stored += 1;
        assert!(stored < 1_000, "the disk never got full");
    };
    assert!(error.is_unavailable() && error.to_string().contains("the disk is full: make room"), "{error:?}");
    assert!(data(&store, id(0)).await.is_some(), "reading goes on");

    fs::remove_file(ballast).unwrap();
    create(&store, &session(stored, "user")).await;
    for n in 0..=stored {
        assert!(data(&store, id(n)).await.is_some(), "session {n}");
    }
    store.close().await.unwrap();
}

/// Takes all the room there is.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = File::create(&path).unwrap();
    for bytes in [65_536, 512] {
        while file.write_all(&vec![0; bytes]).is_ok() {}
    }
    path
}
