//! The one thread that writes: it commits the writes that wait together, so that they share one sync of the disk.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, watch};

use crate::{failure::Failure, job::Job};

/// Writes that are committed together at most. More would gain little, and make the first wait for the last.
const GROUP_MAX: usize = 256;

/// Writes that wait at most; beyond that, callers wait to be accepted.
const QUEUE_MAX: usize = 1_024;

/// What the thread is told.
pub(crate) enum Message {
    Write(Box<dyn Job>),
    /// Finish what was accepted, accept no more, and end.
    Close,
}

/// Starts the thread. When it is told to close, or nobody can reach it any more, it finishes what was accepted, waits
/// for the readers, who are told as well, and closes the file last: so SQLite merges the write-ahead log into it. Then
/// the receiver is closed.
pub(crate) fn start(
    db: Connection,
    path: PathBuf,
    readers: Vec<thread::JoinHandle<()>>,
) -> io::Result<(mpsc::Sender<Message>, watch::Receiver<()>)> {
    let (queue, messages) = mpsc::channel(QUEUE_MAX);
    let (end, ended) = watch::channel(());
    thread::Builder::new().name("sqlite-writer".into()).spawn(move || {
        write_all(&db, &path, messages);
        for reader in readers {
            // One that panicked has let go of its connection all the same.
            let _ = reader.join();
        }
        if let Err((_, error)) = db.close() {
            tracing::warn!(path = %path.display(), %error, "the session file wasn't closed cleanly; nothing is lost");
        }
        drop(end);
    })?;
    Ok((queue, ended))
}

fn write_all(db: &Connection, path: &Path, mut messages: mpsc::Receiver<Message>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while let Some(first) = messages.blocking_recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Write(job) => group.push(Write { job, outcome: Ok(()) }),
                Message::Close => messages.close(),
            }
            next = if group.len() < GROUP_MAX { messages.try_recv().ok() } else { None };
        }
        let committed = commit(db, &mut group);
        for Write { job, outcome } in group.drain(..) {
            let outcome = outcome.and_then(|()| committed.clone());
            job.answer(outcome.map_err(|failure| failure.into_error(path)));
        }
    }
}

struct Write {
    job: Box<dyn Job>,
    /// Its own, apart from whether the group was committed.
    outcome: Result<(), Failure>,
}

/// Runs a group in one transaction. A statement that fails is undone alone, unless SQLite undid the whole transaction
/// for it, as it may when the disk is full.
fn commit(db: &Connection, group: &mut [Write]) -> Result<(), Failure> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    for Write { job, outcome } in group {
        if job.is_abandoned() {
            continue;
        }
        *outcome = job.run(db);
        if db.is_autocommit() {
            return outcome.clone();
        }
    }
    let committed = db.prepare_cached("COMMIT")?.execute([]);
    if !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    committed.map(drop).map_err(Failure::from)
}
