//! Cloakroom sessions in one SQLite file: the store for a single machine.
//!
//! - **Durable.** A change is answered when it is on disk, and survives `kill -9` and loss of power.
//! - **Fast.** One thread writes, and commits the changes that wait together: they share one sync of the disk. Reads
//!   have threads and connections of their own, and wait for no write.
//! - **Shared.** Several processes of one machine can use the file at once; nothing is cached across calls.
//! - **Readable.** `sqlite3 sessions.db 'SELECT * FROM sessions'` shows ids, subjects, times and data. Secrets aren't in
//!   the file, only hashes of them.
//!
//! ```
//! # let folder = std::env::temp_dir().join(format!("cloakroom-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("sessions.db");
//! use cloakroom::Sessions;
//! use cloakroom_sqlite::SqliteStore;
//!
//! let sessions = Sessions::builder(SqliteStore::open(&path)?).build()?;
//! # drop(sessions);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The file grows and is used again, but never shrinks by itself; `VACUUM`, on the sqlite3 command line, gives space
//! back. It must lie on a disk of this machine: SQLite's write-ahead log needs memory that processes share, which network
//! file systems don't offer.

mod failure;
mod file;
mod job;
mod readers;
mod row;
mod statements;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Answer, Index, Loaded, Revocation, Revoke, Store, Summary, Swept, Tombstone, Written},
};
use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc, watch};

use crate::{failure::Failure, job::job, readers::Readers, row::Encoded, writer::Message};

/// Sessions in one SQLite file.
///
/// Dropping it lets what was accepted finish in the background; [`Store::close`] waits for that.
pub struct SqliteStore {
    path: PathBuf,
    writer: mpsc::Sender<Message>,
    readers: Readers,
    /// Closed when both kinds of threads have let go of the file.
    ended: watch::Receiver<()>,
    /// The last row that a sweep looked at. Held during a sweep, so that two don't look at the same rows.
    swept_to: Mutex<i64>,
}

impl SqliteStore {
    /// Opens the file at this path, or makes it, readable by its owner alone. It waits for the disk, and about two
    /// seconds at most for another process's lock.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the path can't be used: its folder doesn't exist, it is no SQLite database, another
    /// program's, or one of a newer version of this crate. [`Error::is_unavailable`] if the file is locked by another
    /// process, can't be written, or the disk is full; [`Error::is_unsupported`] on a network file system. In no case
    /// is anything that the file holds changed or lost.
    ///
    /// ```
    /// use cloakroom_sqlite::SqliteStore;
    ///
    /// let error = SqliteStore::open("/no/such/folder/sessions.db").unwrap_err();
    /// assert!(error.is_invalid());
    /// assert!(error.to_string().contains("/no/such/folder"));
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let (db, path) = file::open(path.as_ref())?;
        let connections =
            (0..readers_count()).map(|_| file::open_for_reading(&path)).collect::<Result<Vec<_>, _>>()?;
        let start = || {
            let (readers, threads) = readers::start(connections, path.clone())?;
            let (writer, ended) = writer::start(db, path.clone(), threads)?;
            Ok::<_, std::io::Error>((readers, writer, ended))
        };
        let (readers, writer, ended) = start().map_err(|error| {
            Error::unavailable(
                "there is no thread to be had for the session file: raise the system's limit",
                error,
            )
        })?;
        Ok(Self { path, writer, readers, ended, swept_to: Mutex::new(i64::MIN) })
    }

    /// Does this on the writer's thread, in a transaction that others may share.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Answer<'_, T> {
        Answer::later(async {
            let (job, answer) = job(work);
            self.writer.send(Message::Write(job)).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())?
        })
    }

    /// Does this on one of the readers' threads.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Answer<'_, T> {
        Answer::later(async {
            let (job, answer) = job(work);
            self.readers.send(job).await.ok_or_else(closed)?;
            answer.await.map_err(|_| closed())?
        })
    }

    async fn sweep_some(&self, now: Timestamp, limit: usize) -> Result<Swept, Error> {
        let mut swept_to = self.swept_to.lock().await;
        let from = *swept_to;
        let walk = self.read(move |db| statements::walk(db, from, now, limit)).await?;
        let mut swept = Swept { is_more: walk.is_more, ..Swept::default() };
        for rows in walk.rows.chunks(ROWS_REMOVED_MAX) {
            let rows = rows.to_vec();
            swept.expired.extend(self.write(move |db| statements::sweep(db, &rows, now)).await?);
        }
        if walk.has_old_revocations {
            swept.is_more |= self.write(move |db| statements::sweep_revocations(db, now)).await?;
        }
        *swept_to = walk.last;
        Ok(swept)
    }
}

/// Rows that are removed in one go: a few milliseconds' work, so that no other write waits long.
const ROWS_REMOVED_MAX: usize = 256;

/// Enough threads for the processor's cores; more than four would wait for one another.
fn readers_count() -> usize {
    thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4))
}

fn closed() -> Error {
    Error::unavailable("the SQLite store is closed", "it was called after `close`")
}

impl Store for SqliteStore {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        self.read(move |db| statements::load(db, id, now))
    }

    fn create(&self, record: Arc<Record>, _now: Timestamp) -> Answer<'_, Written> {
        match Encoded::of(record) {
            Ok(new) => self.write(move |db| statements::create(db, &new)),
            Err(error) => Answer::ready(Err(error)),
        }
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        match Encoded::of(record) {
            Ok(new) => self.write(move |db| statements::replace(db, &new, expected, now)),
            Err(error) => Answer::ready(Err(error)),
        }
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        self.write(move |db| statements::touch(db, id, active, now))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        self.write(move |db| statements::end(db, &tombstone, expected, now))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        Answer::later(self.sweep_some(now, limit))
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }

    /// Also merges the write-ahead log into the file, so that the file alone is a whole copy.
    fn close(&self) -> Answer<'_, ()> {
        Answer::later(async {
            self.readers.close();
            // A writer that can't be told has been told already.
            let _ = self.writer.send(Message::Close).await;
            let mut ended = self.ended.clone();
            while ended.changed().await.is_ok() {}
            Ok(())
        })
    }
}

impl Revoke for SqliteStore {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        self.write(move |db| statements::end_subject(db, &subject, &revocation, now).map(Some))
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subject = subject.clone();
        self.read(move |db| statements::last_revocation(db, &subject, now))
    }
}

impl Index for SqliteStore {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let subject = subject.clone();
        self.read(move |db| statements::list(db, &subject, after, limit, now))
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        self.write(move |db| statements::end_started_before(db, instant))
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}
