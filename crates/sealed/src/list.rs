//! The revocation list: which sealed cookies are refused, as every node holds it in memory.
//!
//! A cookie is refused if
//!
//! - its session ended, or its authority moved to another line of cookies since this one was issued;
//! - its subject's sessions were all ended since its login, which drew another epoch for the subject;
//! - it was made under another list: one that was lost, say, by a store that restarted without its data. Revocations
//!   are never forgotten by losing them;
//! - its session began before an instant: that is what the list falls back to when it overflows.
//!
//! Lines and epochs are random, and compared for equality alone: a holder can't count them up.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cloakroom::{
    SessionId, Subject, Timestamp,
    carrier::{Honour, Stamp},
};
use serde::{Deserialize, Serialize};

/// How far the clocks of two nodes may be apart for an overflow to leave no hole: a session seems to have begun later
/// than it ended, if the one node's clock is behind the other's.
pub(crate) const SKEW: Duration = Duration::from_secs(2);

/// One line of the list, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// Of this session, cookies of earlier lines, from an instant on, zero for at once; without a line, all, at once.
    #[serde(rename = "s")]
    Session { id: [u8; 16], line: Option<u64>, from: u64, at: u64, until: u64 },
    /// All of a subject's cookies whose login was under another epoch.
    #[serde(rename = "u")]
    Subject { name: String, epoch: u64, except: Option<Except>, at: u64, until: u64 },
}

/// The session that a subject's revocation spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Except {
    pub(crate) id: [u8; 16],
    /// The epoch its cookies carry; any, if all of the subject's sessions were alive before.
    pub(crate) epoch: Option<u64>,
}

impl Entry {
    /// When it was noted.
    pub(crate) fn at(&self) -> Timestamp {
        let (Self::Session { at, .. } | Self::Subject { at, .. }) = self;
        Timestamp::from_millis(*at)
    }

    /// Until when it counts: then the cookies that it refuses have expired.
    pub(crate) fn until(&self) -> Timestamp {
        let (Self::Session { until, .. } | Self::Subject { until, .. }) = self;
        Timestamp::from_millis(*until)
    }
}

/// The list in memory.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Which list this is; zero before one was found.
    pub(crate) id: u64,
    /// How long an ended session is told from one that never was.
    grace: Duration,
    sessions: HashMap<SessionId, Cuts>,
    subjects: HashMap<Subject, SubjectCut>,
    /// Sessions that began before this are refused.
    before: Timestamp,
    /// How many entries the log had that were taken in, ever.
    taken: u64,
    /// How many it is known to have had: a cookie may know of more.
    known: AtomicU64,
    expired_at: Timestamp,
}

/// What is refused of a session.
#[derive(Clone, Debug)]
struct Cuts {
    ended: bool,
    /// In the log's order. It rarely has more than one: a rotation whose grace isn't over, and a login.
    moves: Vec<Move>,
    at: Timestamp,
    until: Timestamp,
}

/// Cookies of all lines before this one are refused from an instant on.
#[derive(Clone, Copy, Debug)]
struct Move {
    line: u64,
    from: Timestamp,
}

#[derive(Clone, Debug)]
struct SubjectCut {
    epoch: u64,
    except: Option<Except>,
    at: Timestamp,
    until: Timestamp,
}

/// A session that a cookie presents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presented<'a> {
    pub(crate) id: SessionId,
    pub(crate) subject: Option<&'a Subject>,
    pub(crate) began: Timestamp,
    pub(crate) stamp: Stamp,
}

/// How many moves of a session are told apart at once. Of more, the earlier take effect too early.
pub(crate) const MOVES_MAX: usize = 8;

/// How often a list is searched for what has expired.
const EXPIRE_PERIOD: Duration = Duration::from_secs(10);

impl List {
    pub(crate) fn new(id: u64, grace: Duration) -> Self {
        Self { id, grace, ..Self::default() }
    }

    pub(crate) fn set_grace(&mut self, grace: Duration) {
        self.grace = grace;
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// An empty one, for what follows on this one.
    pub(crate) fn beyond(list: &Self) -> Self {
        Self { taken: list.taken, ..Self::new(list.id, list.grace) }
    }

    /// What a cookie still grants.
    pub(crate) fn honour(&self, session: &Presented<'_>, now: Timestamp) -> Honour {
        // What is refused for these has been dead for long: there is no login to mind.
        if session.stamp.list != self.id {
            return Honour::Absent;
        }
        if session.stamp.entries > self.taken {
            // Whoever issued it knew all that is known here, and more: so nothing here speaks against it.
            self.known.fetch_max(session.stamp.entries, Ordering::Relaxed);
            return Honour::Full;
        }
        if session.began < self.before {
            return Honour::Absent;
        }
        if let Some(cut) = session.subject.and_then(|subject| self.subjects.get(subject))
            && !cut.spares(session.id, session.stamp.epoch)
        {
            return self.ended(cut.at, now);
        }
        match self.sessions.get(&session.id) {
            None => Honour::Full,
            Some(cuts) if cuts.ended => self.ended(cuts.at, now),
            Some(cuts) => cuts.honour(session.stamp.line, now),
        }
    }

    fn ended(&self, at: Timestamp, now: Timestamp) -> Honour {
        if now > at + self.grace { Honour::Absent } else { Honour::Ended }
    }

    /// How many entries were taken in.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// How many entries the list must have.
    pub(crate) fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// The epoch that a login of this subject is under; none while all of the subject's are alive.
    pub(crate) fn epoch(&self, subject: &Subject) -> Option<u64> {
        self.subjects.get(subject).map(|cut| cut.epoch)
    }

    /// When the subject's sessions were last ended, and which one was spared.
    pub(crate) fn last_revocation(&self, subject: &Subject) -> Option<(Timestamp, Option<SessionId>)> {
        let cut = self.subjects.get(subject)?;
        Some((cut.at, cut.except.map(|except| SessionId::from_bytes(except.id))))
    }

    /// The exception to make for a session when all others of its subject are ended; `None` if this list doesn't
    /// tell.
    pub(crate) fn except(&self, subject: &Subject, id: SessionId) -> Option<Except> {
        let cut = self.subjects.get(subject)?;
        let epoch = match cut.except {
            Some(spared) if spared.id == *id.as_bytes() => spared.epoch,
            _ => Some(cut.epoch),
        };
        Some(Except { id: *id.as_bytes(), epoch })
    }

    /// Takes in the next entry of the log.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        let (at, until) = (entry.at(), entry.until());
        match entry {
            Entry::Session { id, line, from, .. } => {
                let none = || Cuts { ended: false, moves: Vec::new(), at, until };
                let cuts = self.sessions.entry(SessionId::from_bytes(*id)).or_insert_with(none);
                (cuts.at, cuts.until) = (cuts.at.max(at), cuts.until.max(until));
                match line {
                    Some(line) => cuts.add(Move { line: *line, from: Timestamp::from_millis(*from) }),
                    None => cuts.ended = true,
                }
            }
            Entry::Subject { name, epoch, except, .. } => {
                let Ok(subject) = Subject::new(name) else { return };
                let new = SubjectCut { epoch: *epoch, except: *except, at, until };
                let cut = self.subjects.entry(subject).or_insert_with(|| new.clone());
                *cut = SubjectCut { at: cut.at.max(at), until: cut.until.max(until), ..new };
            }
        }
    }

    /// Notes how many entries the log had so far, and from when on sessions must have begun.
    pub(crate) fn advance(&mut self, entries: u64, before: Timestamp) {
        self.taken = entries;
        self.known.fetch_max(entries, Ordering::Relaxed);
        if before <= self.before {
            return;
        }
        self.before = before;
        // What was noted well before, about sessions that began earlier still, says nothing more.
        self.sessions.retain(|_, cuts| cuts.at + SKEW >= before);
        self.subjects.retain(|_, cut| cut.at + SKEW >= before);
    }

    /// Forgets entries about cookies that have all expired, now and then.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        if now.since(self.expired_at) < EXPIRE_PERIOD {
            return;
        }
        self.expired_at = now;
        self.sessions.retain(|_, cuts| cuts.until > now);
        self.subjects.retain(|_, cut| cut.until > now);
        self.sessions.values_mut().for_each(|cuts| cuts.collapse(now));
    }
}

impl Cuts {
    fn honour(&self, line: u64, now: Timestamp) -> Honour {
        let own = self.moves.iter().rposition(|step| step.line == line).map_or(0, |at| at + 1);
        let later = &self.moves[own..];
        match later.last() {
            None => Honour::Full,
            Some(_) if later.iter().any(|step| now >= step.from) => Honour::Superseded,
            Some(last) => Honour::Fading(last.line),
        }
    }

    fn add(&mut self, new: Move) {
        self.moves.push(new);
        self.collapse(Timestamp::ZERO);
        while self.moves.len() > MOVES_MAX {
            let oldest = self.moves.remove(0);
            if let Some(next) = self.moves.first_mut() {
                next.from = next.from.min(oldest.from);
            }
        }
    }

    /// Leaves out what came before a move that is in effect: its line is as refused as one that was never heard of.
    fn collapse(&mut self, now: Timestamp) {
        if let Some(last) = self.moves.iter().rposition(|step| step.from <= now) {
            self.moves.drain(..last);
        }
    }
}

impl SubjectCut {
    fn spares(&self, id: SessionId, epoch: u64) -> bool {
        epoch == self.epoch
            || self.except.is_some_and(|except| {
                except.id == *id.as_bytes() && except.epoch.is_none_or(|carried| carried == epoch)
            })
    }
}
