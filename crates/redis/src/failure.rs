//! What can go wrong with the engine, and how to mend it.

use std::{sync::Arc, time::Duration};

use cloakroom::Error;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::address::Address;

/// Why a call failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The store was closed.
    Closed,
    /// No answer in time.
    Late(Duration),
    /// The engine, or the way to it, said so. Shared, for every call fails for this reason until there is a connection.
    Engine(Arc<RedisError>),
    /// The engine isn't what the URL says.
    Unfit(Arc<str>),
    /// An answer that makes no sense.
    Strange,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Engine(Arc::new(error))
    }
}

impl Failure {
    pub(crate) fn unfit(why: impl Into<Arc<str>>) -> Self {
        Self::Unfit(why.into())
    }

    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Engine(error) => Some(error.kind()),
            Self::Closed | Self::Late(_) | Self::Unfit(_) | Self::Strange => None,
        }
    }

    /// Whether the connection is of no use any more, and whether what was asked was done is unknown.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_connection_dropped() || error.kind() == ErrorKind::Parse)
    }

    /// Whether the server wasn't reached at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Late(_)) || matches!(self, Self::Engine(error) if error.is_io_error())
    }

    /// Whether what was asked may have been done: a cluster's client says so also to questions that are under way when it
    /// loses sight of the cluster.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_lost() || self.kind() == Some(ErrorKind::ClusterConnectionNotFound)
    }

    /// Whether a node of a cluster says, or makes one think, that others are its masters now.
    pub(crate) fn is_changing_hands(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                ErrorKind::ClusterConnectionNotFound
                    | ErrorKind::Server(
                        ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown | ServerErrorKind::Moved
                    )
            )
        )
    }

    /// Whether the engine has refused, without doing it, what it may do a little later.
    pub(crate) fn is_momentary(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                ErrorKind::ClusterConnectionNotFound
                    | ErrorKind::Server(
                        ServerErrorKind::BusyLoading
                            | ServerErrorKind::TryAgain
                            | ServerErrorKind::ClusterDown
                            | ServerErrorKind::MasterDown
                            | ServerErrorKind::Moved
                            | ServerErrorKind::Ask
                            | ServerErrorKind::ReadOnly
                    )
            )
        )
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.kind() == Some(ErrorKind::Server(ServerErrorKind::ReadOnly))
    }

    /// Whether keys that were asked for together lie apart.
    pub(crate) fn is_cross_slot(&self) -> bool {
        self.kind() == Some(ErrorKind::Server(ServerErrorKind::CrossSlot))
    }

    /// Whether the engine says that the user may not do it.
    pub(crate) fn is_refusal(&self) -> bool {
        self.kind() == Some(ErrorKind::Server(ServerErrorKind::NoPerm))
    }

    pub(crate) fn is_login_refused(&self) -> bool {
        self.kind() == Some(ErrorKind::AuthenticationFailed)
    }

    pub(crate) fn is_no_script(&self) -> bool {
        self.kind() == Some(ErrorKind::Server(ServerErrorKind::NoScript))
    }

    pub(crate) fn into_error(self, address: &Address) -> Error {
        match self {
            Self::Closed => Error::unavailable("the Redis store is closed", "it was called after `close`"),
            Self::Unfit(why) => Error::invalid(format!("{address} {why}")),
            Self::Strange => Error::corrupt(format!(
                "{address} gave an answer that makes no sense: is it a Redis or Valkey server?"
            )),
            Self::Late(time) => Error::unavailable(
                format!("{address} didn't answer within {} ms", time.as_millis()),
                "see whether it hangs, or is busy with a slow command",
            ),
            Self::Engine(error) if is_foreign(&error) => Error::corrupt(format!(
                "{address} holds something else under this prefix than this version writes: another program uses the \
                 prefix, or a newer version; give each its own `?prefix=`"
            )),
            Self::Engine(error) => Error::unavailable(format!("{address} {}", explain(&error)), error),
        }
    }

    /// At the start, a URL that can't work is told from an engine that can't be reached.
    pub(crate) fn into_opening_error(self, address: &Address) -> Error {
        match &self {
            Self::Engine(error) => match refusal(error) {
                Some(why) => Error::invalid(format!("{address} {why}")),
                None => self.into_error(address),
            },
            _ => self.into_error(address),
        }
    }
}

/// Keys of another type, or values that the scripts don't know.
fn is_foreign(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.detail().is_some_and(|detail| detail.contains("CORRUPT"))
}

fn refusal(error: &RedisError) -> Option<&'static str> {
    let detail = error.detail().unwrap_or_default();
    let said = |words: &str| detail.contains(words);
    match error.code() {
        Some("WRONGPASS") => Some(WRONG_PASSWORD),
        Some("NOAUTH") => Some("asks for a password: write it as redis://:password@host"),
        Some("NOPERM") => Some(
            "doesn't let this user run the commands that are needed; see `cloakroom doctor`, or ACL SETUSER",
        ),
        _ if error.kind() == ErrorKind::AuthenticationFailed => Some(WRONG_PASSWORD),
        _ if said("DB index is out of range") => Some("has no database of that number"),
        _ if said("cluster support disabled") => Some("is no cluster: write redis:// for redis+cluster://"),
        _ if said("SELECT is not allowed in cluster mode") => {
            Some("is a cluster, which has database 0 alone")
        }
        _ if said("unknown command") && said("SENTINEL") => Some(
            "can't be asked for: what the URL names are no sentinels; their port is 26379, unless set otherwise",
        ),
        _ => None,
    }
}

const WRONG_PASSWORD: &str =
    "refuses the user's name or password; in a URL, characters such as @ : / % are percent-encoded";

/// What is wrong and what to do about it, in words that follow the engine's name.
fn explain(error: &RedisError) -> &'static str {
    if let Some(why) = refusal(error) {
        return why;
    }
    match error.code() {
        Some("OOM") => "is out of memory: raise `maxmemory`; sessions that end still make room",
        Some("READONLY") => {
            "is a replica, and takes no writes: point the URL at the master, or at the sentinels"
        }
        Some("LOADING") => "is still loading its data from disk",
        Some("CLUSTERDOWN") => "is down as a cluster: a part of it has no master",
        Some("MASTERDOWN") => "is a replica that has lost its master",
        Some("NOREPLICAS") => {
            "has too few replicas for `min-replicas-to-write`: bring one back, or lower the number"
        }
        Some("MISCONF") => "can't write to its disk, and therefore takes no writes: see its log",
        Some("BUSY") => "is busy with a slow script of another program",
        Some("MOVED" | "ASK") => "is a cluster that is moving keys: write redis+cluster:// for a cluster",
        _ if error.is_connection_refusal() => "refuses connections: see whether it runs, and there",
        _ if error.is_timeout() => "didn't answer",
        _ if error.is_connection_dropped() => "has closed the connection",
        _ if error.is_io_error() => "can't be reached",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_says_how_to_mend_it() {
        let address = Address::parse("redis://ann:secret@host").unwrap();
        let said = |text: &str| {
            let answer = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
            Failure::from(answer.extract_error().unwrap_err())
        };
        for (text, words) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory"),
            ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
            ("READONLY You can't write against a read only replica.", "replica"),
            ("ERR something new", "failed"),
        ] {
            let error = said(text).into_error(&address);
            assert!(error.is_unavailable() && error.to_string().contains(words), "{text}: {error:?}");
            assert!(!format!("{error:?}").contains("secret"));
        }
        assert!(said("WRONGTYPE Operation against a key").into_error(&address).is_corrupt());
        for text in ["WRONGPASS invalid", "NOAUTH Authentication required.", "ERR DB index is out of range"] {
            assert!(said(text).into_opening_error(&address).is_invalid(), "{text}");
        }
    }
}
