//! Opening the file. One that isn't ours, or is newer than this version, is looked at and left as it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use cloakroom::Error;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, config::DbConfig, ffi};

use crate::failure::Failure;

/// The steps that make the layout, in order. How many of them a file has gone through is its `user_version`.
const STEPS: &[&str] = &[include_str!("sql/schema_1.sql")];

/// Marks a file as ours, in its `application_id`: "Clok".
const APPLICATION_ID: i64 = 0x436c_6f6b;

/// Opens the file for writing. It is made if there is none, and its layout is brought up to date.
pub(crate) fn open(path: &Path) -> Result<(Connection, PathBuf), Error> {
    // Absolute, because SQLite has a use of its own for names such as `:memory:` and `file:x`.
    let path = std::path::absolute(path)
        .map_err(|error| Error::invalid(format!("the path of the session file can't be used: {error}")))?;
    check_place(&path)?;
    let has_log = fs::metadata(log_of(&path)).is_ok_and(|log| log.len() > 0);
    let db = connect_or_create(&path)?;
    check_owner(&db, &path, has_log)?;
    let journal = prepare(&db, STEPS).map_err(|failure| failure.into_error(&path))?;
    if journal != "wal" {
        return Err(Error::unsupported(format!(
            "the session file {} can't have a write-ahead log where it lies, as on network file systems: give a path \
             on a disk of this machine",
            path.display()
        )));
    }
    Ok((db, path))
}

/// Another connection to an opened file, for reading.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, Error> {
    let connect = || -> Result<Connection, Failure> {
        let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Ok(db)
    };
    connect().map_err(|failure| failure.into_error(path))
}

/// Memory of each connection for pages of the file.
const CACHE_KIB: i64 = 8 * 1_024;

/// The smallest page a database can have, and so the smallest database.
const PAGE_BYTES_MIN: u64 = 512;

fn check_place(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    match fs::metadata(path) {
        // SQLite would take a file of one byte for an empty one.
        Ok(found) if found.is_file() && (1..PAGE_BYTES_MIN).contains(&found.len()) => {
            Err(Error::invalid(format!("{shown} is no SQLite database: give another path for the sessions")))
        }
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => Err(Error::invalid(format!(
            "{shown} is a folder: give the path of a file in it for the sessions"
        ))),
        Ok(_) => {
            Err(Error::invalid(format!("{shown} is no regular file: give another path for the sessions")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(folder) if !folder.is_dir() => Err(Error::invalid(format!(
                "the folder {} for the session file doesn't exist: make it, or give another path",
                folder.display()
            ))),
            _ => Ok(()),
        },
        Err(error) => Err(Error::invalid(format!("the session file {shown} can't be reached: {error}"))),
    }
}

fn connect_or_create(path: &Path) -> Result<Connection, Error> {
    // A process that closes any handle of a file drops all its POSIX locks on it, SQLite's among them. So the handle
    // that makes the file is closed before any thread of this process can have opened it through SQLite, and a file
    // that exists is never opened but through SQLite.
    static OPENING: Mutex<()> = Mutex::new(());
    let opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    create(path)?;
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
    drop(opening);
    db.map_err(|error| Failure::from(error).into_error(path))
}

/// Makes an empty file that its owner alone can read, unless there is a file. SQLite gives its -wal and -shm files the
/// same rights.
fn create(path: &Path) -> Result<(), Error> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            let message = format!(
                "the session file {} can't be made: {error}; give this process the right to write its folder, or make \
                 room on the disk",
                path.display()
            );
            Err(Error::unavailable(message, error))
        }
    }
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // No mutex, because each connection belongs to one thread.
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_handler(Some(wait_for_lock))?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// Waits about two seconds in all for another process's lock. SQLite's own timeout sleeps up to a tenth of a second at
/// a time, and would miss most of the moments between another process's transactions.
fn wait_for_lock(tries: i32) -> bool {
    const TRIES_MAX: i32 = 4_000;
    thread::sleep(Duration::from_micros(500));
    tries < TRIES_MAX
}

/// Refuses a file that isn't ours, is newer, or can't be written, and does no more than read it.
fn check_owner(db: &Connection, path: &Path, has_log: bool) -> Result<(), Error> {
    let look = || -> rusqlite::Result<(i64, i64, i64)> {
        // Asked first: reading would already make files beside it, which a process with more rights couldn't use.
        if db.is_readonly("main")? {
            let error = ffi::Error { code: ErrorCode::ReadOnly, extended_code: ffi::SQLITE_READONLY };
            return Err(rusqlite::Error::SqliteFailure(error, None));
        }
        // To merge a write-ahead log that was left behind is its owner's business, if that isn't us.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
        // In one transaction: another process may be making it just now.
        let reading = Transaction::new_unchecked(db, TransactionBehavior::Deferred)?;
        let found = (pragma(db, "application_id")?, pragma(db, "user_version")?, tables(db)?);
        reading.commit()?;
        Ok(found)
    };
    let shown = path.display();
    let newest = STEPS.len() as i64;
    match look().map_err(|error| Failure::from(error).into_error(path))? {
        (APPLICATION_ID, version, _) if version > newest => Err(Error::invalid(format!(
            "the session file {shown} was written by a newer version (its layout is {version}, and this version knows \
             those up to {newest}): use the newer version, or give another path"
        ))),
        (APPLICATION_ID, ..) | (0, 0, 0) => Ok(()),
        _ => Err(Error::invalid(format!(
            "{shown} is the database of another program: give another path for the sessions; nothing in it was changed"
        ))),
    }
}

/// Readies a file of ours for writing, and answers the kind of journal it has.
fn prepare(db: &Connection, steps: &[&str]) -> Result<String, Failure> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.execute_batch(include_str!("sql/settings.sql"))?;
    migrate(db, steps)?;
    // This one statement doesn't wait for locks by itself.
    let mut tries = 0;
    loop {
        match db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if is_locked(&error) && wait_for_lock(tries) => tries += 1,
            answer => return Ok(answer?),
        }
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Takes the steps that are missing, all or none.
fn migrate(db: &Connection, steps: &[&str]) -> Result<(), Failure> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    // Asked again, because another process may have taken them meanwhile.
    let taken = usize::try_from(pragma(db, "user_version")?).unwrap_or(usize::MAX);
    for step in steps.iter().skip(taken) {
        db.execute_batch(step)?;
    }
    // Written even if nothing changed: a start on a full disk or with a lock that stays shall fail, not the first login.
    let version = steps.len().max(taken);
    db.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}"))?;
    Ok(transaction.commit()?)
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn pragma(db: &Connection, name: &str) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, name, |row| row.get(0))
}

fn tables(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A database in memory with the newest layout.
    pub(crate) fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        prepare(&db, STEPS).unwrap();
        db
    }

    #[test]
    fn every_commit_is_synced_and_what_is_deleted_overwritten() {
        let db = database();
        for (name, value) in
            [("synchronous", 2), ("fullfsync", 1), ("checkpoint_fullfsync", 1), ("secure_delete", 1)]
        {
            assert_eq!(pragma(&db, name).unwrap(), value, "{name}");
        }
    }

    const TWO_STEPS: [&str; 2] =
        ["CREATE TABLE a (x); INSERT INTO a VALUES (1)", "ALTER TABLE a ADD COLUMN y DEFAULT 2"];

    #[test]
    fn a_new_file_takes_every_step_and_is_marked_as_ours() {
        let db = Connection::open_in_memory().unwrap();
        migrate(&db, &TWO_STEPS).unwrap();
        assert_eq!((pragma(&db, "user_version"), pragma(&db, "application_id")), (Ok(2), Ok(APPLICATION_ID)));
        assert_eq!(db.query_row("SELECT x + y FROM a", [], |row| row.get(0)), Ok(3));
    }

    #[test]
    fn an_older_file_takes_the_steps_it_has_not_taken_and_keeps_its_rows() {
        let db = Connection::open_in_memory().unwrap();
        migrate(&db, &TWO_STEPS[..1]).unwrap();
        db.execute_batch("UPDATE a SET x = 40").unwrap();
        migrate(&db, &TWO_STEPS).unwrap();
        migrate(&db, &TWO_STEPS).unwrap();
        assert_eq!(db.query_row("SELECT x + y FROM a", [], |row| row.get(0)), Ok(42));
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let db = Connection::open_in_memory().unwrap();
        migrate(&db, &TWO_STEPS[..1]).unwrap();
        let broken = [TWO_STEPS[0], "CREATE TABLE b (x); INSERT INTO missing VALUES (1)"];
        assert!(migrate(&db, &broken).is_err());
        assert_eq!((pragma(&db, "user_version"), tables(&db)), (Ok(1), Ok(1)));
        migrate(&db, &TWO_STEPS).unwrap();
    }

    /// A file of a newer version is refused before this, unless it was migrated in between.
    #[test]
    fn a_newer_file_is_not_marked_as_older() {
        let db = Connection::open_in_memory().unwrap();
        migrate(&db, &TWO_STEPS).unwrap();
        migrate(&db, &TWO_STEPS[..1]).unwrap();
        assert_eq!(pragma(&db, "user_version"), Ok(2));
    }
}
