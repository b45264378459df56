//! Stores that break one rule each: the reference store, with a part of it overridden.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use cloakroom::{
    Error,
    store::{Answer, Authority, EndReason, Index, Loaded, Store, Swept, Tombstone, Written},
};
use cloakroom_core::{Data, Record, Secret, SessionId, Subject, Timestamp, Version};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    broken::Broken,
    place::{Aside, Own},
    reference::{Entry, Reference, State},
};

pub(crate) struct Mutant {
    pub(crate) broken: Broken,
    pub(crate) inner: Reference,
    pub(crate) aside: Arc<Mutex<Aside>>,
    pub(crate) own: Mutex<Own>,
    pub(crate) is_closed: AtomicBool,
}

impl Mutant {
    pub(crate) fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock()
    }

    /// The time by which this mutant judges a load.
    fn told(&self, id: SessionId, now: Timestamp) -> Timestamp {
        let state = self.state();
        let Some(Entry::Session(record)) = state.entries.get(&id) else {
            return if self.is(Broken::ExpiryIsInclusive) { earlier(now, 1) } else { now };
        };
        let times = record.times;
        match self.broken {
            Broken::ExpiredIsServed => times.created,
            Broken::ExpiryIsInclusive => earlier(now, 1),
            Broken::ExpiryIsRounded => earlier(now, now.as_millis() % 1_000),
            Broken::IdleIsIgnored if now < times.end => times.active,
            Broken::AbsoluteIsIgnored if now < times.active + Duration::from_secs(times.idle_s.into()) => {
                times.created
            }
            Broken::EndSubjectEndsLaterOnes
                if record.subject.as_ref().is_some_and(|subject| state.notes.contains_key(subject)) =>
            {
                Timestamp::from_millis(u64::MAX)
            }
            Broken::OwnClock => Timestamp::ZERO + SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
            _ => now,
        }
    }

    /// The record as this mutant stores it.
    fn mutilated(&self, record: Arc<Record>) -> Arc<Record> {
        let mut cut = Record::clone(&record);
        match self.broken {
            Broken::EmptyClientIsNone => cut.client = cut.client.filter(|client| !client.is_empty()),
            Broken::ValuesAreNormalized => {
                let value: serde_json::Value = serde_json::from_str(&record.data.to_json()).unwrap();
                cut.data = Data::from_json(&value.to_string()).unwrap();
            }
            Broken::NamesAreTrimmed => {
                let value: serde_json::Map<_, _> = serde_json::from_str(&record.data.to_json()).unwrap();
                let trimmed =
                    value.into_iter().map(|(name, value)| (name.trim().to_owned(), value)).collect();
                cut.data = Data::from_json(&serde_json::Value::Object(trimmed).to_string()).unwrap();
            }
            Broken::LargeDataIsCut if record.data.as_bytes().len() > 32_767 => cut.data = Data::new(),
            Broken::TimesAre32Bits => {
                cut.times.end = cut.times.end.min(Timestamp::from_millis(u64::from(u32::MAX) * 1_000));
            }
            Broken::SubjectsAreCut => {
                let short = |subject: &Subject| subject.as_str().chars().take(191).collect::<String>();
                cut.subject = record.subject.as_ref().map(|subject| Subject::new(short(subject)).unwrap());
            }
            Broken::HistoryIsCut if record.authority.encode().unwrap().len() > 512 => {
                cut.authority = Authority::new(Secret::from_bytes([0; 16]).verifier(&record.id));
            }
            _ => return record,
        }
        Arc::new(cut)
    }

    /// A record whose id is the same up to the first zero byte.
    fn lookalike(&self, id: SessionId) -> SessionId {
        let up_to_a_zero = |id: &SessionId| id.as_bytes().split(|byte| *byte == 0).next().unwrap().to_vec();
        let state = self.state();
        let mut ids: Vec<_> =
            state.entries.keys().filter(|other| up_to_a_zero(other) == up_to_a_zero(&id)).collect();
        ids.sort_unstable();
        ids.first().map_or(id, |id| **id)
    }

    /// Other sessions of the same subject.
    fn others(state: &State, id: SessionId, now: Timestamp) -> Vec<Record> {
        let subject = state.living(id, now).and_then(|record| record.subject.clone());
        let own = subject.map(|subject| state.sessions_of(&subject, now)).unwrap_or_default();
        own.iter().filter(|record| record.id != id).map(|record| Record::clone(record)).collect()
    }
}

impl Store for Mutant {
    fn kind(&self) -> &'static str {
        if self.is(Broken::KindIsAPhrase) { "Mutant Store" } else { "mutant" }
    }

    fn find(&self, id: SessionId, now: Timestamp) -> Option<Arc<Record>> {
        match self.state().entries.get(&id)? {
            Entry::Session(record) if self.is(Broken::FindIgnoresExpiry) => Some(Arc::clone(record)),
            Entry::Session(record) if self.is(Broken::FindIgnoresTheCut) && record.is_alive(now) => {
                Some(Arc::clone(record))
            }
            Entry::Tombstone(_) if self.is(Broken::FindRemembersTheEnded) => {
                self.aside.lock().first.get(&id).map(Arc::clone)
            }
            _ => None,
        }
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        let id = if self.is(Broken::IdsEndAtAZero) { self.lookalike(id) } else { id };
        let now = self.told(id, now);
        match self.broken {
            Broken::LoadTakesAndPutsBack => self.load_takes_and_puts_back(id, now),
            Broken::LoadsShareAnswers => self.load_shares_answers(id, now),
            Broken::TombstonesStay => {
                let left = match self.state().entries.get(&id) {
                    Some(Entry::Tombstone(left)) => Some(*left),
                    _ => None,
                };
                left.map_or_else(|| self.inner.load(id, now), |left| Answer::ready(Ok(Loaded::Ended(left))))
            }
            Broken::LoadsAreCached if self.own.lock().loaded.contains_key(&id) => {
                Answer::ready(Ok(self.own.lock().loaded[&id].clone()))
            }
            Broken::LoadsAreCached => {
                let loaded = self.state().load(id, now);
                self.own.lock().loaded.insert(id, loaded.clone());
                Answer::ready(Ok(loaded))
            }
            Broken::CloseClosesAll if self.aside.lock().is_closed => {
                Answer::ready(Err(Error::unavailable("the store is closed", "by another")))
            }
            Broken::CutIsNotShared => {
                let started = self.state().living(id, now).map(|record| record.times.started);
                let is_cut = started.is_some_and(|started| started < self.own.lock().started_from);
                if is_cut { Answer::ready(Ok(Loaded::Absent)) } else { self.inner.load(id, now) }
            }
            Broken::CutIsSeenByLoadsOnly => {
                let started = self.state().living(id, now).map(|record| record.times.started);
                let is_cut = started.is_some_and(|started| started < self.aside.lock().loads_from);
                if is_cut { Answer::ready(Ok(Loaded::Absent)) } else { self.inner.load(id, now) }
            }
            _ => self.healthily(move |inner| inner.load(id, now)),
        }
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        let record = self.mutilated(record);
        self.aside.lock().first.entry(record.id).or_insert_with(|| Arc::clone(&record));
        let mut state = self.state();
        let is_overwritten = match state.entries.get(&record.id) {
            Some(Entry::Tombstone(_)) => self.is(Broken::CreateOverwritesTombstones),
            Some(Entry::Session(_)) if state.is_dead(record.id, now) => {
                self.is(Broken::CreateOverwritesExpired)
            }
            Some(Entry::Session(_)) => self.is(Broken::CreateOverwrites),
            None => false,
        };
        if is_overwritten {
            state.remove(record.id);
        }
        if let (Broken::RefusedWritesAreIndexed, Some(subject)) = (self.broken, &record.subject) {
            state.index.insert((subject.clone(), record.id));
        }
        drop(state);
        match self.broken {
            Broken::CreateForgets => Answer::ready(Ok(Written::Stored)),
            Broken::CloseDropsWrites if self.is_closed.load(Ordering::SeqCst) => {
                Answer::ready(Ok(Written::Stored))
            }
            Broken::CreateIsTwoSteps => self.create_in_two_steps(record),
            Broken::CreateIsHalved => self.create_by_halves(record),
            Broken::IndexComesAfterTheRecord => self.create_and_index_later(record),
            _ => self.healthily(move |inner| inner.create(record, now)),
        }
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        let mut record = self.mutilated(record);
        let now = if self.is(Broken::WritesIgnoreExpiry) { Timestamp::ZERO } else { now };
        let mut state = self.state();
        let Some(stored) = state.living(record.id, now) else {
            if self.is(Broken::ReplaceUpserts) {
                state.put(record);
                return Answer::ready(Ok(Written::Stored));
            }
            drop(state);
            return self.inner.replace(record, expected, now);
        };
        self.aside.lock().previous.insert(record.id, Arc::clone(&stored));
        let is_expected = |version: Version| match self.broken {
            Broken::ReplaceIgnoresVersion => true,
            Broken::VersionsAreDoubles => version.write_id() as f64 == stored.version.write_id() as f64,
            _ => version == stored.version,
        };
        let expected = if is_expected(expected) { stored.version } else { expected };
        match self.broken {
            Broken::ReplaceKeepsTimes => {
                record = Arc::new(Record { times: stored.times, ..Record::clone(&record) });
            }
            Broken::ReplaceChangesOthers if expected == stored.version => {
                for other in Self::others(&state, record.id, now) {
                    state.put(Arc::new(Record { data: record.data.clone(), ..other }));
                }
            }
            Broken::RefusedWritesAreIndexed => {
                state.index.extend(record.subject.clone().map(|subject| (subject, record.id)));
            }
            Broken::IndexIgnoresReplace if expected == stored.version => {
                state.entries.insert(record.id, Entry::Session(record));
                return Answer::ready(Ok(Written::Stored));
            }
            Broken::IndexKeepsTheFormerSubject if expected == stored.version => {
                state.put(record);
                return Answer::ready(Ok(Written::Stored));
            }
            _ => {}
        }
        drop(state);
        self.replace_stepwise(record, expected, now)
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        let now = if self.is(Broken::WritesIgnoreExpiry) { Timestamp::ZERO } else { now };
        let mut state = self.state();
        let living = state.living(id, now).map(|record| Record::clone(&record));
        match (self.broken, living) {
            (Broken::TouchForgets, Some(_)) => return Answer::ready(Ok(Written::Stored)),
            (Broken::TouchBumpsVersion, Some(mut record)) => {
                record.version = Version::from_write_id(record.version.write_id().wrapping_add(1));
                state.put(record.into());
            }
            (Broken::TouchMovesBack, Some(mut record)) => {
                record.times.active = active;
                state.put(record.into());
            }
            (Broken::TouchMovesTheEnd, Some(mut record)) => {
                record.times.end =
                    record.times.end.max(active + Duration::from_secs(record.times.idle_s.into()));
                state.put(record.into());
            }
            (Broken::TouchTouchesOthers, Some(_)) => {
                for mut other in Self::others(&state, id, now) {
                    other.times.active = active;
                    state.put(other.into());
                }
            }
            (Broken::TouchUpserts, None) => {
                let first = self.aside.lock().first.get(&id).cloned();
                if let Some(first) = first {
                    let mut revived = Record::clone(&first);
                    revived.times.active = now;
                    state.put(revived.into());
                }
                return Answer::ready(Ok(Written::Stored));
            }
            (Broken::TouchIsTwoSteps, Some(record)) => {
                drop(state);
                return self.touch_in_two_steps(record, active);
            }
            _ => {}
        }
        drop(state);
        self.healthily(move |inner| inner.touch(id, active, now))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        let now = if self.is(Broken::WritesIgnoreExpiry) { Timestamp::ZERO } else { now };
        let (mut tombstone, mut expected) = (tombstone, expected);
        let mut state = self.state();
        let living = state.living(tombstone.id, now);
        match (self.broken, &living) {
            (Broken::EndForgets, Some(_)) => {
                state.remove(tombstone.id);
                return Answer::ready(Ok(Written::Stored));
            }
            (Broken::EndLosesTheReason, _) => tombstone.reason = EndReason::Logout,
            (Broken::EndIgnoresVersion, _) => expected = None,
            (Broken::EndAlwaysCompares, Some(_)) => {
                expected =
                    expected.or(self.aside.lock().first.get(&tombstone.id).map(|record| record.version));
            }
            (Broken::EndReplacesTombstones, None) if state.entries.contains_key(&tombstone.id) => {
                state.entries.insert(tombstone.id, Entry::Tombstone(tombstone));
                return Answer::ready(Ok(Written::Stored));
            }
            (Broken::EndEndsOthers, Some(_)) => {
                for other in Self::others(&state, tombstone.id, now) {
                    state.bury(&other, Tombstone { id: other.id, ..tombstone });
                }
            }
            (Broken::EndUpserts, None) => {
                state.entries.insert(tombstone.id, Entry::Tombstone(tombstone));
            }
            _ => {}
        }
        drop(state);
        match (self.broken, living) {
            (Broken::EndIsTwoSteps, Some(record))
                if expected.is_none_or(|expected| expected == record.version) =>
            {
                self.end_in_two_steps(record, tombstone)
            }
            (Broken::EndIsHalved, Some(record))
                if expected.is_none_or(|expected| expected == record.version) =>
            {
                self.end_by_halves(record, tombstone)
            }
            _ => self.healthily(move |inner| inner.end(tombstone, expected, now)),
        }
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        match self.broken {
            Broken::LocksStay => self.healthily(move |inner| inner.sweep(now, limit)),
            _ => self.sweep_wrongly(now, limit),
        }
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }

    fn close(&self) -> Answer<'_, ()> {
        self.is_closed.store(true, Ordering::SeqCst);
        match self.broken {
            Broken::CloseDropsWrites | Broken::CloseIsIgnored => Answer::ready(Ok(())),
            Broken::CloseClosesAll => {
                self.aside.lock().is_closed = true;
                Answer::ready(Ok(()))
            }
            _ => self.inner.close(),
        }
    }
}

pub(crate) fn earlier(now: Timestamp, millis: u64) -> Timestamp {
    Timestamp::from_millis(now.as_millis() - millis)
}
