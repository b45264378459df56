//! What keeps sessions in the browser instead of a store: a carrier.
//!
//! A carrier seals a whole session into its cookie. It is asked for through [`Store::carrier`](crate::store::Store), so
//! that an application changes from a store to sealed cookies without a change to its handlers. It never makes a
//! request wait: what it needs to know of revocations, it holds in memory. Only an end, a login, a step-up and a
//! rotation wait, for the revocation they note.

use std::sync::Arc;

pub use cloakroom_core::carried::{FIXED_BYTES_MAX, Stamp, decode, encode, note};
use cloakroom_core::{Data, Policy, Record, SessionId, Subject, Timestamp};

use crate::{CoreError, Error, event::Rejection, store::Answer};

/// Seals sessions into cookies, and opens them.
pub trait Carrier: Send + Sync {
    /// Told once, when the sessions are built: the cookie's name, which seals are bound to, and the policy.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for what can't work with this carrier, with a message that says what to change.
    fn bind(&self, cookie_name: &str, policy: &Policy) -> Result<(), Error>;

    /// How many cookies a session is cut over at most; at most [`Parts::MAX`](cloakroom_core::cookie::Parts::MAX).
    fn parts_max(&self) -> usize {
        1
    }

    /// The most bytes of data that fit into cookies of this name.
    fn data_bytes_max(&self, cookie_name: &str) -> usize;

    /// How many bytes of data fit whatever they are. What is longer is [looked at](Carrier::check_data) when a handler
    /// changes it, for carriers to which its length doesn't tell.
    fn data_bytes_sure(&self, cookie_name: &str) -> usize {
        self.data_bytes_max(cookie_name)
    }

    /// Whether this data fits beside a subject whose name is so long.
    ///
    /// # Errors
    /// [`is_too_large`](CoreError::is_too_large), with a message that names the largest entries.
    fn check_data(&self, _data: &Data, _subject_bytes: usize) -> Result<(), CoreError> {
        Ok(())
    }

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

    /// Learns of every revocation until now, wherever it was made: before a login, which must count against those.
    fn refresh(&self) -> Answer<'_, ()>;

    /// The stamp of a session that begins.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] where that can't be told at present; [`Error::is_lost`] if the subject's sessions were
    /// ended after `arrived`.
    fn begin(&self, subject: Option<&Subject>, arrived: Timestamp, now: Timestamp) -> Result<Stamp, Error>;

    /// The same of a session that begins with the end of all others of its subject's: that is noted first, on every node.
    ///
    /// # Errors
    /// Those of [`Carrier::begin`]; [`Error::is_unsupported`] if nothing is ever taken back.
    fn begin_ending_others(&self, subject: &Subject, arrived: Timestamp) -> Answer<'_, Stamp>;

    /// Whether a session can be sealed, so that it is known before older cookies are refused for it.
    ///
    /// # Errors
    /// Those of [`Carrier::seal`].
    fn check(&self, record: &Record, stamp: Stamp) -> Result<(), Error>;

    /// Seals a session into a cookie's value.
    ///
    /// # Errors
    /// [`Error::is_too_large`] if browsers would drop the cookie; the message names the largest entries.
    fn seal(&self, record: &Record, stamp: Stamp) -> Result<Sealed, Error>;

    /// Whether a later cookie of the session than this one was issued since a request arrived, as far as is known.
    fn is_overtaken(&self, id: SessionId, stamp: Stamp, arrived: Timestamp) -> bool;

    /// Refuses older cookies of a session, on every node: if the one that is presented is still honoured.
    fn cut(&self, cut: Cut, now: Timestamp) -> Answer<'_, CutAnswer>;
}

/// How many bytes of a subject's name [`Carrier::data_bytes_max`] leaves room for. A longer one takes room from the data.
pub const SUBJECT_BYTES: usize = 64;

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
    /// All that it says, for a while: the session's cookies are to be of this line, so this one is to be replaced.
    Fading(u64),
    /// Nothing: the session lives on in a newer cookie.
    Superseded,
    /// Nothing: the session has ended, a short while ago.
    Ended,
    /// Nothing: the session has ended so long ago that nothing races with that any more.
    Absent,
}

/// A cookie's value, and what was noticed when it was made.
#[derive(Debug)]
pub struct Sealed {
    /// The value. It grants access to the session.
    pub value: String,
    /// Whether this node issued another cookie of the same generation, with other changes: the browser keeps one.
    pub is_overwriting: bool,
}

/// What is to become of a session's older cookies.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The session, as it was presented.
    pub session: Arc<Record>,
    /// The stamp it was presented with.
    pub stamp: Stamp,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a session whose older cookies are refused.
#[derive(Clone, Debug)]
pub enum Change {
    /// It ends.
    End,
    /// It goes on in newer cookies.
    Move {
        /// From when on older ones are refused; `None`: at once.
        from: Option<Timestamp>,
        /// As it is from now on.
        record: Arc<Record>,
        /// When the request that moves it arrived.
        arrived: Timestamp,
        /// Whether all others of its subject's end with that.
        ends_others: bool,
    },
}

/// What came of a [`Cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAnswer {
    /// It is made. Newer cookies are issued with this stamp.
    Made(Stamp),
    /// The presented cookie had lost its authority, to a newer one or to a revocation of all of the subject's sessions.
    Superseded,
    /// The session had ended.
    Ended,
    /// Nothing is ever taken back: this was asked for when the carrier was set up.
    Never,
}
