//! What can go wrong, and what it means to the engine.

use std::error::Error as _;

use cloakroom::Error;
use tokio_postgres::error::{DbError, SqlState};

#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    /// Something of ours, said already.
    Store(Error),
}

/// What the server or the way to it said. It can be told to several callers.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// None: the server said nothing, or nothing that could be read.
    code: Option<SqlState>,
    message: String,
    /// Whether trying again is of no use before somebody has changed something.
    is_setting: bool,
}

/// Login refused, database unknown, rights or tables missing.
const SETTINGS: [SqlState; 7] = [
    SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    SqlState::INVALID_PASSWORD,
    SqlState::INVALID_CATALOG_NAME,
    SqlState::INVALID_SCHEMA_NAME,
    SqlState::INSUFFICIENT_PRIVILEGE,
    SqlState::UNDEFINED_TABLE,
    SqlState::UNDEFINED_COLUMN,
];

/// PgBouncer says whatever it says with one code. Of these, somebody has to change something; the rest is about servers
/// that it can't reach, or that are busy.
const POOLER_SETTINGS: [&str; 9] = [
    "unsupported startup parameter",
    "no such database",
    "no such user",
    "authentication failed",
    "auth failed",
    "login rejected",
    "does not exist",
    "SSL required",
    "statement pooling mode",
];

/// The server chose this statement to give way, or found that it must see what others did: it did nothing.
const GAVE_WAY: [SqlState; 2] = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];

/// A pooler gave this connection another server, which doesn't know our statements: it did nothing.
const UNPREPARED: [SqlState; 2] = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];

impl Failure {
    /// Whether the connection can't be used any more: it broke, or leads to a server that takes no changes, as after a
    /// failover.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                refusal.code.as_ref().is_none_or(|code| *code == SqlState::READ_ONLY_SQL_TRANSACTION)
            }
            Self::Store(_) => false,
        }
    }

    /// Whether the server said it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(Refusal { code: Some(_), .. }))
    }

    /// Whether the same statement can be made again: it did nothing.
    pub(crate) fn has_given_way(&self) -> bool {
        matches!(self, Self::Refused(Refusal { code: Some(code), .. }) if GAVE_WAY.contains(code))
    }

    /// Whether it would have been made if it hadn't been prepared.
    pub(crate) fn is_unprepared(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_unprepared())
    }

    /// At the start, what has to be set right is said so; later it is an outage like others, for it worked before.
    pub(crate) fn at_start(self) -> Error {
        match self {
            Self::Refused(Refusal { message, is_setting: true, .. }) => Error::invalid(format!(
                "PostgreSQL can't be used: {message}. Check the URL's user, password, database and options, and the user's \
                 rights"
            )),
            other => other.into(),
        }
    }
}

/// The server's messages name users, hosts and tables, and never a password. Its details and hints name values, and are
/// left out.
impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(error) = error.as_db_error() {
            let message = format!("{} ({})", error.message(), error.code().code());
            let is_setting = SETTINGS.contains(error.code()) || is_poolers_setting(error);
            return Self { code: Some(error.code().clone()), message, is_setting };
        }
        let mut message = error.to_string();
        // The driver has no other way to tell.
        let is_setting =
            ["invalid configuration", "error performing TLS"].iter().any(|start| message.starts_with(start));
        if let Some(cause) = error.source().map(ToString::to_string).filter(|cause| !message.contains(cause))
        {
            message = format!("{message}: {cause}");
        }
        Self { code: None, message, is_setting }
    }
}

fn is_poolers_setting(error: &DbError) -> bool {
    *error.code() == SqlState::PROTOCOL_VIOLATION
        && POOLER_SETTINGS.iter().any(|words| error.message().contains(words))
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Refused(refusal) => match refusal.code {
                Some(SqlState::PROGRAM_LIMIT_EXCEEDED | SqlState::OUT_OF_MEMORY) => {
                    Self::too_large(format!("the session is too large for PostgreSQL: {}", refusal.message))
                }
                Some(_) => Self::unavailable("PostgreSQL failed", refusal.message),
                None => Self::unavailable("PostgreSQL can't be reached", refusal.message),
            },
        }
    }
}

impl Refusal {
    pub(crate) fn late() -> Self {
        Self::unsaid("it took too long")
    }

    pub(crate) fn stopped() -> Self {
        Self::unsaid("the attempt to connect was stopped")
    }

    /// Somebody between has mixed up answers: the connection is of no use.
    pub(crate) fn foreign() -> Self {
        Self::unsaid("a row came that was not asked for")
    }

    fn unsaid(message: &str) -> Self {
        Self { code: None, message: message.to_owned(), is_setting: false }
    }

    /// Whether it would have been made if it hadn't been prepared.
    pub(crate) fn is_unprepared(&self) -> bool {
        self.code.as_ref().is_some_and(|code| UNPREPARED.contains(code))
    }
}
