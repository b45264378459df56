//! One node's copy of the revocation list, and how it follows the log.
//!
//! A log that goes on from what was seen of it is followed. One that is shorter, is another, or has a part missing that
//! must be there, lost entries: its store restarted without its last writes, or fell back to a replica. What they said
//! is nowhere any more, so another list begins, and all cookies of the lost one are refused.

use std::{collections::VecDeque, time::Duration};

use cloakroom::{Error, Timestamp};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::RwLock;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    draft::{Draft, Noted, Wish},
    list::{Entry, List, SKEW},
    log::{Head, Log, Room, Segment, random},
};

/// The list in memory, and how much of the log is in it.
pub(crate) struct Replica {
    pub(crate) log: Log,
    pub(crate) list: RwLock<List>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When the head was last asked for that is taken in.
    asked: Option<Instant>,
    list: u64,
    /// What is taken in of the segment of this number; of those before it, all.
    number: u32,
    taken: Vec<Entry>,
    /// Oldest first.
    archived: VecDeque<Archived>,
    /// Whether the segment before this one wasn't there.
    is_missing: bool,
    /// A list that is loaded in the place of another, or of none. What was loaded of it stays if its store is slow.
    building: Option<List>,
}

/// An archived segment that was taken in.
#[derive(Clone, Copy, Debug)]
struct Archived {
    number: u32,
    offset: u64,
    /// Until when it counts, or one before it.
    until: Timestamp,
    /// When the latest entry up to its end was noted.
    at: Timestamp,
}

/// Whether the log went on from what was seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    Whole,
    Lost,
}

/// How many segments are loaded at once.
const LOADS_AT_ONCE: usize = 16;

/// How often a list that was lost is replaced, before the next attempt is left to later.
const ATTEMPTS_MAX: u32 = 4;

impl Replica {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, list: RwLock::default(), seen: Mutex::default() }
    }

    /// Asks for what was added until now, and takes it in. `None` if somebody who asked later has done so: of many who
    /// log in at once, few ask.
    pub(crate) async fn catch_up(&self, now: Timestamp) -> Result<Option<Head>, Error> {
        let asked = Instant::now();
        let mut seen = self.seen.lock().await;
        if seen.asked.is_some_and(|later| later >= asked) {
            return Ok(None);
        }
        self.refresh(&mut seen, now).await.map(Some)
    }

    async fn refresh(&self, seen: &mut Seen, now: Timestamp) -> Result<Head, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let asked = Instant::now();
            // What was known before the head was asked for must be in it.
            let (list, known) = {
                let list = self.list.read();
                (list.id, list.known())
            };
            let head = self.log.head(now).await?;
            let is_shorter = head.segment.list == list && head.segment.count() < known;
            if !is_shorter && self.follow(seen, &head.segment, now).await? == Followed::Whole {
                seen.asked = Some(asked);
                return Ok(head);
            }
            tracing::error!(
                target: "cloakroom",
                "the revocation list lost entries: every sealed session ends, for one may have been revoked"
            );
            self.log.begin_anew(&head, now).await?;
        }
        Err(Error::unavailable("the revocation list can't be read", "its store loses what it acknowledged"))
    }

    /// Notes what is wished, in one append, and takes it in. `None` if another node's came first.
    pub(crate) async fn append(
        &self,
        wishes: &[&Wish],
        entries_max: usize,
        now: Timestamp,
    ) -> Result<Option<Vec<Noted>>, Error> {
        let head = {
            let mut seen = self.seen.lock().await;
            self.refresh(&mut seen, now).await?
        };
        let epochs = wishes.iter().map(|_| random()).collect::<Result<Vec<_>, _>>()?;
        let (noted, entries): (Vec<_>, _) = {
            let list = self.list.read();
            let mut draft = Draft::new(&list, now);
            let noted = wishes.iter().zip(epochs).map(|(wish, epoch)| draft.add(wish, epoch)).collect();
            (noted, draft.entries)
        };
        if entries.is_empty() {
            return Ok(Some(noted));
        }
        let room = self.room(&head.segment, entries.len(), entries_max, now).await;
        let Some(head) = self.log.append(&head, entries, room, now).await? else { return Ok(None) };
        let mut seen = self.seen.lock().await;
        // If another list took its place meanwhile, there is nothing to take in.
        if seen.list == head.segment.list {
            self.follow(&mut seen, &head.segment, now).await?;
        }
        Ok(Some(noted))
    }

    /// The room for so many entries more: what has expired is left out, and of a log that is full the older half.
    async fn room(&self, head: &Segment, added: usize, entries_max: usize, now: Timestamp) -> Room {
        let mut seen = self.seen.lock().await;
        while seen.archived.front().is_some_and(|archived| archived.until <= now) {
            seen.archived.pop_front();
        }
        let archived = &seen.archived;
        // How many entries are left without so many segments. Another node may have gone on since the head was loaded.
        let held = |skipped: usize| {
            let offset = archived.get(skipped).map_or(head.offset, |first| first.offset);
            usize::try_from(head.count().saturating_sub(offset)).unwrap_or(usize::MAX)
        };
        let (mut skipped, mut before) = (0, Timestamp::from_millis(head.before));
        if held(0) + added > entries_max {
            while skipped < archived.len() && held(skipped) > entries_max / 2 {
                // One later, so that whatever was noted within that entry's own millisecond goes as well.
                before = before.max(archived[skipped].at + SKEW + Duration::from_millis(1));
                skipped += 1;
            }
            tracing::warn!(target: "cloakroom", "the revocation list is full: older sessions are ended to make room");
        }
        Room { first: archived.get(skipped).map_or(head.number, |first| first.number), before }
    }

    /// Takes in what a head adds to what was seen, in the log's order. An older head than was seen adds nothing.
    async fn follow(&self, seen: &mut Seen, head: &Segment, now: Timestamp) -> Result<Followed, Error> {
        if seen.list != head.list {
            if seen.list != 0 {
                tracing::error!(target: "cloakroom", "the revocation list is another one: every sealed session has ended");
            }
            *seen = Seen { list: head.list, number: head.first, ..Seen::default() };
            seen.building = Some(List::new(head.list, Duration::ZERO));
        }
        if (head.number, head.entries.len()) < (seen.number, seen.taken.len()) {
            return Ok(if seen.building.is_none() { Followed::Whole } else { Followed::Lost });
        }
        if seen.number < head.first {
            // What was missed says nothing any more.
            (seen.number, seen.is_missing) = (head.first, false);
            seen.taken.clear();
        }
        while seen.number < head.number {
            let numbers = (seen.number..head.number).take(LOADS_AT_ONCE);
            let loads = stream::iter(numbers).map(|number| self.log.archived(head.list, number, now));
            let loaded: Vec<_> = loads.buffered(LOADS_AT_ONCE).try_collect().await?;
            // From here to the next load there is no await: what is in memory and what was seen change together.
            for archived in loaded {
                if self.take(seen, archived.as_ref(), now) == Followed::Lost {
                    return Ok(Followed::Lost);
                }
            }
        }
        if self.take_entries(seen, head, now) == Followed::Lost {
            return Ok(Followed::Lost);
        }
        if seen.taken.len() < head.entries.len() {
            seen.taken.clone_from(&head.entries);
        }
        while seen.archived.front().is_some_and(|archived| archived.number < head.first) {
            seen.archived.pop_front();
        }
        let mut list = self.list.write();
        if let Some(mut built) = seen.building.take() {
            built.set_grace(list.grace());
            *list = built;
        }
        list.advance(head.count(), Timestamp::from_millis(head.before));
        list.expire(now);
        Ok(Followed::Whole)
    }

    fn take(&self, seen: &mut Seen, archived: Option<&Segment>, now: Timestamp) -> Followed {
        if let Some(segment) = archived {
            if self.take_entries(seen, segment, now) == Followed::Lost {
                return Followed::Lost;
            }
            let before = seen.archived.back().map_or(Timestamp::ZERO, |before| before.at);
            let at = segment.entries.iter().map(Entry::at).max().unwrap_or(Timestamp::ZERO);
            let (number, offset, until) = (segment.number, segment.offset, segment.until());
            seen.archived.push_back(Archived { number, offset, until, at: at.max(before) });
        } else {
            seen.is_missing = true;
        }
        seen.number += 1;
        seen.taken.clear();
        Followed::Whole
    }

    /// Takes in what a segment adds to what was seen of it; if all before it is there that must be.
    fn take_entries(&self, seen: &mut Seen, segment: &Segment, now: Timestamp) -> Followed {
        let is_lost = seen.is_missing && Timestamp::from_millis(segment.previous_until) > now;
        if is_lost || !segment.entries.starts_with(&seen.taken) {
            return Followed::Lost;
        }
        seen.is_missing = false;
        let new = &segment.entries[seen.taken.len()..];
        if !new.is_empty() {
            match &mut seen.building {
                Some(list) => new.iter().for_each(|entry| list.apply(entry)),
                None => {
                    let mut list = self.list.write();
                    new.iter().for_each(|entry| list.apply(entry));
                }
            }
        }
        Followed::Whole
    }
}
