//! The mutants' index.

use std::sync::Arc;

use cloakroom::store::{Answer, Index, Revocation, Revoke, Summary, Tombstone};
use cloakroom_core::{Record, SessionId, Subject, Timestamp};

use crate::{
    broken::Broken,
    mutant::Mutant,
    reference::{Entry, State, left_by},
    steps::give_way,
};

impl Revoke for Mutant {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        if self.is(Broken::LocksStay) {
            let subject = subject.clone();
            return self.healthily(move |inner| inner.end_subject(&subject, revocation, now));
        }
        if self.is(Broken::EndSubjectNotesLast) {
            return self.end_subject_and_note_last(subject.clone(), revocation, now);
        }
        let mut state = self.state();
        self.note(&mut state, subject, revocation);
        let mut ended = self.listed(&state, subject, now);
        match self.broken {
            Broken::EndSubjectIgnoresTheException => {}
            _ => ended.retain(|record| revocation.except != Some(record.id)),
        }
        match self.broken {
            Broken::EndSubjectStopsAtAPage => ended.truncate(100),
            Broken::EndSubjectEndsTheExpired => ended = Self::all_of(&state, subject),
            Broken::EndSubjectIsTwoSteps | Broken::EndSubjectIsHalved => {
                drop(state);
                return self.end_subject_in_two_steps(ended, revocation);
            }
            _ => {}
        }
        for record in &ended {
            match self.broken {
                Broken::EndSubjectOnlyUnlists => state.unlist(record),
                _ => state.bury(record, left_by(&revocation, record.id)),
            }
        }
        Answer::ready(Ok(Some(ended.iter().map(|record| record.id).collect())))
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        if self.is(Broken::NotesStay) {
            return Answer::ready(Ok(self.state().notes.get(subject).copied()));
        }
        if self.is(Broken::NotesAreNotShared) {
            return Answer::ready(Ok(self.own.lock().notes.get(subject).copied()));
        }
        let subject = subject.clone();
        self.healthily(move |inner| inner.last_revocation(&subject, now))
    }
}

impl Index for Mutant {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        if self.is(Broken::LocksStay) {
            let subject = subject.clone();
            return self.healthily(move |inner| inner.list(&subject, after, limit, now));
        }
        let state = self.state();
        let mut own = self.listed(&state, subject, now);
        let all: Vec<_> = own.iter().map(|record| record.id).collect();
        match self.broken {
            Broken::PagesGoByPosition => {
                let position = after.and_then(|after| self.aside.lock().positions.get(&after).copied());
                drop(own.drain(..position.unwrap_or(0).min(own.len())));
            }
            Broken::PagesOverlap => own.retain(|record| after.is_none_or(|after| record.id >= after)),
            _ => own.retain(|record| after.is_none_or(|after| record.id > after)),
        }
        match self.broken {
            Broken::ListIsUnordered => own.reverse(),
            Broken::PagesSkip if after.is_some() && !own.is_empty() => drop(own.remove(0)),
            Broken::LimitComesBeforeLife => {
                own.truncate(limit);
                own.retain(|record| state.living(record.id, now).is_some());
            }
            _ => {}
        }
        let mut page: Vec<_> = own.iter().take(limit).map(|record| Summary::of(record)).collect();
        for (position, id) in all.into_iter().enumerate() {
            self.aside.lock().positions.insert(id, position + 1);
        }
        if self.is(Broken::ListShowsFirstTimes) {
            page.iter_mut().for_each(|summary| summary.times.active = summary.times.created);
        }
        Answer::ready(Ok(page))
    }

    fn end_started_before(&self, instant: Timestamp, now: Timestamp) -> Answer<'_, ()> {
        let mut state = self.state();
        match self.broken {
            Broken::CutIsInclusive => state.started_from = instant + std::time::Duration::from_millis(1),
            Broken::CutMovesBack => state.started_from = instant,
            Broken::CutGoesByCreation => {
                Self::remove_those(&mut state, |record| record.times.created < instant)
            }
            Broken::CutIsMadeOnce => Self::remove_those(&mut state, |record| record.times.started < instant),
            Broken::CutIsSeenByLoadsOnly => self.aside.lock().loads_from = instant,
            Broken::CutIsNotShared => self.own.lock().started_from = instant,
            Broken::CutOvershoots => {
                drop(state);
                return self.cut_by_way_of_everything(instant);
            }
            _ => {
                drop(state);
                return self.healthily(move |inner| inner.end_started_before(instant, now));
            }
        }
        Answer::ready(Ok(()))
    }
}

impl Mutant {
    /// The subject's sessions as this mutant sees them, ordered by id.
    fn listed(&self, state: &State, subject: &Subject, now: Timestamp) -> Vec<Arc<Record>> {
        let folded = |subject: &Subject| subject.as_str().to_lowercase();
        let mut own: Vec<_> = match self.broken {
            Broken::ListsEverybody => state.entries.keys().filter_map(|id| state.living(*id, now)).collect(),
            Broken::ListsTheExpired => Self::all_of(state, subject)
                .into_iter()
                .filter(|record| !Self::is_ended(state, record.id))
                .collect(),
            Broken::LimitComesBeforeLife => Self::all_of(state, subject),
            Broken::SubjectsFoldCase => {
                let alike = state.index.iter().filter(|(name, _)| folded(name) == folded(subject));
                alike.filter_map(|(_, id)| state.living(*id, now)).collect()
            }
            _ => state.sessions_of(subject, now),
        };
        own.sort_unstable_by_key(|record| record.id);
        own
    }

    /// The subject's sessions, also those that have expired.
    fn all_of(state: &State, subject: &Subject) -> Vec<Arc<Record>> {
        let mut all: Vec<_> = state
            .entries
            .values()
            .filter_map(|entry| match entry {
                Entry::Session(record) if record.subject.as_ref() == Some(subject) => {
                    Some(Arc::clone(record))
                }
                Entry::Session(_) | Entry::Tombstone(_) => None,
            })
            .collect();
        all.sort_unstable_by_key(|record| record.id);
        all
    }

    fn is_ended(state: &State, id: SessionId) -> bool {
        matches!(state.entries.get(&id), Some(Entry::Tombstone(_)))
    }

    fn note(&self, state: &mut State, subject: &Subject, mut revocation: Revocation) {
        match self.broken {
            Broken::NotesKeepTheFirst => {
                state.notes.entry(subject.clone()).or_insert(revocation);
                return;
            }
            Broken::NotesAreNotShared => {
                self.own.lock().notes.insert(subject.clone(), revocation);
                return;
            }
            Broken::NotesKeepWhatCameLast => {
                state.notes.insert(subject.clone(), revocation);
                return;
            }
            Broken::NotesForgetTheException => revocation.except = None,
            _ => {}
        }
        state.note(subject, revocation);
    }

    fn end_subject_and_note_last(
        &self,
        subject: Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        Answer::later(async move {
            let ended = {
                let mut state = self.state();
                let ended = state.sessions_of(&subject, now);
                for record in &ended {
                    state.bury(record, left_by(&revocation, record.id));
                }
                ended
            };
            give_way().await;
            self.state().note(&subject, revocation);
            Ok(Some(ended.iter().map(|record| record.id).collect()))
        })
    }

    /// Ends what was found before, whatever has become of it since.
    fn end_subject_in_two_steps(
        &self,
        found: Vec<Arc<Record>>,
        revocation: Revocation,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        Answer::later(async move {
            if self.is(Broken::EndSubjectIsHalved) {
                found.iter().for_each(|record| drop(self.state().remove(record.id)));
            }
            for record in &found {
                give_way().await;
                let left: Tombstone = left_by(&revocation, record.id);
                self.state().bury(record, left);
            }
            Ok(Some(found.iter().map(|record| record.id).collect()))
        })
    }

    fn remove_those(state: &mut State, is_meant: impl Fn(&Record) -> bool) {
        let meant: Vec<_> = state
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::Session(record) if is_meant(record)))
            .map(|(id, _)| *id)
            .collect();
        meant.into_iter().for_each(|id| drop(state.remove(id)));
    }

    fn cut_by_way_of_everything(&self, instant: Timestamp) -> Answer<'_, ()> {
        Answer::later(async move {
            let before = std::mem::replace(&mut self.state().started_from, Timestamp::from_millis(u64::MAX));
            give_way().await;
            self.state().started_from = before.max(instant);
            Ok(())
        })
    }
}
