//! The store under test, with answers that can be compared.

use std::{fmt, sync::Arc};

use cloakroom::{
    Error,
    store::{Index, Loaded, Revocation, Revoke, Store, Summary, Swept, Tombstone, Written},
};
use cloakroom_core::{Record, SessionId, Subject, Timestamp, Version};

use crate::Harness;

/// The store under test. A call that fails where nothing is broken breaks the contract, so here it panics.
pub(crate) struct Tested<S>(Arc<S>);

impl<S> Clone for Tested<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> Tested<S> {
    pub(crate) async fn open(harness: &impl Harness<Store = S>) -> Self {
        Self(Arc::new(harness.open().await))
    }

    /// The store itself.
    pub(crate) fn bare(&self) -> &S {
        &self.0
    }

    /// With what the store finds at once, which must be no other session than that.
    pub(crate) async fn load(&self, id: SessionId, now: Timestamp) -> Seen {
        let found = self.0.find(id, now);
        let loaded = Seen::of(answered("load", self.0.load(id, now).await));
        if let Some(found) = found {
            // Others may have changed it meanwhile, but nothing that has ended may have been found.
            let again = self.0.find(id, now);
            let is_changing =
                again.is_none_or(|again| again.version != found.version || again.times != found.times);
            assert!(
                is_changing || loaded == Seen::found(&found),
                "`find` finds {found:?}, and `load` answers {loaded:?}"
            );
        }
        loaded
    }

    pub(crate) async fn create(&self, record: &Record, now: Timestamp) -> Written {
        answered("create", self.0.create(Arc::new(record.clone()), now).await)
    }

    pub(crate) async fn replace(&self, record: &Record, expected: Version, now: Timestamp) -> Written {
        answered("replace", self.0.replace(Arc::new(record.clone()), expected, now).await)
    }

    pub(crate) async fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Written {
        answered("touch", self.0.touch(id, active, now).await)
    }

    pub(crate) async fn end(
        &self,
        tombstone: Tombstone,
        expected: Option<Version>,
        now: Timestamp,
    ) -> Written {
        answered("end", self.0.end(tombstone, expected, now).await)
    }

    pub(crate) async fn sweep(&self, now: Timestamp, limit: usize) -> Swept {
        answered("sweep", self.0.sweep(now, limit).await)
    }

    /// Sweeps until the store says that nothing is left; what was removed, in the order it was reported.
    pub(crate) async fn sweep_all(&self, now: Timestamp) -> Vec<(SessionId, Option<Subject>)> {
        let mut removed = Vec::new();
        for _ in 0..10_000 {
            let swept = self.sweep(now, 100).await;
            removed.extend(swept.expired);
            if !swept.is_more {
                return removed;
            }
        }
        panic!("after 10,000 sweeps the store still says that there is more to sweep");
    }

    pub(crate) fn index(&self) -> &dyn Index {
        self.0.index().unwrap_or_else(|| {
            panic!(
                "the store has no index: declare it with `suite!(…, without: index)`, or `without: listing` if it can \
                 revoke all the same, or answer one"
            )
        })
    }

    pub(crate) fn revoke(&self) -> &dyn Revoke {
        self.0.revoke().unwrap_or_else(|| {
            panic!(
                "the store can't revoke: declare it with `suite!(…, without: index)`, or answer that it can"
            )
        })
    }

    /// All of a subject's sessions, in one page.
    pub(crate) async fn list(&self, name: &Subject, now: Timestamp) -> Vec<Summary> {
        self.page(name, None, 10_000, now).await
    }

    pub(crate) async fn page(
        &self,
        name: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Summary> {
        answered("list", self.index().list(name, after, limit, now).await)
    }

    /// The ids it ended, sorted: their order means nothing.
    pub(crate) async fn end_subject(
        &self,
        name: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Vec<SessionId> {
        let ended = answered("end_subject", self.index().end_subject(name, revocation, now).await);
        let mut ended =
            ended.unwrap_or_else(|| panic!("the store has an index, and can't tell which sessions it ended"));
        ended.sort_unstable();
        ended
    }

    /// The same of a store that may not be able to tell which it ended.
    pub(crate) async fn revoke_all(&self, name: &Subject, revocation: Revocation, now: Timestamp) {
        answered("end_subject", self.revoke().end_subject(name, revocation, now).await);
    }

    pub(crate) async fn last_revocation(&self, name: &Subject, now: Timestamp) -> Option<Revocation> {
        answered("last_revocation", self.revoke().last_revocation(name, now).await)
    }

    pub(crate) async fn end_started_before(&self, instant: Timestamp, now: Timestamp) {
        answered("end_started_before", self.index().end_started_before(instant, now).await);
    }
}

fn answered<T>(operation: &str, answer: Result<T, Error>) -> T {
    answer.unwrap_or_else(|error| panic!("{operation} failed on a healthy store: {error:?}"))
}

/// What a load found, comparable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Absent,
    Found(Whole),
    Ended(Tombstone),
}

impl Seen {
    pub(crate) fn of(loaded: Loaded) -> Self {
        match loaded {
            Loaded::Absent => Self::Absent,
            Loaded::Found(record) => Self::Found(Whole(Record::clone(&record))),
            Loaded::Ended(tombstone) => Self::Ended(tombstone),
        }
    }

    /// What a load finds where this record is stored.
    pub(crate) fn found(record: &Record) -> Self {
        Self::Found(Whole(record.clone()))
    }

    pub(crate) fn record(self) -> Option<Record> {
        match self {
            Self::Found(whole) => Some(whole.0),
            Self::Absent | Self::Ended(_) => None,
        }
    }
}

/// A record that is compared, and shown, in every field. The records of a test hold nothing secret.
#[derive(Clone)]
pub(crate) struct Whole(pub(crate) Record);

impl Whole {
    fn authority(&self) -> Vec<u8> {
        self.0.authority.encode().unwrap_or_else(|error| panic!("the authority can't be encoded: {error}"))
    }
}

impl PartialEq for Whole {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        a.id == b.id
            && a.version == b.version
            && a.subject == b.subject
            && self.authority() == other.authority()
            && a.times == b.times
            && a.client == b.client
            && a.data == b.data
    }
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json: String = self.0.data.to_json().chars().take(200).collect();
        f.debug_struct("Record")
            .field("id", &self.0.id)
            .field("version", &self.0.version)
            .field("subject", &self.0.subject)
            .field("authority", &self.authority())
            .field("times", &self.0.times)
            .field("client", &self.0.client)
            .field("data", &format_args!("{json} ({} bytes)", self.0.data.as_bytes().len()))
            .finish()
    }
}
