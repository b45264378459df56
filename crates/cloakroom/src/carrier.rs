//! What keeps sessions in the browser instead of a store: a carrier.
//!
//! A carrier seals a whole session into its cookie. It is asked for through [`Store::carrier`](crate::store::Store), so
//! that an application changes from a store to sealed cookies without a change to its handlers. It never makes a
//! request wait: what it needs to know of revocations, it holds in memory. Only an end, a login, a step-up and a
//! rotation wait, for the revocation they note.

use std::sync::Arc;

pub use cloakroom_core::carried::{FIXED_BYTES_MAX, Stamp, decode, encode, note};
use cloakroom_core::{Policy, Record, SessionId, Subject, Timestamp};

use crate::{
    Error,
    event::Rejection,
    store::{Answer, EndReason},
};

/// Seals sessions into cookies, and opens them.
pub trait Carrier: Send + Sync {
    /// Told once, when the sessions are built: the cookie's name, which seals are bound to, and the policy.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for what can't work with this carrier, with a message that says what to change.
    fn bind(&self, cookie_name: &str, policy: &Policy) -> Result<(), Error>;

    /// The most bytes of data that fit into a cookie of this name.
    fn data_bytes_max(&self, cookie_name: &str) -> usize;

    /// The session in a cookie's value.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] where that can't be told at present: the cookie is left alone then.
    fn open(&self, value: &[u8], now: Timestamp) -> Result<Opened, Error>;

    /// Whether a session that was opened is still honoured.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] where that can't be told at present.
    fn honour(&self, record: &Record, stamp: Stamp, now: Timestamp) -> Result<Honour, Error>;

    /// The stamp of a session that begins, or that belongs to this subject from now on.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] where that can't be told at present; [`Error::is_lost`] if the subject's sessions were
    /// ended after `arrived`.
    fn begin(
        &self,
        id: SessionId,
        subject: Option<&Subject>,
        arrived: Timestamp,
        now: Timestamp,
    ) -> Result<Stamp, Error>;

    /// Seals a session into a cookie's value.
    ///
    /// # Errors
    /// [`Error::is_too_large`] if browsers would drop the cookie; the message names the largest entries.
    fn seal(&self, record: &Record, stamp: Stamp) -> Result<Sealed, Error>;

    /// Refuses older cookies of a session, on every node.
    fn cut(&self, cut: Cut, now: Timestamp) -> Answer<'_, ()>;
}

/// What a cookie's value turned out to be.
#[derive(Debug)]
pub enum Opened {
    /// Nothing that grants anything.
    Rejected(Rejection),
    /// A session, if it [is honoured](Honour).
    Session(Arc<Record>, Stamp, Honour),
}

/// What a sealed session still grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honour {
    /// All that it says.
    Full,
    /// All that it says, for a while: the session's cookies are to be of this generation at least, so this one is to be
    /// replaced.
    Fading(u32),
    /// Nothing: the session lives on in a newer cookie.
    Superseded,
    /// Nothing: the session has ended.
    Ended,
}

/// A cookie's value, and what was noticed when it was made.
#[derive(Debug)]
pub struct Sealed {
    /// The value. It grants access to the session.
    pub value: String,
    /// Whether this node issued another cookie of the same generation, with other changes: the browser keeps one.
    pub is_overwriting: bool,
}

/// Which cookies of a session are refused from when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The session.
    pub session: SessionId,
    /// Cookies of a lower generation are refused; `None`: all of them, for the session has ended.
    pub least_generation: Option<u32>,
    /// When that begins.
    pub from: Timestamp,
    /// Why.
    pub reason: Option<EndReason>,
}
