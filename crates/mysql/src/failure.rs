//! What can go wrong, and what it means to the engine.

use cloakroom::Error;
use mysql_async::DriverError;

#[derive(Debug)]
pub(crate) enum Failure {
    Driver(mysql_async::Error),
    /// The server didn't answer in time; what became of the call isn't known.
    Late,
    /// The server takes no changes: it is a replica, or was made one.
    ReadOnly,
    /// Somebody between has mixed up answers: the connection is of no use.
    Foreign,
    /// Something of ours, said already.
    Store(Error),
}

/// An id, or a subject's name, is there already.
const DUPLICATE: u16 = 1062;
/// The server chose this statement to give way; it did nothing.
const GAVE_WAY: [u16; 2] = [1205, 1213];

/// The server leaves, or hands over to another: its connections are of no use any more, though it goes on answering some
/// of what is asked. Not ready in its cluster, going down, read-only in several ways, connection killed or idle for too long.
const LEFT: [u16; 8] = [1047, 1053, 1290, 1792, 1836, 1927, 3100, 4031];

/// A value that is longer than its column, or than what the server takes in one piece.
const TOO_LARGE: [u16; 2] = [1406, 1153];

/// Login refused, database unknown, rights missing, table missing.
const SETTINGS: [u16; 8] = [1044, 1045, 1049, 1142, 1143, 1146, 1227, 1698];

impl Failure {
    /// Whether the connection can't be used any more.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Driver(error) => error.is_fatal() || self.code().is_some_and(|code| LEFT.contains(&code)),
            Self::Late | Self::ReadOnly | Self::Foreign => true,
            Self::Store(_) => false,
        }
    }

    /// Whether the connection broke, of which the server may have known for long.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Driver(_)) && self.is_fatal()
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

    /// At the start, settings that can't work are told from a server that has trouble.
    pub(crate) fn into_opening_error(self) -> Error {
        match self {
            Self::Driver(mysql_async::Error::Server(error)) if SETTINGS.contains(&error.code) => {
                Error::invalid(format!(
                    "MySQL refuses ({}): {}. Check the URL's user, password and database, and the user's rights; one \
                     who may not change tables needs `migrate=false`, and tables that are there",
                    error.code, error.message
                ))
            }
            // MySQL gives no hint whether there is such a user: for one that it doesn't know, it picks a method by chance.
            Self::Driver(mysql_async::Error::Driver(
                ref error @ (DriverError::UnknownAuthPlugin { .. }
                | DriverError::CleartextPluginDisabled
                | DriverError::MysqlOldPasswordDisabled),
            )) => Error::invalid(format!(
                "MySQL wants a login that this program doesn't offer ({error}). Check the URL's user, who may be unknown; \
                 one who is known can be given another: ALTER USER … IDENTIFIED WITH caching_sha2_password BY …"
            )),
            Self::ReadOnly => Error::invalid(
                "the MySQL server is a replica, or read-only: sessions change all the time; give the address of the \
                 primary",
            ),
            failure => failure.into(),
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
            Failure::ReadOnly => Self::unavailable(
                "MySQL takes no changes",
                "the server is a replica now, or read-only; the store waits for its name to lead to the new primary",
            ),
            Failure::Foreign => {
                Self::unavailable("the connection to MySQL failed", "a row came that was not asked for")
            }
            Failure::Driver(mysql_async::Error::Server(error)) if TOO_LARGE.contains(&error.code) => {
                Self::too_large(format!(
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
                DriverError::FromValue { .. } | DriverError::FromRow { .. },
            )) => Self::corrupt("a row of the session tables has another form than this version writes"),
            Failure::Driver(error) => Self::unavailable("the connection to MySQL failed", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_is_not_offered_is_a_setting_to_mend() {
        let unknown = DriverError::UnknownAuthPlugin { name: "sha256_password".to_owned() };
        let error = Failure::Driver(unknown.into()).into_opening_error();
        assert!(error.is_invalid(), "{error:?}");
        for part in ["sha256_password", "Check the URL's user", "ALTER USER"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
