//! Opening: what is made, what is refused, and that nothing refused is changed.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    sync::Barrier,
    thread,
};

use cloakroom::store::Store;
use cloakroom_sqlite::SqliteStore;

use crate::fixture::{Folder, child, child_path, create, data, id, is_root, session};

#[tokio::test]
async fn a_new_file_and_its_log_are_their_owners_alone() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn names_that_mean_something_to_sqlite_are_plain_names() {
    let folder = Folder::new();
    for name in [":memory:", "file:sessions?mode=memory", "with space?immutable=1#%20.db"] {
        let path = folder.path().join(name);
        let store = SqliteStore::open(&path).unwrap();
        create(&store, &session(1, "user")).await;
        store.close().await.unwrap();
        let again = SqliteStore::open(&path).unwrap();
        assert!(data(&again, id(1)).await.is_some(), "{name}");
    }
    let relative = SqliteStore::open("").unwrap_err();
    assert!(relative.is_invalid(), "{relative:?}");
}

#[test]
fn a_new_file_can_be_opened_many_times_at_once() {
    let folder = Folder::new();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        let open = || {
            barrier.wait();
            SqliteStore::open(folder.file())
        };
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        for store in opening {
            store.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = Folder::new();
    let texts = ["x", "just a text\n", &"pages of text\n".repeat(1_000), &"\0".repeat(4_096)];
    for text in texts {
        fs::write(folder.file(), text).unwrap();
        is_refused(&folder, "is no SQLite database");
    }
}

#[test]
fn another_programs_database_is_refused() {
    for settings in ["", "PRAGMA application_id = 7;", "PRAGMA user_version = 1;"] {
        let folder = Folder::new();
        let other = folder.connect();
        other
            .execute_batch(&format!("{settings} CREATE TABLE session (id); INSERT INTO session VALUES (1)"))
            .unwrap();
        drop(other);
        is_refused(&folder, "is the database of another program");
    }
}

#[test]
fn another_programs_write_ahead_log_is_left_to_it() {
    let (running, crashed) = (Folder::new(), Folder::new());
    let other = running.connect();
    other.pragma_update(None, "journal_mode", "wal").unwrap();
    other.execute_batch("CREATE TABLE notes (note); INSERT INTO notes VALUES ('precious')").unwrap();
    // What would be there if the program had been killed.
    fs::copy(running.file(), crashed.file()).unwrap();
    fs::copy(running.log(), crashed.log()).unwrap();
    let log = fs::read(crashed.log()).unwrap();
    is_refused(&crashed, "is the database of another program");
    assert_eq!(fs::read(crashed.log()).unwrap(), log);

    other.close().unwrap();
    is_refused(&running, "is the database of another program");
    assert_eq!(fs::read_dir(running.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    store.close().await.unwrap();
    folder.connect().pragma_update(None, "user_version", 2).unwrap();
    is_refused(&folder, "its layout is 2, and this version knows those up to 1");
}

#[test]
fn a_place_where_no_file_can_be_is_refused() {
    let folder = Folder::new();
    fs::write(folder.path().join("plain"), "").unwrap();
    for (path, reason) in [
        ("missing/sessions.db", "missing for the session file doesn't exist: make it"),
        ("", "is a folder: give the path of a file in it"),
        ("plain/sessions.db", "can't be reached: Not a directory"),
    ] {
        let error = SqliteStore::open(folder.path().join(path)).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(reason), "{error}");
    }
    let device = SqliteStore::open("/dev/null").unwrap_err();
    assert!(device.is_invalid() && device.to_string().contains("is no regular file"), "{device}");
}

/// The lock that `BEGIN EXCLUSIVE` on the sqlite3 command line holds.
#[tokio::test]
async fn a_locked_file_is_refused_until_it_is_let_go() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    store.close().await.unwrap();
    let other = folder.connect();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = SqliteStore::open(folder.file()).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("is locked by another process"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    let store = SqliteStore::open(folder.file()).unwrap();
    assert!(data(&store, id(1)).await.is_some());
}

#[tokio::test]
async fn an_empty_database_becomes_ours() {
    let folder = Folder::new();
    folder.connect().execute_batch("VACUUM").unwrap();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
}

/// Root may write everything, so a process without its rights looks.
#[tokio::test]
async fn a_file_or_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    store.close().await.unwrap();
    let before = fs::read(folder.file()).unwrap();

    for (file_mode, folder_mode, name, reason) in [
        (0o444, 0o777, "sessions.db", "can't be written: give this process the right"),
        (
            0o666,
            0o555,
            "sessions.db",
            "can't be written: give this process the right to write the file and its folder",
        ),
        (0o666, 0o555, "new.db", "can't be made: Permission denied"),
        (0o000, 0o777, "sessions.db", "can't be opened"),
    ] {
        set_mode(&folder.file(), file_mode);
        set_mode(folder.path(), folder_mode);
        let mut child = child("opening::as_nobody", &folder.path().join(name));
        if is_root() {
            child.uid(65_534).gid(65_534);
        }
        let output = child.output().unwrap();
        set_mode(folder.path(), 0o777);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains("is_unavailable: true") && told.contains(reason), "{name}: {output:?}");
    }
    set_mode(&folder.file(), 0o600);
    assert_eq!(fs::read(folder.file()).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
#[ignore = "run by another test"]
fn as_nobody() {
    let error = SqliteStore::open(child_path()).unwrap_err();
    println!("{error} (is_unavailable: {})", error.is_unavailable());
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The file can't be opened for this reason, and is as it was.
fn is_refused(folder: &Folder, reason: &str) {
    let before = fs::read(folder.file()).unwrap();
    let error = SqliteStore::open(folder.file()).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains(reason), "{error}");
    assert_eq!(fs::read(folder.file()).unwrap(), before, "the file was changed");
}
