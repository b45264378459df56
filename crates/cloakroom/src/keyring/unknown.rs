//! Key ids that somebody presented and the ring doesn't have: looked for once, however many are made up.

use std::{collections::VecDeque, time::Duration};

use cloakroom_core::keyring::KeyId;
use tokio::time::Instant;

/// The shortest time between two reads that unknown ids cause, for anybody can make up ids.
const READ_PERIOD_MIN: Duration = Duration::from_secs(1);
/// How long an id that wasn't found when the ring was last read counts as unknown without another look.
const SETTLED_FOR: Duration = Duration::from_secs(30);
/// The most ids that are remembered.
const IDS_MAX: usize = 256;
/// While more ids than that are presented, those there is no room for go by a ring that was read so recently. A key is
/// published for far longer before anything names it.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// What is known of unknown ids.
#[derive(Default)]
pub(super) struct Unknown {
    /// Since when: the ring is yet to be read after that.
    open: VecDeque<(KeyId, Instant)>,
    /// Not in a ring that was read after they were met.
    settled: VecDeque<(KeyId, Instant)>,
    last_read: Option<Instant>,
    last_good_read: Option<Instant>,
    pub(super) is_reading: bool,
}

/// What an id that the ring doesn't have turned out to be.
pub(super) enum Met {
    /// Nobody's key.
    NoKey,
    /// That will be known when the ring has been read, which is under way.
    BeingRead,
    /// The same; who asked is to read it.
    ToBeRead { after: Duration },
}

impl Unknown {
    pub(super) fn meet(&mut self, id: KeyId, now: Instant) -> Met {
        if self.settled.iter().any(|(settled, at)| *settled == id && now.duration_since(*at) < SETTLED_FOR) {
            return Met::NoKey;
        }
        let is_fresh = self.last_good_read.is_some_and(|read| now.duration_since(read) < FRESH_FOR);
        let is_crowded = self.open.len() == IDS_MAX;
        if !is_crowded && !self.open.iter().any(|(open, _)| *open == id) {
            self.open.push_back((id, now));
        }
        if self.is_reading {
            // Made-up ids mustn't keep everybody waiting whose key is gone.
            return if is_crowded && is_fresh { Met::NoKey } else { Met::BeingRead };
        }
        self.is_reading = true;
        let since = |read| READ_PERIOD_MIN.saturating_sub(now.duration_since(read));
        Met::ToBeRead { after: self.last_read.map_or(Duration::ZERO, since) }
    }

    pub(super) fn begin_read(&mut self, began: Instant) {
        self.last_read = Some(began);
    }

    /// The ring was read: what was met before that and isn't in it need not be looked for again.
    pub(super) fn end_read(&mut self, began: Instant) {
        self.last_good_read = Some(began);
        self.settled.iter_mut().for_each(|(_, at)| *at = began);
        while let Some((id, _)) = self.open.front().copied().filter(|(_, at)| *at <= began) {
            self.open.pop_front();
            if self.settled.len() == IDS_MAX {
                self.settled.pop_front();
            }
            self.settled.push_back((id, began));
        }
    }

    #[cfg(test)]
    pub(super) fn is_bounded(&self) -> bool {
        self.open.len() <= IDS_MAX && self.settled.len() <= IDS_MAX
    }
}
