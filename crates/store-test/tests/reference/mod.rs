//! The simplest store that keeps the contract: one lock around two maps. It is what the suite is tried on, and what
//! the mutants break.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use cloakroom::store::{Answer, Index, Loaded, Revocation, Store, Summary, Swept, Tombstone, Written};
use cloakroom_core::{Record, SessionId, Subject, Timestamp, Version};
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Reference(pub(crate) Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) entries: HashMap<SessionId, Entry>,
    pub(crate) index: BTreeSet<(Subject, SessionId)>,
    pub(crate) notes: HashMap<Subject, Revocation>,
    pub(crate) cut: Timestamp,
}

pub(crate) enum Entry {
    Session(Arc<Record>),
    Tombstone(Tombstone),
}

impl Store for Reference {
    fn kind(&self) -> &'static str {
        "reference"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        let state = self.0.lock();
        answer(match state.entries.get(&id) {
            Some(Entry::Session(record)) if state.is_alive(record, now) => Loaded::Found(Arc::clone(record)),
            Some(Entry::Tombstone(tombstone)) if now < tombstone.expires => Loaded::Ended(*tombstone),
            _ => Loaded::Absent,
        })
    }

    fn create(&self, record: Arc<Record>, _now: Timestamp) -> Answer<'_, Written> {
        let mut state = self.0.lock();
        if state.entries.contains_key(&record.id) {
            return answer(Written::Conflict);
        }
        state.put(record);
        answer(Written::Stored)
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        let mut state = self.0.lock();
        let Some(stored) = state.living(record.id, now) else { return answer(Written::Gone) };
        if stored.version != expected {
            return answer(Written::Conflict);
        }
        state.unlist(&stored);
        state.put(record);
        answer(Written::Stored)
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        let mut state = self.0.lock();
        let Some(stored) = state.living(id, now) else { return answer(Written::Gone) };
        let mut touched = Record::clone(&stored);
        touched.times.active = stored.times.active.max(active);
        state.put(Arc::new(touched));
        answer(Written::Stored)
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        let mut state = self.0.lock();
        let Some(stored) = state.living(tombstone.id, now) else { return answer(Written::Gone) };
        if expected.is_some_and(|expected| stored.version != expected) {
            return answer(Written::Conflict);
        }
        state.bury(&stored, tombstone);
        answer(Written::Stored)
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        let mut state = self.0.lock();
        let mut dead: Vec<SessionId> = state.dead(now).collect();
        let is_more = dead.len() > limit;
        dead.truncate(limit);
        let mut expired = Vec::new();
        for id in dead {
            if let Some(Entry::Session(record)) = state.entries.remove(&id) {
                state.unlist(&record);
                expired.push((id, record.subject.clone()));
            }
        }
        answer(Swept { expired, is_more })
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
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
        let state = self.0.lock();
        let page = state
            .sessions_of(subject, now)
            .filter(|record| after.is_none_or(|after| record.id > after))
            .take(limit)
            .map(|record| Summary::of(record))
            .collect();
        answer(page)
    }

    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Vec<SessionId>> {
        let mut state = self.0.lock();
        state.notes.insert(subject.clone(), revocation);
        let ended: Vec<_> = state
            .sessions_of(subject, now)
            .filter(|record| revocation.except != Some(record.id))
            .cloned()
            .collect();
        for record in &ended {
            state.bury(record, tombstone(record.id, &revocation));
        }
        answer(ended.iter().map(|record| record.id).collect())
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let note = self.0.lock().notes.get(subject).copied();
        answer(note.filter(|note| now.since(note.at) < Duration::from_secs(86_400)))
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        let mut state = self.0.lock();
        state.cut = state.cut.max(instant);
        answer(())
    }
}

impl State {
    pub(crate) fn is_alive(&self, record: &Record, now: Timestamp) -> bool {
        record.is_alive(now) && record.times.started >= self.cut
    }

    pub(crate) fn living(&self, id: SessionId, now: Timestamp) -> Option<Arc<Record>> {
        match self.entries.get(&id) {
            Some(Entry::Session(record)) if self.is_alive(record, now) => Some(Arc::clone(record)),
            _ => None,
        }
    }

    pub(crate) fn sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
    ) -> impl Iterator<Item = &Arc<Record>> {
        let first = (subject.clone(), SessionId::from_bytes([0; 16]));
        let last = (subject.clone(), SessionId::from_bytes([0xff; 16]));
        self.index.range(first..=last).filter_map(move |(_, id)| match self.entries.get(id) {
            Some(Entry::Session(record)) if self.is_alive(record, now) => Some(record),
            _ => None,
        })
    }

    pub(crate) fn dead(&self, now: Timestamp) -> impl Iterator<Item = SessionId> {
        self.entries.iter().filter_map(move |(id, entry)| {
            let is_dead = match entry {
                Entry::Session(record) => !self.is_alive(record, now),
                Entry::Tombstone(tombstone) => now >= tombstone.expires,
            };
            is_dead.then_some(*id)
        })
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
}

pub(crate) fn tombstone(id: SessionId, revocation: &Revocation) -> Tombstone {
    let Revocation { at, reason, version, tombstones_expire, .. } = *revocation;
    Tombstone { id, version, at, reason, expires: tombstones_expire }
}

pub(crate) fn answer<'a, T>(value: T) -> Answer<'a, T> {
    Answer::ready(Ok(value))
}
