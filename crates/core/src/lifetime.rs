//! How long a session lives.

use std::time::Duration;

use crate::{Error, Timestamp};

/// A session's two timeouts. Both are enforced on the server, from the record; the cookie's own expiry is a courtesy.
///
/// ```
/// use cloakroom_core::Lifetime;
/// use std::time::Duration;
///
/// assert_eq!(Lifetime::default().idle(), Duration::from_secs(30 * 60));
/// let remembered = Lifetime::new(Duration::from_secs(14 * 86_400), Duration::from_secs(90 * 86_400))?;
/// assert!(Lifetime::new(Duration::from_secs(60), Duration::from_secs(30)).is_err());
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    idle_s: u32,
    absolute_s: u32,
}

impl Lifetime {
    /// NIST SP 800-63B-4, AAL1: reauthentication at least every 30 days; no idle timeout is asked for, so it is as
    /// long.
    pub const NIST_AAL1: Self = Self { idle_s: 30 * 86_400, absolute_s: 30 * 86_400 };

    /// NIST SP 800-63B-4, AAL2: 24 hours, one hour idle.
    pub const NIST_AAL2: Self = Self { idle_s: 3_600, absolute_s: 86_400 };

    /// NIST SP 800-63B-4, AAL3: 12 hours, 15 minutes idle.
    pub const NIST_AAL3: Self = Self { idle_s: 15 * 60, absolute_s: 12 * 3_600 };

    /// Timeouts in whole seconds: `idle` without activity, `absolute` from the session's creation or last
    /// authentication.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if one is under a second or over 136 years, or `idle` is longer than `absolute`.
    pub fn new(idle: Duration, absolute: Duration) -> Result<Self, Error> {
        let seconds =
            |duration: Duration| u32::try_from(duration.as_secs()).ok().filter(|seconds| *seconds > 0);
        let (Some(idle_s), Some(absolute_s)) = (seconds(idle), seconds(absolute)) else {
            return Err(Error::invalid("a timeout is at least one second and at most 136 years long"));
        };
        if idle_s > absolute_s {
            return Err(Error::invalid(format!(
                "the idle timeout ({idle_s} s) is longer than the absolute timeout ({absolute_s} s): it would never \
                 take effect; shorten the one or lengthen the other"
            )));
        }
        Ok(Self { idle_s, absolute_s })
    }

    /// The time without activity after which a session has ended.
    #[must_use]
    pub const fn idle(self) -> Duration {
        Duration::from_secs(self.idle_s as u64)
    }

    /// The time after creation or the last authentication at which a session ends, however active.
    #[must_use]
    pub const fn absolute(self) -> Duration {
        Duration::from_secs(self.absolute_s as u64)
    }
}

/// 30 minutes idle, 24 hours absolute.
impl Default for Lifetime {
    fn default() -> Self {
        Self { idle_s: 30 * 60, absolute_s: 86_400 }
    }
}

/// The times a record keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the session was created.
    pub created: Timestamp,
    /// When it was created or last authenticated, whichever is later.
    pub started: Timestamp,
    /// The last activity that was stored.
    pub active: Timestamp,
    /// The absolute end.
    pub end: Timestamp,
    /// The idle timeout, in seconds.
    pub idle_s: u32,
}

impl Times {
    /// A session that starts now.
    #[must_use]
    pub fn start(lifetime: Lifetime, started: Timestamp, now: Timestamp) -> Self {
        let end = started + lifetime.absolute();
        Self { created: started, started, active: now, end, idle_s: lifetime.idle_s }
    }

    /// The same session, authenticated now: both timeouts begin again.
    #[must_use]
    pub fn restart(self, lifetime: Lifetime, started: Timestamp, now: Timestamp) -> Self {
        Self { created: self.created, ..Self::start(lifetime, started, now) }
    }

    /// The same session with other timeouts, counted from the same start.
    #[must_use]
    pub fn extend(self, lifetime: Lifetime) -> Self {
        Self { end: self.started + lifetime.absolute(), idle_s: lifetime.idle_s, ..self }
    }

    /// The same session, authenticated anew at this time, with timeouts as long as before.
    pub(crate) fn stepped_up(self, started: Timestamp) -> Self {
        Self { started, ..self }.extend(self.lifetime())
    }

    /// The first instant at which the session is no longer alive, if nothing is stored until then.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.active.plus_seconds(self.idle_s).min(self.end)
    }

    /// The lifetime these times follow.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let absolute_s = u32::try_from(self.end.since(self.started).as_secs()).unwrap_or(u32::MAX);
        Lifetime { idle_s: self.idle_s, absolute_s }
    }

    /// Whether activity should be stored: a thirtieth of the idle timeout has passed since it last was. So the idle
    /// timeout that a user sees lies between idle − idle/30 and idle, and is never longer than stated.
    #[must_use]
    pub fn is_touch_due(&self, now: Timestamp) -> bool {
        let passed_ms = now.as_millis().saturating_sub(self.active.as_millis());
        passed_ms.saturating_mul(30) >= u64::from(self.idle_s) * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_000_000);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a7_3_1_idle_ends_at_the_boundary_and_not_a_second_earlier() {
        let times = Times::start(Lifetime::default(), T0, T0);
        assert_eq!(times.expires(), T0 + seconds(1_800));
        let touched = Times { active: T0 + seconds(1_799), ..times };
        assert_eq!(touched.expires(), T0 + seconds(1_799 + 1_800));
    }

    #[test]
    fn a7_3_2_activity_never_moves_the_absolute_end() {
        let times = Times::start(Lifetime::default(), T0, T0);
        let touched = Times { active: T0 + seconds(86_399), ..times };
        assert_eq!(touched.expires(), T0 + seconds(86_400));
    }

    #[test]
    fn n_aal_presets_are_those_of_sp_800_63b() {
        let hours = |lifetime: Lifetime| {
            (lifetime.idle().as_secs_f64() / 3_600.0, lifetime.absolute().as_secs() / 3_600)
        };
        assert_eq!(hours(Lifetime::NIST_AAL1), (720.0, 720));
        assert_eq!(hours(Lifetime::NIST_AAL2), (1.0, 24));
        assert_eq!(hours(Lifetime::NIST_AAL3), (0.25, 12));
    }

    #[test]
    fn n_reauth_restarts_both_timeouts() {
        let times = Times::start(Lifetime::default(), T0, T0);
        let later = T0 + seconds(80_000);
        let again = times.restart(Lifetime::default(), later, later);
        assert_eq!(
            (again.created, again.end, again.expires()),
            (T0, later + seconds(86_400), later + seconds(1_800))
        );
    }

    #[test]
    fn touches_are_due_once_a_thirtieth_of_the_idle_timeout() {
        let times = Times::start(Lifetime::default(), T0, T0);
        assert!(!times.is_touch_due(T0 + Duration::from_millis(59_999)));
        assert!(times.is_touch_due(T0 + seconds(60)));
        assert!(!times.is_touch_due(Timestamp::ZERO));
        assert!(times.is_touch_due(Timestamp::from_millis(u64::MAX)));
        let short = Times { idle_s: 1, ..times };
        assert!(!short.is_touch_due(T0 + Duration::from_millis(33)));
        assert!(short.is_touch_due(T0 + Duration::from_millis(34)));
    }
}
