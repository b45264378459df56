//! What can go wrong, and what it means to the engine.

use cloakroom::Error;

#[derive(Debug)]
pub(crate) enum Failure {
    Driver(mysql_async::Error),
    /// The server didn't answer in time; what became of the call isn't known.
    Late,
    /// Something of ours, said already.
    Store(Error),
}

/// An id, or a subject's name, is there already.
const DUPLICATE: u16 = 1062;
/// The server chose this statement to give way; it did nothing.
const GAVE_WAY: [u16; 2] = [1205, 1213];

/// Login refused, database unknown, rights missing, table missing.
const SETTINGS: [u16; 8] = [1044, 1045, 1049, 1142, 1143, 1146, 1227, 1698];

impl Failure {
    /// Whether the connection can't be used any more.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Driver(error) => error.is_fatal(),
            Self::Late => true,
            Self::Store(_) => false,
        }
    }

    pub(crate) fn is_duplicate(&self) -> bool {
        self.code() == Some(DUPLICATE)
    }

    /// Whether the same statement can be made again: it did nothing.
    pub(crate) fn has_given_way(&self) -> bool {
        self.code().is_some_and(|code| GAVE_WAY.contains(&code))
    }

    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Driver(mysql_async::Error::Server(error)) => Some(error.code),
            _ => None,
        }
    }
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Messages of the server name users, hosts and tables, and never a password or a value of ours; the driver's own errors
/// of conversion hold values, and are left out.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Late => Self::unavailable("MySQL doesn't answer", "it took too long"),
            Failure::Driver(mysql_async::Error::Server(error)) if SETTINGS.contains(&error.code) => {
                Self::invalid(format!(
                    "MySQL refuses ({}): {}. Check the URL's user, password and database, and the user's rights",
                    error.code, error.message
                ))
            }
            Failure::Driver(mysql_async::Error::Server(error)) if matches!(error.code, 1406 | 1153) => {
                Self::invalid(format!(
                    "the session is too large for MySQL ({}): {}",
                    error.code, error.message
                ))
            }
            Failure::Driver(mysql_async::Error::Server(error)) => {
                Self::unavailable("MySQL failed", format!("{}: {}", error.code, error.message))
            }
            Failure::Driver(mysql_async::Error::Io(error)) => {
                Self::unavailable("MySQL can't be reached", error.to_string())
            }
            Failure::Driver(mysql_async::Error::Driver(
                mysql_async::DriverError::FromValue { .. } | mysql_async::DriverError::FromRow { .. },
            )) => Self::corrupt("a row of the session tables has another form than this version writes"),
            Failure::Driver(error) => Self::unavailable("the connection to MySQL failed", error.to_string()),
        }
    }
}
