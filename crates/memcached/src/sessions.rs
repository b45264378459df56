//! The operations on sessions. Each change is one compare-and-swap of one key, so it is made whole or not at all.

use std::sync::Arc;

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{EndReason, Loaded, Tombstone, Written},
};
use futures_util::future::join;

use crate::{
    entry::{self, Entry},
    fleet::{ATTEMPTS_MAX, Change, Fleet, Stored},
    key::Key,
    memory::{Owner, Seen},
    meta::If,
    time::ttl,
};

/// A living session, with all that a change of it has to know.
struct Living {
    record: Arc<Record>,
    seen: Seen,
}

enum Found {
    Living(Living),
    Ended(Tombstone),
    Absent,
}

impl Fleet {
    pub(crate) async fn load(&self, id: SessionId, now: Timestamp) -> Result<Loaded, Error> {
        Ok(match self.find(id, now).await? {
            Found::Living(living) => Loaded::Found(living.record),
            Found::Ended(tombstone) => Loaded::Ended(tombstone),
            Found::Absent => Loaded::Absent,
        })
    }

    pub(crate) async fn create(&self, record: &Record, now: Timestamp) -> Result<Written, Error> {
        let owner = match &record.subject {
            Some(subject) => Some(self.owner(subject, record, now).await?),
            None => None,
        };
        let connected = self.connected(record.id);
        let bytes = entry::session(record, owner.as_ref().map(|owner| owner.epoch))?;
        match self.put_entry(record.id, bytes, ttl(record.expires(), now), If::Free).await? {
            Change::Made(cas) => {
                self.memory.keep(seen(record, cas, connected, owner));
                Ok(Written::Stored)
            }
            Change::Refused | Change::Missing => Ok(Written::Conflict),
        }
    }

    pub(crate) async fn replace(
        self: &Arc<Self>,
        record: Arc<Record>,
        expected: Version,
        now: Timestamp,
    ) -> Result<Written, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let base = match self.base(record.id, Some(expected), now).await? {
                Ok(base) => base,
                Err(written) => return Ok(written),
            };
            let is_same = |owner: &Arc<Owner>| record.subject.as_ref() == Some(&owner.subject);
            let written = if base.owner.as_ref().is_none_or(is_same) {
                self.write(&record, base, now).await?
            } else {
                self.hand_over(Arc::clone(&record), base, now).await?
            };
            if let Some(written) = written {
                return Ok(written);
            }
        }
        Err(self.contended(record.id))
    }

    pub(crate) async fn touch(
        &self,
        id: SessionId,
        active: Timestamp,
        now: Timestamp,
    ) -> Result<Written, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let Found::Living(Living { mut record, seen }) = self.find(id, now).await? else {
                return Ok(Written::Gone);
            };
            if active <= record.times.active {
                return Ok(Written::Stored);
            }
            Arc::make_mut(&mut record).times.active = active;
            let bytes = entry::session(&record, seen.owner.as_ref().map(|owner| owner.epoch))?;
            let condition = If::Unchanged(seen.number());
            match self.put_entry(id, bytes, ttl(record.expires(), now), condition).await? {
                Change::Made(cas) => {
                    self.memory.keep(Seen { cas, expires: record.expires(), ..seen });
                    return Ok(Written::Stored);
                }
                Change::Missing => return Ok(Written::Gone),
                Change::Refused => {}
            }
        }
        Err(self.contended(id))
    }

    pub(crate) async fn end(
        &self,
        tombstone: Tombstone,
        expected: Option<Version>,
        now: Timestamp,
    ) -> Result<Written, Error> {
        let bytes = entry::tombstone(&tombstone)?;
        for _ in 0..ATTEMPTS_MAX {
            let base = match self.base(tombstone.id, expected, now).await? {
                Ok(base) => base,
                Err(written) => return Ok(written),
            };
            let put = self.put_entry(
                tombstone.id,
                bytes.clone(),
                ttl(tombstone.expires, now),
                If::Unchanged(base.number()),
            );
            let (change, is_admitted) = self.checked(put, &base).await?;
            self.memory.forget(tombstone.id);
            match change {
                Change::Made(_) if is_admitted => return Ok(Written::Stored),
                Change::Made(_) | Change::Missing => return Ok(Written::Gone),
                Change::Refused => {}
            }
        }
        Err(self.contended(tombstone.id))
    }

    /// What the change of a session begins with: what was seen of it last, or what is stored. Otherwise, the answer.
    async fn base(
        &self,
        id: SessionId,
        expected: Option<Version>,
        now: Timestamp,
    ) -> Result<Result<Seen, Written>, Error> {
        let connected = self.connected(id);
        let is_of_use =
            |seen: &Seen| Some(seen.version) == expected && seen.connected == connected && now < seen.expires;
        if let Some(seen) = self.memory.recall(id).filter(is_of_use) {
            return Ok(Ok(seen));
        }
        Ok(match self.find(id, now).await? {
            Found::Living(living) if expected.is_none_or(|expected| expected == living.record.version) => {
                Ok(living.seen)
            }
            Found::Living(_) => Err(Written::Conflict),
            Found::Ended(_) | Found::Absent => Err(Written::Gone),
        })
    }

    /// Stores another version of a session that stays with its owner, or gets its first one. `None`: it was overtaken.
    async fn write(&self, record: &Record, base: Seen, now: Timestamp) -> Result<Option<Written>, Error> {
        let owner = match (&record.subject, &base.owner) {
            (None, _) => None,
            (Some(_), Some(owner)) if record.times.end <= owner.until => Some(Arc::clone(owner)),
            // The subject's state has to last longer; the session's own epoch stays.
            (Some(subject), Some(owner)) => {
                let state = self.state_until(owner.key, record.times.end, now).await?;
                Some(Owner::of(subject, owner.key, owner.epoch, &state))
            }
            (Some(subject), None) => Some(self.owner(subject, record, now).await?),
        };
        let bytes = entry::session(record, owner.as_ref().map(|owner| owner.epoch))?;
        let condition = If::Unchanged(base.number());
        let put = self.put_entry(record.id, bytes, ttl(record.expires(), now), condition);
        // If the epoch is over, what was stored belongs to it, and is as dead as what it replaced.
        let (change, is_admitted) = self.checked(put, &base).await?;
        Ok(match change {
            Change::Made(cas) if is_admitted => {
                self.memory.keep(seen(record, cas, base.connected, owner));
                Some(Written::Stored)
            }
            Change::Made(_) | Change::Missing => {
                self.memory.forget(record.id);
                Some(Written::Gone)
            }
            Change::Refused => {
                self.memory.forget(record.id);
                None
            }
        })
    }

    /// Stores another version of a session that leaves its owner, who may be revoked meanwhile: then it ends. The
    /// library never does this, for another user's login begins another session. It goes on if the caller is dropped.
    async fn hand_over(
        self: &Arc<Self>,
        record: Arc<Record>,
        base: Seen,
        now: Timestamp,
    ) -> Result<Option<Written>, Error> {
        let fleet = Arc::clone(self);
        let task = tokio::spawn(async move {
            if !fleet.admits(&base).await? {
                return Ok(Some(Written::Gone));
            }
            let anonymous = Seen { owner: None, ..base.clone() };
            let written = fleet.write(&record, anonymous, now).await?;
            if written == Some(Written::Stored) && !fleet.admits(&base).await? {
                let left = Tombstone {
                    id: record.id,
                    version: record.version,
                    at: now,
                    reason: EndReason::Revoked,
                    expires: record.expires(),
                };
                fleet.end(left, Some(record.version), now).await?;
                return Ok(Some(Written::Gone));
            }
            Ok(written)
        });
        task.await.unwrap_or_else(|error| {
            Err(Error::unavailable("a change of a session's subject was interrupted", error))
        })
    }

    /// Makes a change, and asks at the same time whether the session it was made to is one at all.
    async fn checked(
        &self,
        change: impl Future<Output = Result<Change, Error>>,
        base: &Seen,
    ) -> Result<(Change, bool), Error> {
        // Not `try_join`: whether the change was made is to be known before the call is over.
        let (change, is_admitted) = join(change, self.admits(base)).await;
        Ok((change?, is_admitted?))
    }

    async fn admits(&self, seen: &Seen) -> Result<bool, Error> {
        let Some(owner) = &seen.owner else { return Ok(true) };
        let state = self.state(owner.key).await?;
        Ok(state.is_some_and(|state| state.value.admits(seen.id, owner.epoch)))
    }

    /// The owner of a session that logs in now.
    async fn owner(&self, subject: &Subject, record: &Record, now: Timestamp) -> Result<Arc<Owner>, Error> {
        let key = Key::of(subject);
        let state = self.state_until(key, record.times.end, now).await?;
        Ok(Owner::of(subject, key, state.epoch, &state))
    }

    /// What is stored, as it is at this time.
    async fn find(&self, id: SessionId, now: Timestamp) -> Result<Found, Error> {
        // Before the question: the number in the answer may be of a server that was restarted since.
        let connected = self.connected(id);
        let last = self.memory.recall(id);
        let guess = last.as_ref().and_then(|seen| seen.owner.as_ref());
        // Both questions go out before either is waited for, if it can be guessed who the session belongs to.
        let entry = self.entry(id);
        let guessed = guess.map(|owner| self.state(owner.key));
        let (record, epoch, cas) = match entry.await? {
            Some(Stored { value: Entry::Session(record, epoch), cas }) if record.is_alive(now) => {
                (record, epoch, cas)
            }
            Some(Stored { value: Entry::Ended(tombstone), .. }) if now < tombstone.expires => {
                return Ok(Found::Ended(tombstone));
            }
            _ => return Ok(Found::Absent),
        };
        let (Some(subject), Some(epoch)) = (&record.subject, epoch) else {
            return Ok(self.living(record, (cas, connected), None, last.as_ref()));
        };
        let guess = guess.filter(|owner| owner.subject == *subject);
        let key = guess.map_or_else(|| Key::of(subject), |owner| owner.key);
        let guessed = match guessed.filter(|_| guess.is_some()) {
            Some(state) => state.await?,
            None => None,
        };
        let state = match guessed.filter(|state| state.value.admits(id, epoch)) {
            // The session may have logged in between the two answers: only what is asked after it counts against it.
            None => self.state(key).await?,
            guessed => guessed,
        };
        match state.map(|state| state.value) {
            Some(state) if state.admits(id, epoch) => {
                let is_same = |owner: &&Arc<Owner>| owner.epoch == epoch && owner.until == state.until();
                let same = guess.filter(is_same).map(Arc::clone);
                let owner = same.unwrap_or_else(|| Owner::of(subject, key, epoch, &state));
                Ok(self.living(record, (cas, connected), Some(owner), last.as_ref()))
            }
            state => {
                self.memory.forget(id);
                let left = state.map_or(Ok(None), |state| state.left(id, now))?;
                Ok(left.map_or(Found::Absent, Found::Ended))
            }
        }
    }

    fn living(
        &self,
        record: Arc<Record>,
        (cas, connected): (u64, u64),
        owner: Option<Arc<Owner>>,
        last: Option<&Seen>,
    ) -> Found {
        let seen = seen(&record, cas, connected, owner);
        if last != Some(&seen) {
            self.memory.keep(seen.clone());
        }
        Found::Living(Living { record, seen })
    }

    fn contended(&self, id: SessionId) -> Error {
        self.server(Key::Session(id)).failed("the session was changed by others again and again")
    }
}

fn seen(record: &Record, cas: u64, connected: u64, owner: Option<Arc<Owner>>) -> Seen {
    Seen { id: record.id, version: record.version, cas, connected, expires: record.expires(), owner }
}
