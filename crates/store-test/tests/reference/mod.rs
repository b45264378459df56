//! The simplest store that keeps the contract: one lock around a few maps. It is what the suite is tried on, and what
//! the mutants break.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloakroom::{
    Error,
    store::{Answer, Index, Loaded, Revocation, Revoke, Store, Summary, Swept, Tombstone, Written},
};
use cloakroom_core::{Record, SessionId, Subject, Timestamp, Version};
use parking_lot::Mutex;

/// A handle on what is stored. Handles on the same state are one store, opened again.
#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) state: Arc<Mutex<State>>,
    is_closed: AtomicBool,
    /// Whether answers come later, as a driver's do, instead of at once.
    is_slow: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) entries: HashMap<SessionId, Entry>,
    pub(crate) index: BTreeSet<(Subject, SessionId)>,
    pub(crate) notes: HashMap<Subject, Revocation>,
    pub(crate) started_from: Timestamp,
}

#[derive(Clone)]
pub(crate) enum Entry {
    Session(Arc<Record>),
    Tombstone(Tombstone),
}

impl Reference {
    pub(crate) fn on(state: Arc<Mutex<State>>) -> Self {
        Self { state, ..Self::default() }
    }

    pub(crate) fn slow() -> Self {
        Self { is_slow: true, ..Self::default() }
    }

    fn answer<'a, T: Send + 'a>(&'a self, act: impl FnOnce(&mut State) -> T + Send + 'a) -> Answer<'a, T> {
        if !self.is_slow {
            return Answer::ready(self.act(act));
        }
        Answer::later(async move {
            tokio::task::yield_now().await;
            let answer = self.act(act);
            tokio::task::yield_now().await;
            answer
        })
    }

    fn act<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        let mut state = self.state.lock();
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the store is closed", "open it again"));
        }
        Ok(act(&mut state))
    }
}

impl Store for Reference {
    fn kind(&self) -> &'static str {
        "reference"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        self.answer(move |state| state.load(id, now))
    }

    fn create(&self, record: Arc<Record>, _now: Timestamp) -> Answer<'_, Written> {
        self.answer(move |state| state.create(record))
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        self.answer(move |state| state.replace(record, expected, now))
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        self.answer(move |state| state.touch(id, active, now))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        self.answer(move |state| state.end(tombstone, expected, now))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        self.answer(move |state| state.sweep(now, limit))
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }

    fn close(&self) -> Answer<'_, ()> {
        let _every_call_is_over = self.state.lock();
        self.is_closed.store(true, Ordering::SeqCst);
        Answer::ready(Ok(()))
    }
}

impl Revoke for Reference {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        self.answer(move |state| Some(state.end_subject(&subject, revocation, now)))
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subject = subject.clone();
        self.answer(move |state| {
            let note = state.notes.get(&subject).copied();
            note.filter(|note| now.since(note.at) < Duration::from_secs(86_400))
        })
    }
}

impl Index for Reference {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let subject = subject.clone();
        self.answer(move |state| {
            let own = state.sessions_of(&subject, now).into_iter();
            let page = own.filter(|record| after.is_none_or(|after| record.id > after)).take(limit);
            page.map(|record| Summary::of(&record)).collect()
        })
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        self.answer(move |state| state.started_from = state.started_from.max(instant))
    }
}

impl State {
    pub(crate) fn load(&self, id: SessionId, now: Timestamp) -> Loaded {
        match self.entries.get(&id) {
            Some(Entry::Session(record)) if self.is_alive(record, now) => Loaded::Found(Arc::clone(record)),
            Some(Entry::Tombstone(tombstone)) if now < tombstone.expires => Loaded::Ended(*tombstone),
            _ => Loaded::Absent,
        }
    }

    pub(crate) fn create(&mut self, record: Arc<Record>) -> Written {
        if self.entries.contains_key(&record.id) {
            return Written::Conflict;
        }
        self.put(record);
        Written::Stored
    }

    pub(crate) fn replace(&mut self, record: Arc<Record>, expected: Version, now: Timestamp) -> Written {
        let Some(stored) = self.living(record.id, now) else { return Written::Gone };
        if stored.version != expected {
            return Written::Conflict;
        }
        self.unlist(&stored);
        self.put(record);
        Written::Stored
    }

    pub(crate) fn touch(&mut self, id: SessionId, active: Timestamp, now: Timestamp) -> Written {
        let Some(stored) = self.living(id, now) else { return Written::Gone };
        let mut touched = Record::clone(&stored);
        touched.times.active = stored.times.active.max(active);
        self.put(Arc::new(touched));
        Written::Stored
    }

    pub(crate) fn end(&mut self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Written {
        let Some(stored) = self.living(tombstone.id, now) else { return Written::Gone };
        if expected.is_some_and(|expected| stored.version != expected) {
            return Written::Conflict;
        }
        self.bury(&stored, tombstone);
        Written::Stored
    }

    pub(crate) fn sweep(&mut self, now: Timestamp, limit: usize) -> Swept {
        let mut dead: Vec<_> = self.entries.keys().copied().filter(|id| self.is_dead(*id, now)).collect();
        let is_more = dead.len() > limit;
        dead.truncate(limit);
        Swept { expired: dead.into_iter().filter_map(|id| self.remove(id)).collect(), is_more }
    }

    pub(crate) fn end_subject(
        &mut self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Vec<SessionId> {
        self.note(subject, revocation);
        let mut ended = self.sessions_of(subject, now);
        ended.retain(|record| revocation.except != Some(record.id));
        for record in &ended {
            self.bury(record, left_by(&revocation, record.id));
        }
        ended.iter().map(|record| record.id).collect()
    }

    /// Of two revocations the later one stays, in whichever order they arrive.
    pub(crate) fn note(&mut self, subject: &Subject, revocation: Revocation) {
        let noted = self.notes.entry(subject.clone()).or_insert(revocation);
        if noted.at <= revocation.at {
            *noted = revocation;
        }
    }

    pub(crate) fn living(&self, id: SessionId, now: Timestamp) -> Option<Arc<Record>> {
        match self.entries.get(&id) {
            Some(Entry::Session(record)) if self.is_alive(record, now) => Some(Arc::clone(record)),
            _ => None,
        }
    }

    pub(crate) fn sessions_of(&self, subject: &Subject, now: Timestamp) -> Vec<Arc<Record>> {
        let [first, last] = [[0; 16], [0xff; 16]].map(|id| (subject.clone(), SessionId::from_bytes(id)));
        self.index.range(first..=last).filter_map(|(_, id)| self.living(*id, now)).collect()
    }

    pub(crate) fn is_dead(&self, id: SessionId, now: Timestamp) -> bool {
        matches!(self.load(id, now), Loaded::Absent)
    }

    /// Takes what is stored under an id out; the session, if it is one, with its subject.
    pub(crate) fn remove(&mut self, id: SessionId) -> Option<(SessionId, Option<Subject>)> {
        match self.entries.remove(&id) {
            Some(Entry::Session(record)) => {
                self.unlist(&record);
                Some((id, record.subject.clone()))
            }
            Some(Entry::Tombstone(_)) | None => None,
        }
    }

    pub(crate) fn put(&mut self, record: Arc<Record>) {
        if let Some(subject) = &record.subject {
            self.index.insert((subject.clone(), record.id));
        }
        self.entries.insert(record.id, Entry::Session(record));
    }

    pub(crate) fn unlist(&mut self, record: &Record) {
        if let Some(subject) = &record.subject {
            self.index.remove(&(subject.clone(), record.id));
        }
    }

    pub(crate) fn bury(&mut self, record: &Record, tombstone: Tombstone) {
        self.unlist(record);
        self.entries.insert(record.id, Entry::Tombstone(tombstone));
    }

    fn is_alive(&self, record: &Record, now: Timestamp) -> bool {
        record.is_alive(now) && record.times.started >= self.started_from
    }
}

pub(crate) fn left_by(revocation: &Revocation, id: SessionId) -> Tombstone {
    let Revocation { at, reason, version, tombstones_expire, .. } = *revocation;
    Tombstone { id, version, at, reason, expires: tombstones_expire }
}
