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

/// Places for sessions. Each session has a few that it may take; the one that came first of those leaves for it.
pub(crate) struct Memory(Box<[Mutex<[Option<Seen>; PLACES_EACH]>]>);

const SETS: usize = 4 * 1024;
const PLACES_EACH: usize = 4;

impl Memory {
    pub(crate) fn new() -> Self {
        Self((0..SETS).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn recall(&self, id: SessionId) -> Option<Seen> {
        self.places(id).lock().iter().flatten().find(|seen| seen.id == id).cloned()
    }

    pub(crate) fn keep(&self, seen: Seen) {
        let mut places = self.places(seen.id).lock();
        let of_it = places.iter().position(|place| place.as_ref().is_some_and(|other| other.id == seen.id));
        let last = of_it.unwrap_or(PLACES_EACH - 1);
        places[..=last].rotate_right(1);
        places[0] = Some(seen);
    }

    pub(crate) fn forget(&self, id: SessionId) {
        for place in &mut *self.places(id).lock() {
            if place.as_ref().is_some_and(|seen| seen.id == id) {
                *place = None;
            }
        }
    }

    /// Ids that are alive are random, so their bits are a hash already.
    fn places(&self, id: SessionId) -> &Mutex<[Option<Seen>; PLACES_EACH]> {
        let bytes = id.as_bytes();
        &self.0[usize::from(u16::from_le_bytes([bytes[6], bytes[11]])) % SETS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: u8, cas: u64) -> Seen {
        // All of them would take the same places.
        let id = SessionId::from_bytes([n, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 7, 0, 0, 0, 0]);
        let (version, expires) = (Version::from_write_id(1), Timestamp::from_millis(1));
        Seen { id, version, cas, connected: 1, expires, owner: None }
    }

    /// The bug: two sessions with one place between them threw each other out, so of five thousand nearly half were read
    /// in two round trips. The mend: there are several places for each.
    #[test]
    fn sessions_share_places_and_the_first_that_came_leaves() {
        let memory = Memory::new();
        let all = |memory: &Memory| {
            (0..6).map(|n| memory.recall(seen(n, 0).id).map(|seen| seen.cas)).collect::<Vec<_>>()
        };
        (0..4).for_each(|n| memory.keep(seen(n, 1)));
        assert_eq!(all(&memory), [Some(1), Some(1), Some(1), Some(1), None, None]);
        memory.keep(seen(0, 2));
        memory.keep(seen(4, 1));
        assert_eq!(all(&memory), [Some(2), None, Some(1), Some(1), Some(1), None]);
        memory.forget(seen(3, 0).id);
        memory.forget(seen(5, 0).id);
        assert_eq!(all(&memory), [Some(2), None, Some(1), None, Some(1), None]);
    }
}
