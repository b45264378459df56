//! What the last call learnt about a session, so that the next one needs one round trip less. Nothing is believed
//! because it stands here: it makes a guess, and the server's compare-and-swap tells whether the guess was right.

use std::sync::Arc;

use cloakroom::{SessionId, Subject, Timestamp, Version};
use parking_lot::Mutex;

use crate::{
    entry::{Epoch, State},
    key::Key,
    meta::Number,
};

/// A session as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: SessionId,
    pub(crate) version: Version,
    /// The server's number of what was stored, and how often its connections had been made then.
    pub(crate) cas: u64,
    pub(crate) connected: u64,
    /// When it expires, unless it was touched since.
    pub(crate) expires: Timestamp,
    pub(crate) owner: Option<Arc<Owner>>,
}

impl Seen {
    pub(crate) fn number(&self) -> Number {
        Number { cas: self.cas, connected: self.connected }
    }
}

/// Whom a session belongs to, and from when.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) subject: Subject,
    /// Where the subject's state stands.
    pub(crate) key: Key,
    pub(crate) epoch: Epoch,
    /// How long the subject's state lasts at least.
    pub(crate) until: Timestamp,
}

impl Owner {
    pub(crate) fn of(subject: &Subject, key: Key, epoch: Epoch, state: &State) -> Arc<Self> {
        Arc::new(Self { subject: subject.clone(), key, epoch, until: state.until() })
    }
}

/// One place for each of so many sessions; one that comes takes the place of another.
pub(crate) struct Memory(Box<[Mutex<Option<Seen>>]>);

const PLACES: usize = 8 * 1024;

impl Memory {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| Mutex::new(None)).collect())
    }

    pub(crate) fn recall(&self, id: SessionId) -> Option<Seen> {
        self.place(id).lock().as_ref().filter(|seen| seen.id == id).cloned()
    }

    pub(crate) fn keep(&self, seen: Seen) {
        let place = self.place(seen.id);
        *place.lock() = Some(seen);
    }

    pub(crate) fn forget(&self, id: SessionId) {
        let mut place = self.place(id).lock();
        if place.as_ref().is_some_and(|seen| seen.id == id) {
            *place = None;
        }
    }

    /// Ids that are alive are random, so their bits are a hash already.
    fn place(&self, id: SessionId) -> &Mutex<Option<Seen>> {
        let bytes = id.as_bytes();
        &self.0[usize::from(u16::from_le_bytes([bytes[6], bytes[11]])) % PLACES]
    }
}
