//! What was last seen of sessions: guesses that spare round trips.
//!
//! A change to an authenticated session has to say which entry of the index goes with it, and the caller only knows the
//! id. What the last load saw is put into the change's condition: if it still holds, one round trip does; if not,
//! nothing is changed, the service tells what is stored, and the next try is right. So a wrong guess costs time, and
//! nothing depends on it.

use std::sync::{Mutex, PoisonError};

use cloakroom::{Record, SessionId, Subject, Timestamp};

use crate::item::Stored;

/// What an index entry depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) subject: Option<Subject>,
    pub(crate) end: Timestamp,
}

impl From<&Record> for Hint {
    fn from(record: &Record) -> Self {
        Self { subject: record.subject.clone(), end: record.times.end }
    }
}

impl From<&Stored> for Hint {
    fn from(stored: &Stored) -> Self {
        Self { subject: stored.subject.clone(), end: stored.end }
    }
}

/// So many sessions are remembered; a later one takes the place of one that shares its slot.
const SLOTS: usize = 4_096;

/// A bounded memory, in which each session has one slot.
pub(crate) struct Hints(Mutex<Vec<Option<(SessionId, Hint)>>>);

impl Hints {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(vec![None; SLOTS]))
    }

    pub(crate) fn set(&self, id: SessionId, hint: Hint) {
        let previous = self.0.lock().unwrap_or_else(PoisonError::into_inner)[slot(id)].replace((id, hint));
        // Freed only here, when the lock is.
        drop(previous);
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<Hint> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots[slot(id)].as_ref().filter(|(of, _)| *of == id).map(|(_, hint)| hint.clone())
    }
}

/// Ids are random bits, so any of them will do.
fn slot(id: SessionId) -> usize {
    let [a, b, ..] = *id.as_bytes();
    usize::from(u16::from_be_bytes([a, b])) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_its_own_sessions_alone() {
        let (hints, id) =
            (Hints::new(), |last| SessionId::from_bytes([7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]));
        let hint = |subject| Hint { subject: Subject::new(subject).ok(), end: Timestamp::ZERO };
        hints.set(id(1), hint("a"));
        assert_eq!((hints.find(id(1)), hints.find(id(2))), (Some(hint("a")), None));
        hints.set(id(2), hint("b"));
        assert_eq!((hints.find(id(1)), hints.find(id(2))), (None, Some(hint("b"))));
    }
}
