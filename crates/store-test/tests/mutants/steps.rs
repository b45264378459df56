//! Mutants that do in several steps what has to be done in one, and give way in between.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Error,
    store::{Answer, Loaded, Store, Swept, Tombstone, Written},
};
use cloakroom_core::{Data, Record, SessionId, Timestamp, Version};

use crate::{
    broken::Broken,
    mutant::Mutant,
    reference::{Entry, Reference, State},
};

impl Mutant {
    /// What the reference store does; by the mutant with locks, under one that a dropped call leaves locked.
    pub(crate) fn healthily<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a Reference) -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        if !self.is(Broken::LocksStay) {
            return call(&self.inner);
        }
        Answer::later(async move {
            for attempt in 0.. {
                if !std::mem::replace(&mut self.aside.lock().is_locked, true) {
                    break;
                }
                if attempt == 1_000 {
                    return Err(Error::unavailable("the lock isn't let go", "a call was dropped"));
                }
                give_way().await;
            }
            give_way().await;
            let answer = call(&self.inner).await;
            self.aside.lock().is_locked = false;
            answer
        })
    }

    pub(crate) fn load_takes_and_puts_back(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::later(async move {
            let answer = self.inner.load(id, now).await;
            let taken = self.state().entries.remove(&id);
            give_way().await;
            if let Some(taken) = taken {
                self.state().entries.insert(id, taken);
            }
            answer
        })
    }

    /// Answers come back in the order of the questions, as on one connection; whoever is dropped doesn't take hers.
    pub(crate) fn load_shares_answers(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::later(async move {
            let answer = self.inner.load(id, now).await?;
            self.aside.lock().loaded.push_back(answer);
            give_way().await;
            let first = self.aside.lock().loaded.pop_front();
            Ok(first.unwrap_or(Loaded::Absent))
        })
    }

    pub(crate) fn create_in_two_steps(&self, record: Arc<Record>) -> Answer<'_, Written> {
        Answer::later(async move {
            if self.state().entries.contains_key(&record.id) {
                return Ok(Written::Conflict);
            }
            give_way().await;
            self.state().put(record);
            Ok(Written::Stored)
        })
    }

    pub(crate) fn create_by_halves(&self, record: Arc<Record>) -> Answer<'_, Written> {
        Answer::later(async move {
            let half = Record { data: Data::new(), ..Record::clone(&record) };
            if self.state().create(half.into()) == Written::Conflict {
                return Ok(Written::Conflict);
            }
            give_way().await;
            self.state().put(record);
            Ok(Written::Stored)
        })
    }

    pub(crate) fn create_and_index_later(&self, record: Arc<Record>) -> Answer<'_, Written> {
        Answer::later(async move {
            let is_taken = {
                let mut state = self.state();
                let is_taken = state.entries.contains_key(&record.id);
                state.entries.entry(record.id).or_insert_with(|| Entry::Session(Arc::clone(&record)));
                is_taken
            };
            if is_taken {
                return Ok(Written::Conflict);
            }
            give_way().await;
            self.state().index.extend(record.subject.clone().map(|subject| (subject, record.id)));
            Ok(Written::Stored)
        })
    }

    pub(crate) fn replace_stepwise(
        &self,
        record: Arc<Record>,
        expected: Version,
        now: Timestamp,
    ) -> Answer<'_, Written> {
        let is_expected =
            move |state: &State, id| state.living(id, now).filter(|stored| stored.version == expected);
        match self.broken {
            Broken::ReplaceIsTwoSteps => Answer::later(async move {
                if is_expected(&self.state(), record.id).is_none() {
                    return Ok(Written::Conflict);
                }
                give_way().await;
                self.state().put(record);
                Ok(Written::Stored)
            }),
            Broken::ReplaceIsHalved => Answer::later(async move {
                if is_expected(&self.state(), record.id).is_none() {
                    return Ok(Written::Conflict);
                }
                self.state().put(Arc::new(Record { version: expected, ..Record::clone(&record) }));
                give_way().await;
                self.state().put(record);
                Ok(Written::Stored)
            }),
            Broken::ReplacesShareAnswers => Answer::later(async move {
                let written = self.inner.replace(record, expected, now).await?;
                self.aside.lock().written.push_back(written);
                give_way().await;
                let first = self.aside.lock().written.pop_front();
                Ok(first.unwrap_or(Written::Gone))
            }),
            Broken::IndexGapsAtReplace => Answer::later(async move {
                let stored = is_expected(&self.state(), record.id);
                let Some(stored) = stored else { return Ok(Written::Conflict) };
                self.state().unlist(&stored);
                give_way().await;
                self.state().put(record);
                Ok(Written::Stored)
            }),
            Broken::IndexFollowsLater => Answer::later(async move {
                let stored = is_expected(&self.state(), record.id);
                let Some(stored) = stored else { return Ok(Written::Conflict) };
                self.state().entries.insert(record.id, Entry::Session(Arc::clone(&record)));
                give_way().await;
                let mut state = self.state();
                state.unlist(&stored);
                state.index.extend(record.subject.clone().map(|subject| (subject, record.id)));
                Ok(Written::Stored)
            }),
            _ => self.healthily(move |inner| inner.replace(record, expected, now)),
        }
    }

    pub(crate) fn touch_in_two_steps(&self, mut record: Record, active: Timestamp) -> Answer<'_, Written> {
        Answer::later(async move {
            give_way().await;
            record.times.active = record.times.active.max(active);
            self.state().put(record.into());
            Ok(Written::Stored)
        })
    }

    pub(crate) fn end_in_two_steps(&self, record: Arc<Record>, tombstone: Tombstone) -> Answer<'_, Written> {
        Answer::later(async move {
            give_way().await;
            self.state().bury(&record, tombstone);
            Ok(Written::Stored)
        })
    }

    pub(crate) fn end_by_halves(&self, record: Arc<Record>, tombstone: Tombstone) -> Answer<'_, Written> {
        Answer::later(async move {
            self.state().remove(record.id);
            give_way().await;
            self.state().bury(&record, tombstone);
            Ok(Written::Stored)
        })
    }

    pub(crate) fn sweep_wrongly(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        let is_dead = |entry: &Entry| match entry {
            Entry::Session(record) => match self.broken {
                Broken::SweepGoesByTheFirstExpiry => now >= self.aside.lock().first[&record.id].expires(),
                Broken::SweepIgnoresTheAbsoluteEnd => now.since(record.times.active) >= idle(record),
                _ => now >= record.expires(),
            },
            Entry::Tombstone(_) if self.is(Broken::SweepKeepsTombstones) => false,
            Entry::Tombstone(_) if self.is(Broken::SweepTakesAllTombstones) => true,
            Entry::Tombstone(left) => now >= left.expires,
        };
        let limit = if self.is(Broken::SweepIsUnbounded) { usize::MAX } else { limit };
        let mut state = self.state();
        if self.is(Broken::SweepCountsSessionsOnly) {
            state.entries.retain(|_, entry| matches!(entry, Entry::Session(_)) || !is_dead(entry));
        }
        let mut dead: Vec<_> =
            state.entries.iter().filter(|(_, entry)| is_dead(entry)).map(|(id, _)| *id).collect();
        let is_more = match self.broken {
            Broken::SweepNeverSaysMore => false,
            Broken::SweepAlwaysSaysMore => true,
            _ => dead.len() > limit,
        };
        dead.truncate(limit);
        match self.broken {
            Broken::SweepDropsNotes => state.notes.clear(),
            Broken::SweepTakesTheLiving => dead.extend(state.entries.keys().copied().next()),
            _ => {}
        }
        let mut expired: Vec<_> = dead.into_iter().filter_map(|id| state.remove(id)).collect();
        match self.broken {
            Broken::SweepReportsNothing => expired.clear(),
            Broken::SweepReportsTwice => expired.extend_from_within(..),
            Broken::SweepForgetsSubjects => expired.iter_mut().for_each(|(_, subject)| *subject = None),
            _ => {}
        }
        Answer::ready(Ok(Swept { expired, is_more }))
    }
}

fn idle(record: &Record) -> Duration {
    Duration::from_secs(record.times.idle_s.into())
}

/// As long as a call to a database in between.
pub(crate) async fn give_way() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}
