//! Random sequences of operations, each answer compared with that of a model: a map that can't be wrong.
//!
//! The sequences are the same in each run; `CLOAKROOM_STORE_TEST_SEED=7` in the environment makes others.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt::Write,
};

use cloakroom::store::{EndReason, Revocation, Store, Summary, Times, Tombstone, Written};
use cloakroom_core::{Lifetime, Record, SessionId, Subject, Timestamp, Version};

use super::listing::of;
use crate::{
    Harness,
    fixture::{self, MS, Random, T0, before, revocation, seconds, session, subject, tombstone},
    tested::{Seen, Tested},
};

/// Three thousand random operations on a few sessions, with time going on between them and stopping at the very edge
/// of timeouts.
pub async fn random_operations_agree_with_a_model<H: Harness>(harness: H) {
    Comparison::new(Tested::open(&harness).await, Extent::Sessions).run(3_000).await;
}

/// The same, with revocations.
pub async fn random_operations_with_revocations_agree_with_a_model<H: Harness>(harness: H) {
    Comparison::new(Tested::open(&harness).await, Extent::Revocations).run(3_000).await;
}

/// The same, with the index.
pub async fn random_operations_with_the_index_agree_with_a_model<H: Harness>(harness: H) {
    Comparison::new(Tested::open(&harness).await, Extent::Index).run(3_000).await;
}

/// Which operations there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Sessions,
    /// Also the end of a subject's sessions, by a store that may not be able to tell which.
    Revocations,
    Index,
}

/// A store and its model, side by side.
struct Comparison<S> {
    store: Tested<S>,
    extent: Extent,
    model: Model,
    random: Random,
    now: Timestamp,
    created: u64,
    /// The last operations, for the message of a failure.
    trace: VecDeque<String>,
}

/// Sessions that operations choose from: few, so that they meet.
const WINDOW: u64 = 8;

const SUBJECTS: [&str; 3] = ["a", "b", "B"];

impl<S: Store> Comparison<S> {
    fn new(store: Tested<S>, extent: Extent) -> Self {
        let random = Random::seeded(seed());
        Self { store, extent, model: Model::default(), random, now: T0, created: 0, trace: VecDeque::new() }
    }

    async fn run(mut self, operations: u32) {
        for _ in 0..operations {
            self.pass_time();
            let operations = match self.extent {
                Extent::Sessions => 25,
                Extent::Revocations => 27,
                Extent::Index => 30,
            };
            match self.random.below(operations) {
                0..6 => self.create().await,
                6..12 => self.replace().await,
                12..17 => self.touch().await,
                17..20 => self.end().await,
                20..22 => self.sweep().await,
                22..25 => {}
                25..27 if self.extent == Extent::Index => self.end_subject().await,
                25..27 => self.revoke().await,
                27 => self.end_started_before().await,
                _ => self.list().await,
            }
            self.compare().await;
        }
    }

    /// Mostly a little; now and then to the edge of the next session or tombstone to go, and seldom far beyond.
    fn pass_time(&mut self) {
        self.now = match self.random.below(40) {
            0..26 => self.now + self.random.below(3) as u32 * MS,
            26..35 => self.now + seconds(self.random.below(60)),
            35..39 => {
                let edge = self.model.next_edge(self.now).unwrap_or(self.now);
                (before(edge, MS) + self.random.below(3) as u32 * MS).max(self.now)
            }
            _ => self.now + seconds(self.random.below(5_000)),
        };
    }

    async fn create(&mut self) {
        let is_new = self.random.below(4) > 0;
        let n =
            if is_new { self.created } else { self.created.saturating_sub(1 + self.random.below(WINDOW)) };
        let times = Times::start(self.any_lifetime(), self.now, self.now);
        let record = Record { subject: self.any_subject(), times, ..session(n, self.now) };
        // The id of what is dead may be taken or free, as the store sweeps. Such ids never come again.
        if self.model.is_dead(record.id, self.now) {
            return;
        }
        self.created = self.created.max(n + 1);
        self.note(format!("create {n} for {:?}", record.subject));
        let answer = self.store.create(&record, self.now).await;
        let expected = self.model.create(record, self.now);
        self.same(answer, expected);
    }

    async fn replace(&mut self) {
        let id = self.any_id();
        let stored = self.model.living(id, self.now).cloned();
        let is_stale = self.random.below(4) == 0;
        let base = stored.unwrap_or_else(|| Record { id, ..session(0, self.now) });
        let expected = if is_stale { fixture::version() } else { base.version };
        let name = self.any_subject();
        let mut next = of(&base, name.as_ref().map(|name| name.as_str()));
        next.times.active = next.times.active.max(self.now);
        if self.random.below(3) == 0 {
            next.times = next.times.restart(self.any_lifetime(), self.now, self.now);
        }
        self.note(format!("replace {id} for {name:?}, {}", if is_stale { "stale" } else { "fresh" }));
        let answer = self.store.replace(&next, expected, self.now).await;
        let expected = self.model.replace(next, expected, self.now);
        self.same(answer, expected);
    }

    async fn touch(&mut self) {
        let id = self.any_id();
        let active = before(self.now, self.random.below(2_000) as u32 * MS);
        self.note(format!("touch {id}, active at {active:?}"));
        let answer = self.store.touch(id, active, self.now).await;
        let expected = self.model.touch(id, active, self.now);
        self.same(answer, expected);
    }

    async fn end(&mut self) {
        let id = self.any_id();
        let expected = match (self.random.below(3), self.model.living(id, self.now)) {
            (0, _) => None,
            (1, Some(record)) => Some(record.version),
            _ => Some(fixture::version()),
        };
        let reason = *self.random.pick(&[EndReason::Logout, EndReason::Replaced, EndReason::Reuse]);
        let expires = self.now + seconds(self.random.below(900));
        let left = Tombstone { reason, expires, ..tombstone(id, self.now) };
        self.note(format!("end {id} until {:?}, expecting {expected:?}", left.expires));
        let answer = self.store.end(left, expected, self.now).await;
        let expected = self.model.end(left, expected, self.now);
        self.same(answer, expected);
    }

    async fn sweep(&mut self) {
        let limit = 1 + self.random.below(6) as usize;
        self.note(format!("sweep {limit}"));
        let swept = self.store.sweep(self.now, limit).await;
        assert!(swept.expired.len() <= limit, "{} were removed{}", swept.expired.len(), self.story());
        for (id, owner) in swept.expired {
            let removed = self.model.remove_dead(id, self.now);
            let owner = removed.map(|record| record.subject == owner);
            assert_eq!(
                owner,
                Some(true),
                "{id} was swept, alive or twice or with another subject{}",
                self.story()
            );
        }
    }

    async fn end_subject(&mut self) {
        let name = *self.random.pick(&SUBJECTS);
        let except = (self.random.below(2) == 0).then(|| self.any_id());
        let revocation = revocation(self.now, except);
        self.note(format!("end_subject {name} but {except:?}"));
        let answer = self.store.end_subject(&subject(name), revocation, self.now).await;
        let expected = self.model.end_subject(name, revocation, self.now);
        self.same(answer, expected);
    }

    async fn revoke(&mut self) {
        let name = *self.random.pick(&SUBJECTS);
        let except = (self.random.below(2) == 0).then(|| self.any_id());
        let revocation = revocation(self.now, except);
        self.note(format!("end_subject {name} but {except:?}"));
        self.store.revoke_all(&subject(name), revocation, self.now).await;
        let ended = self.model.end_subject(name, revocation, self.now);
        self.model.revoked.extend(ended);
    }

    async fn end_started_before(&mut self) {
        let instant = before(self.now, seconds(self.random.below(3_000)));
        self.note(format!("end_started_before {instant:?}"));
        self.store.end_started_before(instant, self.now).await;
        self.model.cut(instant);
    }

    async fn list(&mut self) {
        let (name, limit) = (*self.random.pick(&SUBJECTS), 1 + self.random.below(5) as usize);
        let after = (self.random.below(2) == 0).then(|| self.any_id());
        self.note(format!("list {name} after {after:?}, at most {limit}"));
        let answer = self.store.page(&subject(name), after, limit, self.now).await;
        let mut expected = self.model.list(name, self.now);
        expected.retain(|summary| after.is_none_or(|after| summary.id > after));
        expected.truncate(limit);
        self.same(answer, expected);
    }

    /// Compares all that may have changed: every session in reach, every listing, every note.
    async fn compare(&mut self) {
        for n in self.created.saturating_sub(WINDOW)..=self.created {
            let id = fixture::id(n);
            let seen = self.store.load(id, self.now).await;
            let expected = self.model.load(id, self.now);
            // Whether the end of all also takes tombstones isn't laid down.
            let is_free = self.model.may_be_absent(id) && seen == Seen::Absent;
            // Nor does a store that can't enumerate have to tell of each session how it ended.
            let is_over = self.model.is_revoked(id) && !matches!(seen, Seen::Found(_));
            if !is_free && !is_over {
                self.same(seen, expected);
            }
        }
        for name in SUBJECTS {
            if self.extent == Extent::Index {
                let listed = self.store.list(&subject(name), self.now).await;
                self.same(listed, self.model.list(name, self.now));
            }
            if self.extent != Extent::Sessions {
                let noted = self.store.last_revocation(&subject(name), self.now).await;
                self.same(noted, self.model.last_revocation(name, self.now));
            }
        }
    }

    fn any_id(&mut self) -> SessionId {
        fixture::id(self.created.saturating_sub(self.random.below(WINDOW)))
    }

    /// Both ends come soon enough to be met.
    fn any_lifetime(&mut self) -> Lifetime {
        let idle = seconds(60 + self.random.below(600));
        Lifetime::new(idle, idle + seconds(self.random.below(600))).unwrap_or_default()
    }

    fn any_subject(&mut self) -> Option<Subject> {
        self.random.pick(&[Some("a"), Some("b"), Some("B"), None]).map(subject)
    }

    fn note(&mut self, operation: String) {
        if self.trace.len() == 30 {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:?}: {operation}", self.now));
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, store: T, model: T) {
        assert!(store == model, "the store says {store:?},\n the model {model:?}{}", self.story());
    }

    fn story(&self) -> String {
        let mut story = format!(",\n at {:?}, CLOAKROOM_STORE_TEST_SEED={}, after\n", self.now, seed());
        for operation in &self.trace {
            let _ = writeln!(story, "  {operation}");
        }
        story
    }
}

/// Fixed, so that runs are alike; another one can be given in the environment.
fn seed() -> u64 {
    std::env::var("CLOAKROOM_STORE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2_026)
}

/// What a store has to answer.
#[derive(Default)]
struct Model {
    sessions: HashMap<SessionId, Record>,
    tombstones: HashMap<SessionId, Tombstone>,
    /// Tombstones that were there when everything was ended.
    perhaps_cut: Vec<SessionId>,
    /// Sessions that ended with their subject's others, by a store that can't tell which they were.
    revoked: HashSet<SessionId>,
    notes: BTreeMap<&'static str, Revocation>,
    started_from: Timestamp,
}

impl Model {
    fn living(&self, id: SessionId, now: Timestamp) -> Option<&Record> {
        self.sessions
            .get(&id)
            .filter(|record| now < expires(record) && record.times.started >= self.started_from)
    }

    fn is_dead(&self, id: SessionId, now: Timestamp) -> bool {
        let is_expired = self.tombstones.get(&id).is_some_and(|left| now >= left.expires);
        is_expired
            || self.may_be_absent(id)
            || (self.sessions.contains_key(&id) && self.living(id, now).is_none())
    }

    fn is_revoked(&self, id: SessionId) -> bool {
        self.revoked.contains(&id)
    }

    fn may_be_absent(&self, id: SessionId) -> bool {
        self.perhaps_cut.contains(&id)
    }

    /// When the next session or tombstone expires.
    fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        let sessions = self.sessions.values().map(expires);
        let edges = sessions.chain(self.tombstones.values().map(|left| left.expires));
        edges.filter(|edge| *edge > now).min()
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Seen {
        match (self.living(id, now), self.tombstones.get(&id)) {
            (Some(record), _) => Seen::found(record),
            (None, Some(left)) if now < left.expires => Seen::Ended(*left),
            _ => Seen::Absent,
        }
    }

    fn create(&mut self, record: Record, _now: Timestamp) -> Written {
        if self.sessions.contains_key(&record.id) || self.tombstones.contains_key(&record.id) {
            return Written::Conflict;
        }
        self.sessions.insert(record.id, record);
        Written::Stored
    }

    fn replace(&mut self, record: Record, expected: Version, now: Timestamp) -> Written {
        match self.living(record.id, now) {
            None => Written::Gone,
            Some(stored) if stored.version != expected => Written::Conflict,
            Some(_) => {
                self.sessions.insert(record.id, record);
                Written::Stored
            }
        }
    }

    fn touch(&mut self, id: SessionId, active: Timestamp, now: Timestamp) -> Written {
        if self.living(id, now).is_none() {
            return Written::Gone;
        }
        if let Some(record) = self.sessions.get_mut(&id) {
            record.times.active = record.times.active.max(active);
        }
        Written::Stored
    }

    fn end(&mut self, left: Tombstone, expected: Option<Version>, now: Timestamp) -> Written {
        match self.living(left.id, now) {
            None => Written::Gone,
            Some(stored) if expected.is_some_and(|expected| stored.version != expected) => Written::Conflict,
            Some(_) => {
                self.sessions.remove(&left.id);
                self.tombstones.insert(left.id, left);
                Written::Stored
            }
        }
    }

    fn remove_dead(&mut self, id: SessionId, now: Timestamp) -> Option<Record> {
        if self.living(id, now).is_some() {
            return None;
        }
        self.sessions.remove(&id)
    }

    fn list(&self, name: &str, now: Timestamp) -> Vec<Summary> {
        let all = self.sessions.keys().filter_map(|id| self.living(*id, now));
        let own =
            all.filter(|record| record.subject.as_ref().is_some_and(|subject| subject.as_str() == name));
        let mut summaries: Vec<_> = own.map(Summary::of).collect();
        summaries.sort_by_key(|summary| summary.id);
        summaries
    }

    fn end_subject(&mut self, name: &'static str, revocation: Revocation, now: Timestamp) -> Vec<SessionId> {
        let listed = self.list(name, now).into_iter().map(|summary| summary.id);
        let ended: Vec<_> = listed.filter(|id| revocation.except != Some(*id)).collect();
        for id in &ended {
            let Revocation { at, reason, version, tombstones_expire: expires, .. } = revocation;
            self.sessions.remove(id);
            self.tombstones.insert(*id, Tombstone { id: *id, version, at, reason, expires });
        }
        self.notes.insert(name, revocation);
        ended
    }

    fn last_revocation(&self, name: &str, now: Timestamp) -> Option<Revocation> {
        self.notes.get(name).copied().filter(|note| now < note.at + seconds(86_400))
    }

    fn cut(&mut self, instant: Timestamp) {
        self.started_from = self.started_from.max(instant);
        self.perhaps_cut = self.tombstones.keys().copied().collect();
    }
}

/// The model's own reckoning, from the record's times.
fn expires(record: &Record) -> Timestamp {
    let idle_end = record.times.active + seconds(record.times.idle_s.into());
    if idle_end < record.times.end { idle_end } else { record.times.end }
}
