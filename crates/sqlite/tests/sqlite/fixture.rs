//! Folders and sessions to test with.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cloakroom::{
    Data, Lifetime, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Store, Times, Tombstone, Written},
};
use cloakroom_core::Secret;
use cloakroom_sqlite::SqliteStore;
use rusqlite::Connection;

/// 2026-01-01T00:04:05.678Z.
pub(crate) const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);

/// A folder of its own for each test, removed with what is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::under(&env::temp_dir())
    }

    pub(crate) fn under(parent: &Path) -> Self {
        let path = parent.join(format!("cloakroom-sqlite-{}-{}", process::id(), unique()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the sessions go.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("sessions.db")
    }

    /// The write-ahead log beside it.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("sessions.db-wal")
    }

    /// A connection such as another program would have. Its transactions hold the locks that those of another process
    /// would.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A store that was dropped a moment ago may still remove files of its own.
        let is_gone = |_: &u32| fs::remove_dir_all(&self.0).is_ok() || !self.0.exists();
        let _ = (0..100).find(is_gone);
    }
}

/// Another process, which runs one of these tests on a path of its own.
pub(crate) fn child(test: &str, path: &Path) -> Command {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([test, "--exact", "--include-ignored", "--nocapture"]).env(CHILD_PATH, path);
    child
}

/// In such a process: its path.
pub(crate) fn child_path() -> PathBuf {
    env::var_os(CHILD_PATH).unwrap().into()
}

const CHILD_PATH: &str = "CLOAKROOM_TEST_PATH";

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn id(n: u64) -> SessionId {
    SessionId::from_bytes(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

/// A session of this subject that began at [`T0`].
pub(crate) fn session(n: u64, subject: &str) -> Record {
    Record {
        id: id(n),
        version: Version::from_write_id(unique()),
        subject: Some(Subject::new(subject).unwrap()),
        authority: Authority::new(Secret::from_bytes([n as u8; 16]).verifier(&id(n))),
        times: Times::start(Lifetime::default(), T0, T0),
        client: Some("Firefox on Linux".into()),
        data: Data::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap(),
    }
}

pub(crate) fn with_data(record: &Record, json: &str) -> Record {
    Record {
        version: Version::from_write_id(unique()),
        data: Data::from_json(json).unwrap(),
        ..record.clone()
    }
}

pub(crate) fn tombstone(id: SessionId) -> Tombstone {
    Tombstone {
        id,
        version: Version::from_write_id(unique()),
        at: T0,
        reason: EndReason::Logout,
        expires: Timestamp::from_millis(T0.as_millis() + 60_000),
    }
}

pub(crate) async fn create(store: &SqliteStore, record: &Record) {
    assert_eq!(store.create(Arc::new(record.clone()), T0).await.unwrap(), Written::Stored);
}

/// The JSON of the session's data, if it is alive.
pub(crate) async fn data(store: &SqliteStore, id: SessionId) -> Option<String> {
    match store.load(id, T0).await.unwrap() {
        Loaded::Found(record) => Some(record.data.to_json()),
        _ => None,
    }
}
