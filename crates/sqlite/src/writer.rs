//! The one thread that writes: it commits the writes that wait together, so that they share one sync of the disk.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
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
    let mut seen = foreign_commits(db);
    while let Some(first) = messages.blocking_recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Write(job) => group.push(Write { job, outcome: Ok(()) }),
                Message::Close => messages.close(),
            }
            next = if group.len() < GROUP_MAX { messages.try_recv().ok() } else { None };
        }
        write_group(db, path, &mut group);
        let foreign = foreign_commits(db);
        if foreign != seen {
            seen = foreign;
            thread::sleep(PAUSE_FOR_OTHERS);
        }
    }
}

/// Longer than another process sleeps between its attempts to get the lock. SQLite knows no fair locks: without a pause,
/// the process that has it would nearly always be the next one to have it, too.
const PAUSE_FOR_OTHERS: Duration = Duration::from_millis(1);

/// A number that differs when another process has committed something since. None that is unknown matters.
fn foreign_commits(db: &Connection) -> Option<i64> {
    db.prepare_cached("PRAGMA data_version")
        .and_then(|mut pragma| pragma.query_row([], |row| row.get(0)))
        .ok()
}

struct Write {
    job: Box<dyn Job>,
    /// Its own, apart from whether the group was committed.
    outcome: Result<(), Failure>,
}

/// Writes what is in the group, answers each, and leaves the group empty.
fn write_group(db: &Connection, path: &Path, group: &mut Vec<Write>) {
    let committed = commit(db, group);
    for Write { job, outcome } in group.drain(..) {
        let outcome = outcome.and_then(|()| committed.clone());
        job.answer(outcome.map_err(|failure| failure.into_error(path)));
    }
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

#[cfg(test)]
mod tests {
    use cloakroom::Error;
    use tokio::sync::oneshot::Receiver;

    use super::*;
    use crate::job::job;

    #[test]
    fn a_statement_that_fails_is_undone_alone() {
        let db = database();
        let answers = together(&db, ["a", "refused", "b"]);
        assert!(answers[1].as_ref().is_err_and(Error::is_unavailable));
        assert!(answers[0].is_ok() && answers[2].is_ok());
        assert_eq!(stored(&db), ["a", "b"]);
    }

    /// As SQLite itself may do when the disk is full.
    #[test]
    fn a_transaction_that_is_undone_fails_the_whole_group_and_no_other() {
        let db = database();
        assert!(together(&db, ["a"])[0].is_ok());
        let answers = together(&db, ["b", "undone", "c"]);
        assert!(
            answers.iter().all(|answer| answer.as_ref().is_err_and(Error::is_unavailable)),
            "{answers:?}"
        );
        assert!(together(&db, ["d"])[0].is_ok());
        assert_eq!(stored(&db), ["a", "d"]);
    }

    #[test]
    fn a_full_file_fails_what_needs_room_and_goes_on_when_there_is_some() {
        let db = database();
        assert!(together(&db, ["a"])[0].is_ok());
        let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        db.pragma_update(None, "max_page_count", pages).unwrap();
        let large = "x".repeat(100_000);
        let answers = together(&db, [&large]);
        let told = answers[0].as_ref().unwrap_err().to_string();
        assert!(told.contains("the disk is full: make room"), "{told}");
        db.pragma_update(None, "max_page_count", pages + 100).unwrap();
        assert!(together(&db, [&large])[0].is_ok());
        assert_eq!(stored(&db), ["a", &large]);
    }

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE word (word);
             CREATE TRIGGER refuse BEFORE INSERT ON word WHEN NEW.word = 'refused' BEGIN SELECT RAISE(ABORT, 'no'); END;
             CREATE TRIGGER undo BEFORE INSERT ON word WHEN NEW.word = 'undone' BEGIN SELECT RAISE(ROLLBACK, 'no'); END;",
        )
        .unwrap();
        db
    }

    fn together<const N: usize>(db: &Connection, words: [&str; N]) -> Vec<Result<usize, Error>> {
        let (mut group, answers): (Vec<Write>, Vec<Receiver<_>>) = words
            .into_iter()
            .map(|word| {
                let word = word.to_owned();
                let (job, answer) = job(move |db| Ok(db.execute("INSERT INTO word VALUES (?1)", [word])?));
                (Write { job, outcome: Ok(()) }, answer)
            })
            .unzip();
        write_group(db, Path::new("sessions.db"), &mut group);
        answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect()
    }

    fn stored(db: &Connection) -> Vec<String> {
        let mut statement = db.prepare("SELECT word FROM word ORDER BY rowid").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}
