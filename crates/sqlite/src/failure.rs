//! What can go wrong with the file, and how to mend it.

use std::{path::Path, sync::Arc};

use cloakroom::Error;
use rusqlite::{ErrorCode, ffi};

/// Why a piece of work on the file failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// SQLite said so. Shared, because a whole group of writes can fail for one reason.
    Sqlite(Arc<rusqlite::Error>),
    /// A row that somebody else wrote or changed can't be read.
    Row(Arc<str>),
}

impl Failure {
    pub(crate) fn row(what: impl Into<Arc<str>>) -> Self {
        Self::Row(what.into())
    }

    pub(crate) fn into_error(self, path: &Path) -> Error {
        let path = path.display();
        match self {
            Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                Error::invalid(format!("{path} is no SQLite database: give another path for the sessions"))
            }
            Self::Sqlite(error) => {
                Error::unavailable(format!("the session file {path} {}", explain(&error)), error)
            }
            Self::Row(what) => Error::corrupt(format!(
                "the session file {path} has a row that can't be read: {what}; mend the row, or delete it, with the \
                 sqlite3 command line"
            )),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// What is wrong and what to do about it, in words that follow the file's name.
fn explain(error: &rusqlite::Error) -> &'static str {
    let Some(error) = error.sqlite_error() else {
        return "failed in a way that SQLite didn't name";
    };
    match error.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "is locked by another process: wait until that has finished, or stop it"
        }
        ErrorCode::DiskFull => FULL,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            "can't be written: give this process the right to write the file and its folder"
        }
        ErrorCode::CannotOpen => {
            "can't be opened: its folder must exist, and this process needs the right to write both, because SQLite \
             keeps two files (-wal and -shm) beside it"
        }
        ErrorCode::DatabaseCorrupt => {
            "is damaged: put a backup in its place, or save what can be read with the sqlite3 command line's .recover"
        }
        // The file of shared memory couldn't grow, which only a full disk prevents.
        ErrorCode::SystemIoFailure if error.extended_code == ffi::SQLITE_IOERR_SHMSIZE => FULL,
        ErrorCode::SystemIoFailure => {
            "can't be read or written, because the disk failed: see the system's log, and whether the disk is full"
        }
        _ => "refused the operation",
    }
}

const FULL: &str = "can't grow, because the disk is full: make room, and writing goes on without a restart";
