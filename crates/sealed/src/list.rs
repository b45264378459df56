//! The revocation list: which sealed cookies are refused, as every node holds it in memory.
//!
//! A cookie is refused if
//!
//! - its session ended, or its generation is below the least valid one of its session;
//! - its subject's sessions were all ended since its login, which drew another epoch for the subject;
//! - it was made under another list: one that was lost, say, by a store that restarted without its data. Revocations
//!   are never forgotten by losing them.
//! - its session began before an instant: that is what the list falls back to when it overflows.

use std::{collections::HashMap, time::Duration};

use cloakroom::{
    SessionId, Subject, Timestamp,
    carrier::{Honour, Stamp},
};
use serde::{Deserialize, Serialize};

/// How far the clocks of two nodes may be apart for an overflow to leave no hole: a session seems to have begun later
/// than it ended, if the one node's clock is behind the other's.
const SKEW: Duration = Duration::from_secs(2);

/// One line of the list, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// Cookies of this session below a generation; from an instant on.
    #[serde(rename = "s")]
    Session { id: [u8; 16], least: Option<u32>, from: u64, at: u64, until: u64 },
    /// All of a subject's cookies whose login was under another epoch.
    #[serde(rename = "u")]
    Subject { name: String, epoch: u64, except: Option<Except>, at: u64, until: u64 },
    /// All cookies of sessions that began before this instant.
    #[serde(rename = "b")]
    Before { instant: u64 },
}

/// The session that a subject's revocation spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Except {
    pub(crate) id: [u8; 16],
    /// The epoch its cookies carry; any, if all of the subject's sessions were alive before.
    pub(crate) epoch: Option<u64>,
}

impl Entry {
    /// When it was noted; of a cut before an instant, that instant, for a later one says more.
    pub(crate) fn at(&self) -> Timestamp {
        match self {
            Self::Session { at, .. } | Self::Subject { at, .. } => Timestamp::from_millis(*at),
            Self::Before { instant } => Timestamp::from_millis(*instant),
        }
    }

    /// Until when it counts.
    pub(crate) fn until(&self) -> Timestamp {
        match self {
            Self::Session { until, .. } | Self::Subject { until, .. } => Timestamp::from_millis(*until),
            Self::Before { .. } => Timestamp::from_millis(u64::MAX),
        }
    }
}

/// The list in memory.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Which list this is; zero before one was found.
    pub(crate) id: u64,
    sessions: HashMap<SessionId, Cuts>,
    subjects: HashMap<Subject, SubjectCut>,
    /// Sessions that began before this are refused.
    before: Timestamp,
}

/// What is refused of a session. It rarely has more than one part: a rotation whose grace isn't over, and an end.
#[derive(Clone, Debug)]
struct Cuts {
    parts: Vec<Part>,
    at: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// Cookies of a lower generation are refused; none: all are.
    least: Option<u32>,
    from: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct SubjectCut {
    epoch: u64,
    except: Option<Except>,
    at: Timestamp,
    until: Timestamp,
    place: Place,
}

/// Where in the log an entry is: the segment's number and the entry's.
pub(crate) type Place = (u32, usize);

impl List {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len() + self.subjects.len()
    }

    /// What a cookie still grants.
    pub(crate) fn honour(&self, session: &Presented<'_>, now: Timestamp) -> Honour {
        if session.stamp.list != self.id || session.began < self.before {
            return Honour::Ended;
        }
        if let Some(cut) = session.subject.and_then(|subject| self.subjects.get(subject))
            && !cut.spares(session.id, session.stamp.epoch)
        {
            return Honour::Ended;
        }
        match self.sessions.get(&session.id) {
            None => Honour::Full,
            Some(cuts) => cuts.honour(session.stamp.generation, now),
        }
    }

    /// The epoch that a login of this subject is under; zero while there is none.
    pub(crate) fn epoch(&self, subject: &Subject) -> u64 {
        self.subjects.get(subject).map_or(0, |cut| cut.epoch)
    }

    /// When the subject's sessions were last ended, and which one was spared.
    pub(crate) fn last_revocation(&self, subject: &Subject) -> Option<(Timestamp, Option<SessionId>)> {
        let cut = self.subjects.get(subject)?;
        Some((cut.at, cut.except.map(|except| SessionId::from_bytes(except.id))))
    }

    /// The exception to make for a session when all others of its subject are ended.
    pub(crate) fn except(&self, subject: &Subject, id: SessionId) -> Except {
        let epoch = self.subjects.get(subject).and_then(|cut| match cut.except {
            Some(spared) if spared.id == *id.as_bytes() => spared.epoch,
            _ => Some(cut.epoch),
        });
        Except { id: *id.as_bytes(), epoch }
    }

    /// Takes in a segment's entries from this one on.
    pub(crate) fn apply_from(&mut self, entries: &[Entry], first: usize, segment: u32) {
        for (number, entry) in entries.iter().enumerate().skip(first) {
            self.apply(entry, (segment, number));
        }
    }

    /// Takes in the entry at this place of the log. Taking it in again, behind later ones, changes nothing.
    fn apply(&mut self, entry: &Entry, place: Place) {
        match entry {
            Entry::Session { id, least, from, at, until } => {
                let part = Part { least: *least, from: Timestamp::from_millis(*from) };
                let (at, until) = (Timestamp::from_millis(*at), Timestamp::from_millis(*until));
                let none = || Cuts { parts: Vec::with_capacity(1), at, until };
                let cuts = self.sessions.entry(SessionId::from_bytes(*id)).or_insert_with(none);
                (cuts.at, cuts.until) = (cuts.at.max(at), cuts.until.max(until));
                cuts.add(part);
            }
            Entry::Subject { name, epoch, except, at, until } => {
                let Ok(subject) = Subject::new(name) else { return };
                let (at, until) = (Timestamp::from_millis(*at), Timestamp::from_millis(*until));
                let new = SubjectCut { epoch: *epoch, except: *except, at, until, place };
                let known = self.subjects.entry(subject).or_insert(new);
                if known.place < place {
                    *known = new;
                }
            }
            Entry::Before { instant } => self.cut_before(Timestamp::from_millis(*instant)),
        }
    }

    /// Sessions that began before the instant are refused, whichever they are: so entries that were noted well before
    /// it, about sessions that began earlier still, say nothing more.
    fn cut_before(&mut self, instant: Timestamp) {
        self.before = self.before.max(instant);
        let before = self.before;
        self.sessions.retain(|_, cuts| cuts.at + SKEW >= before);
        self.subjects.retain(|_, cut| cut.at + SKEW >= before);
    }

    /// Whether an entry that was noted at this time still says something.
    pub(crate) fn counts(&self, at: Timestamp) -> bool {
        at + SKEW >= self.before
    }

    /// Forgets entries about cookies that have all expired.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.sessions.retain(|_, cuts| cuts.until > now);
        self.subjects.retain(|_, cut| cut.until > now);
    }

    /// The entry that makes room for half of the list, by a cut that is wider than what it replaces.
    pub(crate) fn coarser(&self, now: Timestamp) -> Entry {
        let sessions = self.sessions.values().map(|cuts| cuts.at);
        let mut times: Vec<_> = sessions.chain(self.subjects.values().map(|cut| cut.at)).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or(now);
        // One later, so that whatever was noted within the median's own millisecond goes as well.
        Entry::Before { instant: (median + SKEW).as_millis() + 1 }
    }
}

/// A session that a cookie presents.
pub(crate) struct Presented<'a> {
    pub(crate) id: SessionId,
    pub(crate) subject: Option<&'a Subject>,
    pub(crate) began: Timestamp,
    pub(crate) stamp: Stamp,
}

impl Cuts {
    fn honour(&self, generation: u32, now: Timestamp) -> Honour {
        let refusing = self.parts.iter().filter(|part| part.refuses(generation));
        let mut honour = Honour::Full;
        for part in refusing {
            match (now >= part.from, part.least) {
                (true, None) => return Honour::Ended,
                (true, Some(_)) => honour = Honour::Superseded,
                (false, Some(least)) if honour != Honour::Superseded => honour = Honour::Fading(least),
                (false, _) => {}
            }
        }
        honour
    }

    /// Parts that say no more than another one are left out.
    fn add(&mut self, new: Part) {
        if self.parts.iter().any(|part| part.covers(new)) {
            return;
        }
        self.parts.retain(|part| !new.covers(*part));
        self.parts.push(new);
    }
}

impl Part {
    fn refuses(self, generation: u32) -> bool {
        self.least.is_none_or(|least| generation < least)
    }

    fn covers(self, other: Self) -> bool {
        let refuses_more = match (self.least, other.least) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => ours >= theirs,
        };
        refuses_more && self.from <= other.from
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
