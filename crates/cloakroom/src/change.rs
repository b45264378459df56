//! One change to the store, and what became of it.

use std::sync::Arc;

use cloakroom_core::{Record, SessionId, Timestamp, Version};

use crate::{
    Error,
    commit::Work,
    sessions::Engine,
    store::{Loaded, Tombstone, Written},
};

/// How often one store call is made, if it fails.
pub(crate) const CALLS_MAX: u32 = 3;

/// One change to the store.
pub(crate) enum Change<'a> {
    Create(&'a Arc<Record>),
    Replace(&'a Arc<Record>, Version),
    End(Tombstone, Version),
}

/// What became of a change whose answer was lost.
enum Fate {
    Done,
    NotDone,
    /// The session has ended since, by somebody else.
    Ended,
    /// It was changed since, over our change or without it: that can't be told.
    Unknown,
}

impl Change<'_> {
    async fn call(&self, engine: &Engine, now: Timestamp) -> Result<Written, Error> {
        match self {
            Self::Create(record) => engine.store.create(Arc::clone(record), now).await,
            Self::Replace(record, expected) => engine.store.replace(Arc::clone(record), *expected, now).await,
            Self::End(tombstone, expected) => engine.store.end(*tombstone, Some(*expected), now).await,
        }
    }

    async fn fate(&self, engine: &Engine, now: Timestamp) -> Fate {
        let Ok(loaded) = engine.store.load(self.id(), now).await else { return Fate::Unknown };
        match (self, loaded) {
            (Self::Create(record) | Self::Replace(record, _), Loaded::Found(stored))
                if stored.version == record.version =>
            {
                Fate::Done
            }
            (Self::End(tombstone, _), Loaded::Ended(stored)) if stored.version == tombstone.version => {
                Fate::Done
            }
            (Self::End(..), Loaded::Ended(_) | Loaded::Absent) => Fate::Ended,
            (Self::Create(_), Loaded::Absent) => Fate::NotDone,
            (Self::Replace(_, expected) | Self::End(_, expected), Loaded::Found(stored))
                if stored.version == *expected =>
            {
                Fate::NotDone
            }
            _ => Fate::Unknown,
        }
    }

    fn id(&self) -> SessionId {
        match self {
            Self::Create(record) | Self::Replace(record, _) => record.id,
            Self::End(tombstone, _) => tombstone.id,
        }
    }
}

impl Work {
    /// Makes one change to the store. A call that fails may have been done all the same: then the stored stamp tells,
    /// and where it can't, the failure stands and nothing is done twice.
    pub(crate) async fn apply(&mut self, change: &Change<'_>) -> Result<Written, Error> {
        let mut failure = None;
        for _ in 0..CALLS_MAX {
            let answer = match self.answered.take() {
                Some(answer) => answer,
                None => change.call(&self.engine, self.now).await,
            };
            let fate = match answer {
                Ok(written) if failure.is_none() => return Ok(written),
                Ok(Written::Stored) => Fate::Done,
                // The store is well, and says no: asked again, it says the same.
                Err(error) if !error.is_unavailable() => return Err(error),
                answer => {
                    failure = answer.err().or(failure);
                    Box::pin(change.fate(&self.engine, self.now)).await
                }
            };
            let written = match fate {
                Fate::Done => Written::Stored,
                Fate::Ended => Written::Gone,
                Fate::NotDone => continue,
                Fate::Unknown => break,
            };
            // A failure that stays is told where the request fails.
            failure.iter().for_each(|failure| self.engine.tell_failure(failure));
            return Ok(written);
        }
        Err(failure.unwrap_or_else(|| Error::contended(CALLS_MAX)))
    }
}
