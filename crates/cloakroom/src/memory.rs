//! Sessions in this process's memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloakroom_core::{Record, SessionId, Subject, Timestamp, Version};
use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::{
    Error,
    store::{Answer, Index, Loaded, Revocation, Revoke, Store, Summary, Swept, Tombstone, Written},
};

/// A store in this process's memory: the fastest one, for tests, development and single processes that may forget
/// their sessions when they stop.
///
/// It is bounded, spreads over the processor's cores, and finds what has expired without looking at what hasn't.
///
/// ```
/// use cloakroom::{MemoryStore, Sessions};
///
/// let sessions = Sessions::builder(MemoryStore::new()).build()?;
/// let small = MemoryStore::with_sessions_max(10_000);
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    subjects: Box<[Mutex<Subjects>]>,
    hasher: RandomState,
    sessions: AtomicUsize,
    sessions_max: usize,
    /// Sessions started before this instant (in milliseconds) have ended.
    started_from: AtomicU64,
    next_shard_to_sweep: AtomicUsize,
}

/// Enough that threads seldom meet, and that one shard's growth takes well under a millisecond.
const SHARDS: usize = 256;

/// How long a subject's revocation is remembered for logins in progress.
const REVOCATION_KEPT: Duration = Duration::from_secs(86_400);

impl MemoryStore {
    /// How many sessions a store of [`MemoryStore::new`] holds: four million, a gigabyte or so.
    pub const SESSIONS_MAX: usize = 4_000_000;

    /// An empty store of the default size.
    #[must_use]
    pub fn new() -> Self {
        Self::with_sessions_max(Self::SESSIONS_MAX)
    }

    /// An empty store for so many sessions. When it is full and nothing has expired, new ones are refused: those
    /// that live are never dropped for them.
    #[must_use]
    pub fn with_sessions_max(sessions_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            subjects: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            sessions: AtomicUsize::new(0),
            sessions_max,
            started_from: AtomicU64::new(0),
            next_shard_to_sweep: AtomicUsize::new(0),
        }
    }

    /// How many sessions are held, with those that have expired but weren't swept yet.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    fn shard(&self, id: SessionId) -> &Mutex<Shard> {
        // Another byte than those of `hash`, or every table would use a 256th of its buckets.
        &self.shards[usize::from(id.as_bytes()[8]) % SHARDS]
    }

    /// Locked after a session's shard, never before.
    fn subject(&self, subject: &Subject) -> &Mutex<Subjects> {
        &self.subjects[self.hasher.hash_one(subject) as usize % SHARDS]
    }

    fn is_alive(&self, record: &Record, now: Timestamp) -> bool {
        record.is_alive(now) && record.times.started.as_millis() >= self.started_from.load(Ordering::Acquire)
    }

    fn look_up(&self, id: SessionId, now: Timestamp) -> Loaded {
        let shard = self.shard(id).lock();
        if let Some(record) = shard.record(id) {
            return if self.is_alive(record, now) {
                Loaded::Found(Arc::clone(record))
            } else {
                Loaded::Absent
            };
        }
        match shard.tombstone(id) {
            Some(tombstone) if now < tombstone.expires => Loaded::Ended(*tombstone),
            _ => Loaded::Absent,
        }
    }

    fn insert(&self, record: Arc<Record>) -> Result<Written, Error> {
        let mut shard = self.shard(record.id).lock();
        if shard.record(record.id).is_some() || shard.tombstone(record.id).is_some() {
            return Ok(Written::Conflict);
        }
        let reserved = self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sessions| {
            (sessions < self.sessions_max).then_some(sessions + 1)
        });
        if reserved.is_err() {
            let message = format!("the memory store is full: it holds {} sessions", self.sessions_max);
            return Err(Error::unavailable(message, "raise `sessions_max`, or shorten the timeouts"));
        }
        if let Some(subject) = &record.subject {
            self.subject(subject).lock().add(subject, record.id);
        }
        shard.expect(record.id, record.expires());
        shard.records.insert_unique(hash(record.id), record, |record| hash(record.id));
        Ok(Written::Stored)
    }

    fn swap(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Written {
        let mut shard = self.shard(record.id).lock();
        let (expires, id) = (record.expires(), record.id);
        let Some(stored) = shard.record_mut(id).filter(|stored| self.is_alive(stored, now)) else {
            return Written::Gone;
        };
        if stored.version != expected {
            return Written::Conflict;
        }
        if stored.subject != record.subject {
            self.reindex(id, stored.subject.as_ref(), record.subject.as_ref());
        }
        let before = std::mem::replace(stored, record);
        // A later end is found when the earlier one is looked at.
        if expires < before.expires() {
            shard.expect(id, expires);
        }
        drop(shard);
        // Freed outside the lock.
        drop(before);
        Written::Stored
    }

    fn reindex(&self, id: SessionId, before: Option<&Subject>, after: Option<&Subject>) {
        if let Some(subject) = after {
            self.subject(subject).lock().add(subject, id);
        }
        if let Some(subject) = before {
            self.subject(subject).lock().remove(subject, id);
        }
    }

    fn note_activity(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Written {
        let mut shard = self.shard(id).lock();
        let Some(stored) = shard.record_mut(id).filter(|stored| self.is_alive(stored, now)) else {
            return Written::Gone;
        };
        if active > stored.times.active {
            Arc::make_mut(stored).times.active = active;
        }
        Written::Stored
    }

    /// Ends the session if its record fulfils the condition.
    fn bury(&self, tombstone: Tombstone, now: Timestamp, condition: impl Fn(&Record) -> bool) -> Written {
        let mut shard = self.shard(tombstone.id).lock();
        let Some(stored) = shard.record(tombstone.id).filter(|stored| self.is_alive(stored, now)) else {
            return Written::Gone;
        };
        if !condition(stored) {
            return Written::Conflict;
        }
        let record = shard.take(tombstone.id);
        shard.expect(tombstone.id, tombstone.expires);
        shard.tombstones.insert_unique(hash(tombstone.id), tombstone, |tombstone| hash(tombstone.id));
        self.forget(record);
        Written::Stored
    }

    /// What is left to do, under its shard's lock, when a record was taken out of it.
    fn forget(&self, record: Option<Arc<Record>>) {
        let Some(record) = record else { return };
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Some(subject) = &record.subject {
            self.subject(subject).lock().remove(subject, record.id);
        }
    }

    /// Removes at most `limit` sessions and tombstones of one shard, and answers how many it removed.
    fn sweep_shard(&self, at: usize, now: Timestamp, limit: usize, swept: &mut Swept) -> usize {
        let mut shard = self.shards[at].lock();
        shard.collect_expected(now);
        let mut removed = 0;
        while removed < limit
            && let Some(id_hash) = shard.sweeping.pop()
        {
            let Some((id, expires)) = shard.find_by_hash(id_hash) else { continue };
            let is_cut = shard.record(id).is_some_and(|record| !self.is_alive(record, now));
            if now < expires && !is_cut {
                shard.expect(id, expires);
                continue;
            }
            if let Some(record) = shard.take(id) {
                swept.expired.push((id, record.subject.clone()));
                self.forget(Some(record));
            } else {
                shard.drop_tombstone(id);
            }
            removed += 1;
        }
        removed
    }
}

impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::ready(Ok(self.look_up(id, now)))
    }

    fn find(&self, id: SessionId, now: Timestamp) -> Option<Arc<Record>> {
        let shard = self.shard(id).lock();
        shard.record(id).filter(|record| self.is_alive(record, now)).cloned()
    }

    fn create(&self, record: Arc<Record>, _now: Timestamp) -> Answer<'_, Written> {
        Answer::ready(self.insert(record))
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        Answer::ready(Ok(self.swap(record, expected, now)))
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        Answer::ready(Ok(self.note_activity(id, active, now)))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        let is_expected = |stored: &Record| expected.is_none_or(|expected| stored.version == expected);
        Answer::ready(Ok(self.bury(tombstone, now, is_expected)))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        let (mut swept, mut left) = (Swept::default(), limit);
        let first = self.next_shard_to_sweep.load(Ordering::Relaxed);
        for offset in 0..SHARDS {
            let at = (first + offset) % SHARDS;
            left -= self.sweep_shard(at, now, left, &mut swept);
            if left == 0 {
                self.next_shard_to_sweep.store(at, Ordering::Relaxed);
                swept.is_more = true;
                break;
            }
            self.subjects[at].lock().drop_revocations(now);
        }
        Answer::ready(Ok(swept))
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }
}

impl Revoke for MemoryStore {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let ids = {
            let mut subjects = self.subject(subject).lock();
            subjects.note(subject, revocation);
            subjects.ids(subject, None)
        };
        let others = ids.into_iter().filter(|id| Some(*id) != revocation.except);
        let ended = others.filter(|id| {
            let tombstone = Tombstone {
                id: *id,
                version: revocation.version,
                at: revocation.at,
                reason: revocation.reason,
                expires: revocation.tombstones_expire,
            };
            // It may have changed hands since its id was read.
            self.bury(tombstone, now, |stored| stored.subject.as_ref() == Some(subject)) == Written::Stored
        });
        Answer::ready(Ok(Some(ended.collect())))
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subjects = self.subject(subject).lock();
        let revocation = subjects.by_name.get(subject).and_then(|entry| entry.revocation.as_deref().copied());
        Answer::ready(Ok(revocation.filter(|revocation| now.since(revocation.at) < REVOCATION_KEPT)))
    }
}

impl Index for MemoryStore {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let ids = self.subject(subject).lock().ids(subject, after);
        let found = ids.into_iter().filter_map(|id| match self.look_up(id, now) {
            Loaded::Found(record) if record.subject.as_ref() == Some(subject) => Some(Summary::of(&record)),
            _ => None,
        });
        Answer::ready(Ok(found.take(limit).collect()))
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        self.started_from.fetch_max(instant.as_millis(), Ordering::AcqRel);
        Answer::ready(Ok(()))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

/// Ids come from our own random source, so their bits are a hash already.
fn hash(id: SessionId) -> u64 {
    let bytes = id.as_bytes();
    u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

/// Some of the sessions, with the times at which to look whether they have expired.
#[derive(Default)]
struct Shard {
    records: HashTable<Arc<Record>>,
    tombstones: HashTable<Tombstone>,
    /// Hashes of ids by the span of time they expire in, as far as was known: a touch moves nothing here.
    expected: BTreeMap<u64, Vec<u64>>,
    /// Hashes of ids that a sweep has yet to look at.
    sweeping: Vec<u64>,
}

/// Length of a span in [`Shard::expected`].
const SPAN_MS: u64 = 16_384;

impl Shard {
    fn record(&self, id: SessionId) -> Option<&Arc<Record>> {
        self.records.find(hash(id), |record| record.id == id)
    }

    fn record_mut(&mut self, id: SessionId) -> Option<&mut Arc<Record>> {
        self.records.find_mut(hash(id), |record| record.id == id)
    }

    fn tombstone(&self, id: SessionId) -> Option<&Tombstone> {
        self.tombstones.find(hash(id), |tombstone| tombstone.id == id)
    }

    fn take(&mut self, id: SessionId) -> Option<Arc<Record>> {
        self.records.find_entry(hash(id), |record| record.id == id).ok().map(|entry| entry.remove().0)
    }

    fn drop_tombstone(&mut self, id: SessionId) {
        if let Ok(entry) = self.tombstones.find_entry(hash(id), |tombstone| tombstone.id == id) {
            entry.remove();
        }
    }

    fn find_by_hash(&self, id_hash: u64) -> Option<(SessionId, Timestamp)> {
        let record = self.records.find(id_hash, |record| hash(record.id) == id_hash);
        let tombstone = || self.tombstones.find(id_hash, |tombstone| hash(tombstone.id) == id_hash);
        record.map(|record| (record.id, record.expires())).or_else(|| tombstone().map(|t| (t.id, t.expires)))
    }

    fn expect(&mut self, id: SessionId, expires: Timestamp) {
        self.expected.entry(expires.as_millis() / SPAN_MS).or_default().push(hash(id));
    }

    /// Adds everything to `sweeping` that may have expired by now.
    fn collect_expected(&mut self, now: Timestamp) {
        while let Some(entry) = self.expected.first_entry()
            && *entry.key() <= now.as_millis() / SPAN_MS
        {
            self.sweeping.append(&mut entry.remove());
        }
    }
}

/// Some of the subjects.
#[derive(Default)]
struct Subjects {
    by_name: HashMap<Subject, Entry>,
    /// Subjects with a revocation, once each, in the order in which to look whether its time is over.
    revoked: VecDeque<(Timestamp, Subject)>,
}

#[derive(Default)]
struct Entry {
    /// Sorted.
    ids: Vec<SessionId>,
    revocation: Option<Box<Revocation>>,
}

impl Subjects {
    fn add(&mut self, subject: &Subject, id: SessionId) {
        let entry = self.by_name.entry(subject.clone()).or_insert_with(|| Entry {
            // Most subjects have one session.
            ids: Vec::with_capacity(1),
            revocation: None,
        });
        if let Err(at) = entry.ids.binary_search(&id) {
            entry.ids.insert(at, id);
        }
    }

    fn remove(&mut self, subject: &Subject, id: SessionId) {
        let hash_map::Entry::Occupied(mut entry) = self.by_name.entry(subject.clone()) else { return };
        if let Ok(at) = entry.get().ids.binary_search(&id) {
            entry.get_mut().ids.remove(at);
        }
        if entry.get().ids.is_empty() && entry.get().revocation.is_none() {
            entry.remove();
        }
    }

    fn ids(&self, subject: &Subject, after: Option<SessionId>) -> Vec<SessionId> {
        let Some(entry) = self.by_name.get(subject) else { return Vec::new() };
        let from = after.map_or(0, |after| entry.ids.partition_point(|id| *id <= after));
        entry.ids[from..].to_vec()
    }

    fn note(&mut self, subject: &Subject, revocation: Revocation) {
        let noted = &mut self.by_name.entry(subject.clone()).or_default().revocation;
        match noted {
            // Of two revocations the later one stays, in whichever order they arrive: it means the sessions of both.
            Some(last) if revocation.at < last.at => {}
            Some(last) => **last = revocation,
            None => {
                *noted = Some(Box::new(revocation));
                self.revoked.push_back((revocation.at, subject.clone()));
            }
        }
    }

    /// Forgets the notes whose time is over.
    fn drop_revocations(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.revoked.front()
            && now.since(*at) >= REVOCATION_KEPT
            && let Some((_, subject)) = self.revoked.pop_front()
        {
            let hash_map::Entry::Occupied(mut entry) = self.by_name.entry(subject) else { continue };
            let last = entry.get().revocation.as_ref().map(|revocation| revocation.at);
            match last.filter(|last| now.since(*last) < REVOCATION_KEPT) {
                Some(last) => self.revoked.push_back((last, entry.key().clone())),
                None if entry.get().ids.is_empty() => drop(entry.remove()),
                None => entry.get_mut().revocation = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cloakroom_core::{Data, Lifetime, Secret, lifetime::Times, record::Authority};

    use super::*;
    use crate::store::EndReason;

    /// Bug: "sign out my other devices", pressed in a loop, grew without limit. Cause: each revocation took a place in the
    /// queue, though a subject has one note. Mend: so each subject has one place.
    #[test]
    fn a_subjects_revocations_take_one_place_however_many_there_are() {
        let (mut subjects, ada) = (Subjects::default(), Subject::new("ada").unwrap());
        let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        for seconds in 0..1_000 {
            let revocation = Revocation {
                at: at(seconds),
                except: None,
                reason: EndReason::Revoked,
                version: Version::from_write_id(seconds),
                tombstones_expire: at(seconds),
            };
            subjects.note(&ada, revocation);
        }
        assert_eq!(subjects.revoked.len(), 1);
        let day = REVOCATION_KEPT.as_secs();
        subjects.drop_revocations(at(day + 998));
        assert_eq!((subjects.revoked.len(), subjects.by_name.len()), (1, 1), "the last is younger");
        subjects.drop_revocations(at(day + 999));
        assert_eq!((subjects.revoked.len(), subjects.by_name.len()), (0, 0));
    }

    /// What is found without an answer is what a load finds, and nothing that it doesn't.
    #[test]
    fn a_session_is_found_exactly_where_a_load_finds_it() {
        let store = MemoryStore::new();
        let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        let record = |byte: u8, started| {
            let (id, version) = (SessionId::from_bytes([byte; 16]), Version::from_write_id(1));
            let authority = Authority::new(Secret::from_bytes([byte; 16]).verifier(&id));
            let times = Times::start(Lifetime::default(), started, started);
            Arc::new(Record { id, version, subject: None, authority, times, client: None, data: Data::new() })
        };
        let (old, ended, living) = (record(1, at(0)), record(2, at(100)), record(3, at(100)));
        for record in [&old, &ended, &living] {
            assert_eq!(store.insert(Arc::clone(record)).unwrap(), Written::Stored);
        }
        let (version, reason) = (Version::from_write_id(2), EndReason::Logout);
        let tombstone = Tombstone { id: ended.id, version, at: at(200), reason, expires: at(900) };
        assert_eq!(store.bury(tombstone, at(200), |_| true), Written::Stored);
        let is_found = |record: &Record, now| {
            let found = store.find(record.id, now).is_some();
            assert_eq!(found, matches!(store.look_up(record.id, now), Loaded::Found(_)));
            found
        };
        assert!(is_found(&old, at(200)) && !is_found(&ended, at(200)) && is_found(&living, at(200)));
        assert!(is_found(&old, at(1_799)) && !is_found(&old, at(1_800)), "expired is gone");
        assert!(store.end_started_before(at(50), at(200)).now().is_ok_and(|ended| ended.is_ok()));
        assert!(!is_found(&old, at(200)) && is_found(&living, at(200)));
    }
}
