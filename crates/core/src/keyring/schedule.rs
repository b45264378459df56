//! Automatic rotation: what is due, from the ring and the time.

use std::time::Duration;

use super::{Key, KeyId, KeyRing, State};
use crate::{Error, Timestamp};

/// When keys change.
///
/// ```
/// use cloakroom_core::keyring::Schedule;
/// use std::time::Duration;
///
/// // Sessions live for a day at most.
/// let schedule = Schedule::for_lifetime(Duration::from_secs(24 * 3600))?;
/// assert_eq!(schedule.every(), Schedule::EVERY_DEFAULT);
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    every: Duration,
    publish_delay: Duration,
    lifetime_max: Duration,
}

impl Schedule {
    /// A new primary every 30 days.
    pub const EVERY_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
    /// A key is published an hour before it is used.
    pub const PUBLISH_DELAY_DEFAULT: Duration = Duration::from_secs(3600);

    /// A new primary `every` so often, published `publish_delay` before it is used. The delay is longer than any node
    /// takes to read the ring anew. `lifetime_max` is the longest that anything sealed can live: the absolute
    /// timeout, or the longest that any session is given.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the delay isn't shorter than the period, a duration is zero, or keys would pile up
    /// faster than they are removed.
    pub fn new(every: Duration, publish_delay: Duration, lifetime_max: Duration) -> Result<Self, Error> {
        if publish_delay.is_zero() || lifetime_max.is_zero() || publish_delay >= every {
            return Err(Error::invalid(
                "a key ring's schedule needs a longest lifetime, and a publish delay that is shorter than the period",
            ));
        }
        let living = lifetime_max.saturating_add(publish_delay).as_secs_f64() / every.as_secs_f64();
        if living > (KeyRing::KEYS_MAX - 4) as f64 {
            return Err(Error::invalid(
                "keys would be made faster than they can be removed: rotate less often, or shorten the longest lifetime",
            ));
        }
        Ok(Self { every, publish_delay, lifetime_max })
    }

    /// The default schedule for sessions that live this long at most.
    ///
    /// # Errors
    /// As [`Schedule::new`].
    pub fn for_lifetime(lifetime_max: Duration) -> Result<Self, Error> {
        Self::new(Self::EVERY_DEFAULT, Self::PUBLISH_DELAY_DEFAULT, lifetime_max)
    }

    /// The time from one primary to the next.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// How long a key is known before it is used.
    #[must_use]
    pub const fn publish_delay(&self) -> Duration {
        self.publish_delay
    }

    /// The longest that anything sealed lives.
    #[must_use]
    pub const fn lifetime_max(&self) -> Duration {
        self.lifetime_max
    }

    /// From when on a retiring key may be removed. A node may have gone on sealing with it for as long as it took to
    /// hear of the change, so the publish delay is added.
    #[must_use]
    pub fn removal(&self, retiring: &Key) -> Timestamp {
        retiring.since + self.lifetime_max + self.publish_delay
    }
}

/// A change to the ring that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a key and [publish](KeyRing::publish) it.
    Publish,
    /// [Promote](KeyRing::promote) the pending key.
    Promote(KeyId),
    /// [Remove](KeyRing::remove) a key that has retired.
    Remove(KeyId),
}

/// What is due now, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which to carry them out.
    pub steps: Vec<Step>,
    /// The first time at which another step is due, once these are done.
    pub next: Timestamp,
}

impl KeyRing {
    /// What a schedule wants done at this time. Publishing comes before promoting by the schedule's delay, so a new key
    /// is never published and promoted by one plan.
    ///
    /// ```
    /// use cloakroom_core::{Timestamp, keyring::{KeyId, KeyRing, Material, Schedule, Step}};
    /// use std::time::Duration;
    ///
    /// # let random = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ (i * i) as u8);
    /// let start = Timestamp::from_millis(0);
    /// let ring = KeyRing::new(KeyId::from_bytes([1; 4]), Material::new(random)?, start)?;
    /// let schedule = Schedule::for_lifetime(Duration::from_secs(24 * 3600))?;
    ///
    /// let plan = ring.plan(start, &schedule);
    /// assert!(plan.steps.is_empty());
    /// assert_eq!(ring.plan(plan.next, &schedule).steps, [Step::Publish]);
    /// # Ok::<(), cloakroom_core::Error>(())
    /// ```
    #[must_use]
    pub fn plan(&self, now: Timestamp, schedule: &Schedule) -> Plan {
        let mut steps = Vec::new();
        let mut next = Timestamp::from_millis(u64::MAX);
        let mut consider = |due: Timestamp, step: Step| match now < due {
            true => next = next.min(due),
            false => steps.push(step),
        };
        for key in self.keys.iter().filter(|key| key.state == State::Retiring) {
            consider(schedule.removal(key), Step::Remove(key.id));
        }
        match self.in_state(State::Pending) {
            Some(pending) => consider(pending.since + schedule.publish_delay, Step::Promote(pending.id)),
            None => consider(self.primary().since + (schedule.every - schedule.publish_delay), Step::Publish),
        }
        let after = match steps.last() {
            Some(Step::Publish) => now + schedule.publish_delay,
            Some(Step::Promote(_)) => now + (schedule.every - schedule.publish_delay),
            Some(Step::Remove(_)) | None => next,
        };
        Plan { steps, next: next.min(after) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Material;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn fresh(n: u32) -> (KeyId, Material) {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        (KeyId::from_bytes(n.to_be_bytes()), Material::new(bytes).unwrap())
    }

    fn carry_out(ring: &mut KeyRing, steps: &[Step], now: Timestamp, schedule: &Schedule, count: &mut u32) {
        for step in steps {
            match *step {
                Step::Publish => {
                    *count += 1;
                    let (id, material) = fresh(*count);
                    ring.publish(id, material, now).unwrap();
                }
                Step::Promote(id) => ring.promote(id, now, schedule).unwrap(),
                Step::Remove(id) => ring.remove(id, now, schedule).unwrap(),
            }
        }
    }

    #[test]
    fn a_year_of_automatic_rotation() {
        let schedule = Schedule::for_lifetime(DAY).unwrap();
        let (id, material) = fresh(u32::MAX);
        let (mut now, mut count) = (Timestamp::ZERO, 0);
        let mut ring = KeyRing::new(id, material, now).unwrap();
        while now < Timestamp::ZERO + 365 * DAY {
            let plan = ring.plan(now, &schedule);
            carry_out(&mut ring, &plan.steps, now, &schedule, &mut count);
            assert!(plan.next > now, "it never stands still");
            assert!(ring.keys().len() <= 3);
            now = plan.next;
        }
        assert_eq!(count, 12);
    }

    proptest! {
        /// Whatever the hours at which somebody looks, a plan can be carried out, and no key is ever removed while
        /// something that it sealed can live, nor promoted before it was published for long enough.
        #[test]
        fn plans_can_be_carried_out_and_never_hurry(
            gaps in proptest::collection::vec(0u32..4000, 1..60),
            every in 2u32..1000, delay in 1u32..100, lifetime in 1u32..3000,
        ) {
            let Ok(schedule) = Schedule::new(every * HOUR, delay * HOUR, lifetime * HOUR) else { return Ok(()) };
            let (id, material) = fresh(u32::MAX);
            let (mut now, mut count) = (Timestamp::ZERO, 0);
            let mut ring = KeyRing::new(id, material, now).unwrap();
            for gap in gaps {
                now = now + gap * HOUR;
                let before = ring.clone();
                let plan = ring.plan(now, &schedule);
                carry_out(&mut ring, &plan.steps, now, &schedule, &mut count);
                prop_assert!(plan.next > now);
                for key in before.keys() {
                    match (key.state(), ring.key(key.id()).map(Key::state)) {
                        (State::Pending, Some(State::Primary)) => prop_assert!(now.since(key.since()) >= delay * HOUR),
                        (State::Retiring, None) => prop_assert!(now.since(key.since()) >= lifetime * HOUR),
                        (before, after) => prop_assert!(after.is_some_and(|after| after == before
                            || (before, after) == (State::Primary, State::Retiring))),
                    }
                }
                prop_assert_eq!(ring.keys().filter(|key| key.state() == State::Primary).count(), 1);
                prop_assert_eq!(ring.plan(now, &schedule).steps, []);
            }
        }
    }

    /// Bug: a primary that others know couldn't be removed from a full ring. Cause: its replacement was added first. Mend:
    /// it is removed first, and a ring that can't be made stays as it was.
    #[test]
    fn a_compromised_primary_of_a_full_ring_is_replaced() {
        let schedule = Schedule::for_lifetime(DAY).unwrap();
        let (id, material) = fresh(u32::MAX);
        let mut now = Timestamp::ZERO;
        let mut ring = KeyRing::new(id, material.clone(), now).unwrap();
        assert!(ring.remove_compromised(id, (KeyId::from_bytes([7; 4]), material), now).is_err(), "the same");
        for n in 1..KeyRing::KEYS_MAX as u32 {
            let (id, material) = fresh(n);
            ring.publish(id, material, now).unwrap();
            now = now + HOUR;
            ring.promote(id, now, &schedule).unwrap();
        }
        let (old, (new, material)) = (ring.primary().id(), fresh(0x0100_0000));
        assert!(ring.remove_compromised(old, (old, material.clone()), now).is_err());
        assert_eq!(ring.primary().id(), old);
        ring.remove_compromised(old, (new, material), now).unwrap();
        assert_eq!((ring.primary().id(), ring.keys().len()), (new, KeyRing::KEYS_MAX));
        assert!(ring.key(old).is_none());
    }

    #[test]
    fn impossible_schedules_are_refused() {
        assert!(Schedule::new(HOUR, HOUR, DAY).is_err());
        assert!(Schedule::new(DAY, Duration::ZERO, DAY).is_err());
        assert!(Schedule::new(DAY, HOUR, Duration::ZERO).is_err());
        assert!(Schedule::new(DAY, HOUR, 60 * DAY).is_err());
        // Bug: it panicked. Cause: an overflow in the sum of two durations. Mend: a sum that stays at the largest.
        assert!(Schedule::new(DAY, HOUR, Duration::MAX).is_err());
    }
}
