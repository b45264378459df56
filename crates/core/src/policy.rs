//! What an application decides about its sessions.

use std::{borrow::Cow, time::Duration};

use crate::{Error, Lifetime};

/// The rules a session lives by. The defaults are what OWASP ASVS 5.0 asks of level 2.
///
/// ```
/// use cloakroom_core::{Lifetime, Policy};
///
/// let policy = Policy { lifetime: Lifetime::NIST_AAL3, ..Policy::default() };
/// policy.check()?;
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    /// Timeouts of new sessions. A single session can be given others.
    pub lifetime: Lifetime,
    /// How often an authenticated session's secret is replaced; never, by default. It must be longer than the longest
    /// time a response can take to reach the browser: [`Policy::check`] asks for twice the grace.
    pub rotation_period: Option<Duration>,
    /// How long a replaced secret is still served, and how long an ended session is remembered as ended. It must be
    /// longer than the longest time between a browser's sending a request and its arrival, plus the difference between
    /// the clocks of all nodes.
    pub grace: Duration,
    /// How far the clocks of all nodes may be apart. A login on one node that races with the end of its subject's
    /// sessions on another is told from a later one by their clocks: the end covers what arrived up to so much later,
    /// and waits as long before it returns, so that the next login isn't refused. Nothing by default, which is right for
    /// one machine; on several, a login may slip through that arrived within their difference before the end.
    pub clock_skew_max: Duration,
    /// Bytes that a session's data may take.
    pub record_bytes_max: usize,
    /// What stays of an anonymous session's data when its visitor logs in.
    pub carry_over: CarryOver,
}

/// What stays of an anonymous session's data at a login. What the library keeps for itself never stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CarryOver {
    /// Everything: a cart filled before logging in is still full.
    All,
    /// Only entries of these names.
    Only(Cow<'static, [Cow<'static, str>]>),
    /// Nothing.
    Nothing,
}

impl CarryOver {
    pub(crate) fn keeps(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|kept| kept == name),
            Self::Nothing => false,
        }
    }
}

impl Policy {
    /// Refuses settings that can't hold.
    ///
    /// # Errors
    /// [`Error::is_invalid`], with a message that says what to change.
    pub fn check(&self) -> Result<(), Error> {
        if self.grace < Duration::from_secs(1) {
            return Err(Error::invalid(
                "the grace is under one second: requests under way at a rotation would fail",
            ));
        }
        if self.grace > self.lifetime.idle() {
            return Err(Error::invalid("the grace is longer than the idle timeout"));
        }
        if self.clock_skew_max >= self.grace {
            return Err(Error::invalid(
                "the clocks may be further apart than the grace is long, which has to bear that and the way in",
            ));
        }
        if self.rotation_period.is_some_and(|period| period < 2 * self.grace) {
            return Err(Error::invalid(
                "the rotation period is under twice the grace: a response on its way could bring back a secret that \
                 was replaced twice, and look like a stolen one",
            ));
        }
        if !(64..=64 * 1024 * 1024).contains(&self.record_bytes_max) {
            return Err(Error::invalid("`record_bytes_max` lies between 64 bytes and 64 MiB"));
        }
        Ok(())
    }
}

/// 30 minutes idle and 24 hours absolute, no periodic rotation, one minute of grace, 16 KiB of data.
impl Default for Policy {
    fn default() -> Self {
        Self {
            lifetime: Lifetime::default(),
            rotation_period: None,
            grace: Duration::from_secs(60),
            clock_skew_max: Duration::ZERO,
            record_bytes_max: 16 * 1024,
            carry_over: CarryOver::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_break_rotation_are_refused() {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let policy = |rotation_period, grace| Policy { rotation_period, grace, ..Policy::default() }.check();
        assert!(policy(Some(minutes(2)), minutes(1)).is_ok());
        assert!(policy(Some(Duration::from_secs(119)), minutes(1)).unwrap_err().is_invalid());
        assert!(policy(None, Duration::ZERO).unwrap_err().is_invalid());
        assert!(policy(None, minutes(31)).unwrap_err().is_invalid());
        let clock_skew_max = minutes(1);
        assert!(Policy { clock_skew_max, ..Policy::default() }.check().unwrap_err().is_invalid());
    }
}
