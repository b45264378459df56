//! What a store keeps for one session.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    AuthorityKeys, Data, Error, Secret, SessionId, Timestamp,
    authority_keys::{Code, VerifierKeys},
    keyring::KeyId,
    lifetime::Times,
    token::{Trace, Verifier},
};

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
        let is_keyed = match bytes.first() {
            Some(&FORMAT) => false,
            Some(&FORMAT_KEYED) => true,
            _ => {
                return Err(Error::corrupt(
                    "the stored record has a format this version doesn't know: it was written by a newer one, or isn't a record",
                ));
            }
        };
        let damaged = |error| Error::corrupt("the stored record is damaged").because(error);
        let (mut stored, mut rest): (Loaded<'_>, _) = postcard::take_from_bytes(bytes).map_err(damaged)?;
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
            id: stored.id,
            version: stored.version,
            subject: stored.subject.map(Subject::new).transpose()?,
            authority: stored.authority,
            times: Times { created, started, active, end, idle_s: stored.idle_s },
            client: stored.client.map(Arc::from),
            data: Data::from_bytes(stored.data)?,
        })
    }
}

const FORMAT: u8 = 1;
/// The same, followed by the code that a key ring puts on authority, and the keys of the verifiers.
const FORMAT_KEYED: u8 = 2;

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

#[derive(Deserialize)]
struct Loaded<'a> {
    #[allow(dead_code, reason = "checked before the rest is read")]
    format: u8,
    id: SessionId,
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
        if subject.is_empty() || subject.len() > Self::BYTES_MAX || subject.chars().any(char::is_control) {
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

/// Who may act for a session: verifiers of its secrets, and the epoch that rises whenever authority changes hands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authority {
    pub(crate) epoch: u32,
    pub(crate) current: Verifier,
    /// Most sessions never rotate a secret: they pay eight bytes for the possibility.
    pub(crate) history: Option<Box<History>>,
}

/// Secrets other than the current one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) pending: Option<Pending>,
    /// Replaced in a rotation since authentication, oldest first. Presenting one after its grace is reuse.
    pub(crate) rotated: Vec<Rotated>,
    /// Lost their authority at a login or a step-up. Presenting one is never an alarm.
    pub(crate) superseded: Vec<Trace>,
    /// When the current secret took another's place, or was last sent again; zero if neither happened.
    pub(crate) since: Timestamp,
    /// What the key ring vouches for. It lies here so that sessions without a key ring have no room for it.
    #[serde(skip)]
    pub(crate) code: Option<Code>,
}

impl History {
    pub(crate) const NOTHING: Self = Self {
        pending: None,
        rotated: Vec::new(),
        superseded: Vec::new(),
        since: Timestamp::ZERO,
        code: None,
    };
}

/// A successor that was handed out and hasn't come back yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) verifier: Verifier,
    pub(crate) origin: Origin,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// Derived from the current secret and this salt: whoever presents the current secret is handed it again.
    Rotation { salt: [u8; 16] },
    /// Random, and of a higher level: it went to the one request that authenticated, at this time.
    StepUp { started: Timestamp, end: Timestamp },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rotated {
    pub(crate) trace: Trace,
    pub(crate) at: Timestamp,
}

/// How many replaced secrets of each kind a record remembers; beyond that, the oldest are forgotten and count as
/// unknown.
pub(crate) const TRACES_MAX: usize = 256;

/// What a presented secret is to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The current one.
    Current,
    /// The successor of the current one, seen for the first time.
    Successor,
    /// Replaced a short while ago: still served, but sent no cookie.
    Previous,
    /// Replaced longer ago than the grace: stolen, or replayed.
    Reused,
    /// It had authority before a login or a step-up.
    Superseded,
    /// None of these.
    Unknown,
}

impl Authority {
    /// The authority of a new session, whose secret has this verifier.
    #[must_use]
    pub fn new(current: Verifier) -> Self {
        Self { epoch: 0, current, history: None }
    }

    /// Rises at each login and step-up. A request may change the session only while it is as when it began.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Looks a presented secret up in a record that was made without a key ring.
    #[must_use]
    pub fn examine(
        &self,
        id: &SessionId,
        secret: &Secret,
        grace: std::time::Duration,
        now: Timestamp,
    ) -> Presented {
        self.examine_under(None, id, secret, grace, now)
    }

    /// Looks a presented secret up. Each verifier is compared under the key it was made with; one whose key has left
    /// the ring matches nothing.
    #[must_use]
    pub fn examine_under(
        &self,
        keys: Option<&AuthorityKeys>,
        id: &SessionId,
        secret: &Secret,
        grace: std::time::Duration,
        now: Timestamp,
    ) -> Presented {
        let mut candidates = Candidates { keys, id, secret, first: None, others: Vec::new() };
        if candidates.under(self.current.key()).is_some_and(|verifier| self.current.matches(&verifier)) {
            return Presented::Current;
        }
        let Some(history) = &self.history else { return Presented::Unknown };
        if let Some(pending) = &history.pending
            && candidates.under(pending.verifier.key()).is_some_and(|it| pending.verifier.matches(&it))
        {
            return Presented::Successor;
        }
        let mut is_of = |trace: &Trace| candidates.under(trace.key()).is_some_and(|it| trace.matches(&it));
        if let Some(rotated) = history.rotated.iter().rev().find(|rotated| is_of(&rotated.trace)) {
            return if now.since(rotated.at) <= grace { Presented::Previous } else { Presented::Reused };
        }
        if history.superseded.iter().any(is_of) {
            return Presented::Superseded;
        }
        Presented::Unknown
    }

    /// Whether the session was stored under a key ring, so that it can't be served without one.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.code().is_some()
    }

    pub(crate) fn code(&self) -> Option<Code> {
        self.history.as_ref().and_then(|history| history.code)
    }

    pub(crate) fn is_current(&self, secret: &Secret, id: &SessionId, keys: Option<&AuthorityKeys>) -> bool {
        let mut candidates = Candidates { keys, id, secret, first: None, others: Vec::new() };
        candidates.under(self.current.key()).is_some_and(|verifier| self.current.matches(&verifier))
    }

    /// What the binary form has behind that of an authority without a key ring.
    fn coded(&self) -> Option<(Code, VerifierKeys)> {
        self.code().map(|code| (code, VerifierKeys::of(self)))
    }

    fn give_code(&mut self, (code, keys): (Code, VerifierKeys)) -> Result<(), Error> {
        let given = keys.give_to(self);
        match (&mut self.history, given) {
            (Some(history), Some(())) => history.code = Some(code),
            _ => {
                return Err(Error::corrupt(
                    "the stored authority is damaged: its verifiers don't match their keys",
                ));
            }
        }
        Ok(())
    }

    /// The binary form, for stores that keep the record's parts in columns of their own.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] if it can't be written.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let bytes = match self.coded() {
            None => postcard::to_allocvec(&(FORMAT, self)),
            Some(coded) => postcard::to_allocvec(&(FORMAT_KEYED, self, coded)),
        };
        bytes.map_err(|error| Error::corrupt("the session's authority can't be written").because(error))
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] if the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::corrupt("the stored authority is damaged, or was written by a newer version");
        let Ok(((format, mut authority), rest)) = postcard::take_from_bytes::<(u8, Self)>(bytes) else {
            return Err(damaged());
        };
        match (format, rest) {
            (FORMAT, []) => Ok(authority),
            (FORMAT_KEYED, rest) => match postcard::take_from_bytes(rest) {
                Ok((coded, [])) => authority.give_code(coded).map(|()| authority),
                _ => Err(damaged()),
            },
            _ => Err(damaged()),
        }
    }
}

/// The verifiers that a presented secret has, by key: nearly always one, made once.
struct Candidates<'a> {
    keys: Option<&'a AuthorityKeys>,
    id: &'a SessionId,
    secret: &'a Secret,
    first: Option<Verifier>,
    others: Vec<Verifier>,
}

impl Candidates<'_> {
    fn under(&mut self, key: KeyId) -> Option<Verifier> {
        let made = self.first.iter().chain(&self.others).find(|verifier| verifier.key() == key);
        if let Some(made) = made {
            return Some(*made);
        }
        let made = match key {
            KeyId::NONE => self.secret.verifier(self.id),
            key => self.keys?.verifier_under(key, self.secret, self.id)?,
        };
        match self.first {
            None => self.first = Some(made),
            Some(_) => self.others.push(made),
        }
        Some(made)
    }
}
