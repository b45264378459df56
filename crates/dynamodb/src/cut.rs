//! The instant before which all sessions have ended, known to every process without asking each time.
//!
//! It stands in one item, which hardly ever changes and which every call needs. Reading it each time would double the
//! read units of a load and make it the hottest key of the table. Instead, what was read is good for a lease of
//! [`LEASE`], counted from before it was asked for; and who sets a later instant waits for longer than that before
//! answering, so that no call which begins after the answer can go by the earlier one.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use cloakroom::Timestamp;

/// How long a reading is good for.
pub(crate) const LEASE: Duration = Duration::from_millis(250);
/// How long a later instant is waited for: the lease, and more than clocks run apart in it.
pub(crate) const WAIT: Duration = Duration::from_millis(300);

/// What this process knows of the cut.
pub(crate) struct Cut(Mutex<Known>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    instant: Timestamp,
    /// When the last reading began.
    read: Option<Moment>,
    /// When somebody went to read it anew.
    asked: Option<Moment>,
}

/// An instant on both clocks: the steady one stands still while a machine sleeps, and the other can be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    steady: Instant,
    wall: SystemTime,
}

/// What is known at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is certain.
    Certain(Timestamp),
    /// It is certain, and won't be much longer: whoever gets this reads it anew, beside what it does.
    Ageing(Timestamp),
    /// It has to be read.
    Unknown,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// Whether less than `time` has passed since an earlier moment, on both clocks.
    fn is_within(self, time: Duration, since: Self) -> bool {
        let steady = self.steady.saturating_duration_since(since.steady) < time;
        steady && self.wall.duration_since(since.wall).is_ok_and(|passed| passed < time)
    }
}

impl Cut {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// What is certain.
    pub(crate) fn known(&self, now: Moment) -> Option<Timestamp> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.read.filter(|read| now.is_within(LEASE, *read)).map(|_| known.instant)
    }

    /// The same, for who can read it anew without waiting longer.
    pub(crate) fn look(&self, now: Moment) -> Look {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(read) = known.read.filter(|read| now.is_within(LEASE, *read)) else { return Look::Unknown };
        let is_asked = known.asked.is_some_and(|asked| now.is_within(LEASE / 2, asked));
        if is_asked || now.is_within(LEASE / 2, read) {
            return Look::Certain(known.instant);
        }
        known.asked = Some(now);
        Look::Ageing(known.instant)
    }

    /// Notes what was read, by a call that began at `read`. The instant only ever moves on.
    pub(crate) fn learn(&self, instant: Timestamp, read: Moment) -> Timestamp {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.instant = known.instant.max(instant);
        if known.read.is_none_or(|last| last.steady < read.steady) {
            known.read = Some(read);
        }
        known.instant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn later(moment: Moment, by: Duration) -> Moment {
        Moment { steady: moment.steady + by, wall: moment.wall + by }
    }

    #[test]
    fn a_reading_is_good_for_its_lease_and_renewed_by_one_call() {
        let (cut, start) = (Cut::new(), Moment::now());
        assert_eq!(cut.look(start), Look::Unknown);
        let instant = cut.learn(Timestamp::from_millis(7), start);
        assert_eq!(cut.look(later(start, LEASE / 2 - MS)), Look::Certain(instant));
        assert_eq!(cut.look(later(start, LEASE / 2)), Look::Ageing(instant));
        assert_eq!(cut.look(later(start, LEASE - MS)), Look::Certain(instant));
        assert_eq!(cut.look(later(start, LEASE)), Look::Unknown);
        assert!(WAIT > LEASE);
    }

    #[test]
    fn a_reading_is_not_trusted_over_a_sleep_or_a_clock_that_was_set() {
        let (cut, start) = (Cut::new(), Moment::now());
        cut.learn(Timestamp::ZERO, start);
        assert_eq!(cut.look(Moment { wall: start.wall + LEASE, ..start }), Look::Unknown);
        assert_eq!(cut.look(Moment { wall: start.wall - MS, ..start }), Look::Unknown);
        assert_eq!(cut.look(start), Look::Certain(Timestamp::ZERO));
    }

    #[test]
    fn late_answers_move_nothing_back() {
        let (cut, start) = (Cut::new(), Moment::now());
        cut.learn(Timestamp::from_millis(9), later(start, LEASE));
        assert_eq!(cut.learn(Timestamp::from_millis(3), start), Timestamp::from_millis(9));
        assert_eq!(cut.look(later(start, LEASE + LEASE / 4)), Look::Certain(Timestamp::from_millis(9)));
    }
}
