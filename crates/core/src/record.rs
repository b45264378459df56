//! What a store keeps for one session.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Data, Error, SessionId, Timestamp, lifetime::Times};

pub use crate::authority::{Authority, Presented};
pub(crate) use crate::authority::{History, Pending, Rotated, STEP_UPS_MAX, StepUp, TRACES_MAX};

/// One session as it is stored.
///
/// To a store it is an id, a version to compare, a subject to index and a time at which it expires; the rest is
/// opaque. [`Record::encode`] gives it as bytes, and stores that keep columns have its parts.
#[derive(Clone, Debug)]
pub struct Record {
    /// The session's public handle; the store's key.
    pub id: SessionId,
    /// Stamp of the last stored change. A touch leaves it as it is.
    pub version: Version,
    /// Whom the session belongs to; `None` while anonymous.
    pub subject: Option<Subject>,
    /// Who may act for the session.
    pub authority: Authority,
    /// When it began, was last used, and ends.
    pub times: Times,
    /// A coarse description of the client, such as `Firefox on Linux`, for the user's list of devices.
    pub client: Option<Arc<str>>,
    /// The application's data.
    pub data: Data,
}

impl Record {
    /// The first instant at which the record is no longer alive, if nothing is stored until then.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.times.expires()
    }

    /// The same record with other data, without a copy of what it had.
    pub(crate) fn with_data(&self, data: Data) -> Self {
        Self {
            id: self.id,
            version: self.version,
            subject: self.subject.clone(),
            authority: self.authority.clone(),
            times: self.times,
            client: self.client.clone(),
            data,
        }
    }

    /// Whether the record is still alive.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires()
    }

    /// The record in the binary form for stores that keep bytes. It starts with the format's version.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] if a part is too large to be written.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let times = &self.times;
        let code = self.authority.coded();
        let stored = Stored {
            format: if code.is_some() { FORMAT_KEYED } else { FORMAT },
            id: self.id,
            version: self.version,
            subject: self.subject.as_ref().map(Subject::as_str),
            authority: &self.authority,
            times: [times.created, times.started, times.active, times.end],
            idle_s: times.idle_s,
            client: self.client.as_deref(),
            data: self.data.as_bytes(),
        };
        let bytes = match code {
            None => postcard::to_allocvec(&stored),
            Some(code) => postcard::to_allocvec(&(stored, code)),
        };
        bytes.map_err(|error| Error::corrupt("the record can't be written").because(error))
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] if the bytes are no record, or were written by a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        // The head has one length, and is read at once instead of byte by byte.
        let (is_keyed, id, rest) = match bytes.split_first_chunk::<17>() {
            Some((&[FORMAT, ref id @ ..], rest)) => (false, SessionId::from_bytes(*id), rest),
            Some((&[FORMAT_KEYED, ref id @ ..], rest)) => (true, SessionId::from_bytes(*id), rest),
            _ => {
                return Err(Error::corrupt(
                    "the stored record has a format this version doesn't know: it was written by a newer one, or isn't a record",
                ));
            }
        };
        let damaged = |error| Error::corrupt("the stored record is damaged").because(error);
        let (mut stored, mut rest): (Loaded<'_>, _) = postcard::take_from_bytes(rest).map_err(damaged)?;
        if is_keyed {
            let coded;
            (coded, rest) = postcard::take_from_bytes(rest).map_err(damaged)?;
            stored.authority.give_code(coded)?;
        }
        if !rest.is_empty() {
            return Err(Error::corrupt("the stored record has bytes behind its end"));
        }
        let [created, started, active, end] = stored.times;
        Ok(Self {
            id,
            version: stored.version,
            subject: stored.subject.map(Subject::new).transpose()?,
            authority: stored.authority,
            times: Times { created, started, active, end, idle_s: stored.idle_s },
            client: stored.client.map(Arc::from),
            data: Data::from_bytes(stored.data)?,
        })
    }
}

pub(crate) const FORMAT: u8 = 1;
/// The same, followed by the code that a key ring puts on authority, and the keys of the verifiers.
pub(crate) const FORMAT_KEYED: u8 = 2;

#[derive(Serialize)]
struct Stored<'a> {
    format: u8,
    id: SessionId,
    version: Version,
    subject: Option<&'a str>,
    authority: &'a Authority,
    times: [Timestamp; 4],
    idle_s: u32,
    client: Option<&'a str>,
    data: &'a [u8],
}

/// What follows the format and the id.
#[derive(Deserialize)]
struct Loaded<'a> {
    version: Version,
    subject: Option<&'a str>,
    authority: Authority,
    times: [Timestamp; 4],
    idle_s: u32,
    client: Option<&'a str>,
    data: &'a [u8],
}

/// Whom an authenticated session belongs to: a user id that means nothing to the library.
///
/// ```
/// use cloakroom_core::Subject;
///
/// let subject = Subject::new("user-1815")?;
/// assert_eq!(subject.as_str(), "user-1815");
/// assert!(Subject::new("").is_err());
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The longest subject, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// A subject of 1 to 255 bytes.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for any other length, and for control characters.
    pub fn new(subject: impl AsRef<str>) -> Result<Self, Error> {
        let subject = subject.as_ref();
        // Most are ASCII, and are found to be at many bytes at once.
        let has_control = match subject.is_ascii() {
            true => subject.bytes().fold(false, |found, byte| found | byte.is_ascii_control()),
            false => subject.chars().any(char::is_control),
        };
        if subject.is_empty() || subject.len() > Self::BYTES_MAX || has_control {
            return Err(Error::invalid(
                "a subject is a user id of 1 to 255 bytes without control characters",
            ));
        }
        Ok(Self(subject.into()))
    }

    /// The user id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// An opaque stamp of a stored change: a random write id, compared for equality only.
///
/// If a write's answer was lost and its retry meets a conflict, finding our own stamp stored means that the write was
/// done: no update is applied twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Version(u64);

impl Version {
    /// The version of this write id.
    #[must_use]
    pub const fn from_write_id(write_id: u64) -> Self {
        Self(write_id)
    }

    /// The write id.
    #[must_use]
    pub const fn write_id(self) -> u64 {
        self.0
    }
}
