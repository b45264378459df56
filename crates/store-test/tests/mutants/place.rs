//! Where mutants live, and what they keep there.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use cloakroom::store::{Loaded, Revocation, Written};
use cloakroom_core::{Record, SessionId, Subject, Timestamp};
use cloakroom_store_test::Harness;
use parking_lot::Mutex;

use crate::{
    broken::Broken,
    mutant::Mutant,
    reference::{Entry, Reference, State},
};

/// Where a mutant lives. It is found there again when it is opened again.
pub(crate) struct Place {
    broken: Broken,
    state: Arc<Mutex<State>>,
    aside: Arc<Mutex<Aside>>,
}

impl Place {
    pub(crate) fn new(broken: Broken) -> Self {
        Self { broken, state: Arc::default(), aside: Arc::default() }
    }
}

impl Harness for Place {
    type Store = Mutant;

    async fn open(&self) -> Mutant {
        let (state, aside) = (Arc::clone(&self.state), Arc::clone(&self.aside));
        let inner = Reference::on(state);
        let mutant =
            Mutant { broken: self.broken, inner, aside, own: Mutex::default(), is_closed: false.into() };
        mutant.open_again();
        mutant
    }
}

/// What all mutants on a place keep beside the reference store's state.
#[derive(Default)]
pub(crate) struct Aside {
    /// Each session as it was created.
    pub(crate) first: HashMap<SessionId, Arc<Record>>,
    /// Each session as it was before it was last replaced.
    pub(crate) previous: HashMap<SessionId, Arc<Record>>,
    /// Answers to whoever asks next.
    pub(crate) loaded: VecDeque<Loaded>,
    pub(crate) written: VecDeque<Written>,
    pub(crate) is_locked: bool,
    pub(crate) is_closed: bool,
    /// At which position of a listing an id stood that ended a page.
    pub(crate) positions: HashMap<SessionId, usize>,
    /// An end of all that only loads know of.
    pub(crate) loads_from: Timestamp,
}

/// What other mutants on the same place don't know of.
#[derive(Default)]
pub(crate) struct Own {
    pub(crate) loaded: HashMap<SessionId, Loaded>,
    pub(crate) notes: HashMap<Subject, Revocation>,
    pub(crate) started_from: Timestamp,
}

impl Mutant {
    fn open_again(&self) {
        let mut state = self.state();
        let records = |state: &State| -> Vec<_> {
            let sessions = state.entries.values().filter_map(|entry| match entry {
                Entry::Session(record) => Some(Record::clone(record)),
                Entry::Tombstone(_) => None,
            });
            sessions.collect()
        };
        match self.broken {
            Broken::OpenForgetsTouches => {
                for mut record in records(&state) {
                    record.times.active = record.times.started;
                    state.put(record.into());
                }
            }
            Broken::OpenForgetsHowLongItWasClosed => {
                for mut record in records(&state) {
                    record.times.active = record.times.active + Duration::from_secs(60);
                    state.put(record.into());
                }
            }
            Broken::OpenForgetsLastWrites => {
                for (_, record) in self.aside.lock().previous.drain() {
                    state.put(record);
                }
            }
            Broken::OpenForgetsTombstones => {
                state.entries.retain(|_, entry| matches!(entry, Entry::Session(_)));
            }
            Broken::OpenForgetsTheIndex => state.index.clear(),
            Broken::OpenForgetsNotes => state.notes.clear(),
            Broken::OpenForgetsTheCut => state.started_from = Timestamp::ZERO,
            _ => {}
        }
    }
}
