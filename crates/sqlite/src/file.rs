//! Opening the file. One that isn't ours, or is newer than this version, is looked at and left as it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use cloakroom::Error;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};

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
    let db = connect_or_create(&path)?;
    check_owner(&db, &path)?;
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

fn check_place(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => {
            Err(Error::invalid(format!("{shown} is a folder: give the path of a file in it for the sessions")))
        }
        Ok(_) => Err(Error::invalid(format!("{shown} is no regular file: give another path for the sessions"))),
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
    const TRIES_MAX: i32 = 2_000;
    thread::sleep(Duration::from_millis(1));
    tries < TRIES_MAX
}

/// Refuses a file that isn't ours or is newer. It has only been read so far.
fn check_owner(db: &Connection, path: &Path) -> Result<(), Error> {
    let look = || -> rusqlite::Result<(i64, i64, i64)> {
        // Closing it wouldn't merge its write-ahead log either: that is for its owner to do.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let found = (pragma(db, "application_id")?, pragma(db, "user_version")?, tables(db)?);
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
    Ok(db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?)
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

fn pragma(db: &Connection, name: &str) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, name, |row| row.get(0))
}

fn tables(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}
