//! How long Memcached is told to keep things. It only clears away: what has expired is decided by the time each call is
//! told.

use std::time::{Duration, SystemTime};

use cloakroom::Timestamp;

/// Beyond the expiry: clocks of different machines may tell different times, and Memcached's own is a second coarse.
const MARGIN: Duration = Duration::from_secs(60);

/// Up to here a number of seconds is a span, and beyond it an instant.
const SPAN_S_MAX: u64 = 30 * 86_400;

/// What isn't written again in five years is gone.
const KEPT_S_MAX: u64 = 5 * 365 * 86_400;

/// Memcached's expiry time. It is never 0, which would mean for ever.
pub(crate) fn ttl(expires: Timestamp, now: Timestamp) -> i32 {
    let span = expires.since(now).saturating_add(MARGIN);
    let span_s = span.as_secs().saturating_add(1).min(KEPT_S_MAX);
    let exptime = if span_s <= SPAN_S_MAX { span_s } else { today_s().saturating_add(span_s) };
    i32::try_from(exptime).unwrap_or(i32::MAX)
}

/// By the clock of this machine: the time a call is told may be another one's, or a test's.
fn today_s() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_relative_up_to_thirty_days_and_instants_beyond() {
        let now = Timestamp::from_millis(5_000);
        let in_s = |seconds| ttl(now + Duration::from_secs(seconds), now);
        assert_eq!((in_s(0), in_s(100)), (61, 161));
        assert_eq!(ttl(Timestamp::ZERO, now), 61, "in the past");
        assert_eq!(u64::try_from(in_s(SPAN_S_MAX - 61)).unwrap(), SPAN_S_MAX);
        let first_instant = u64::try_from(in_s(SPAN_S_MAX - 60)).unwrap();
        assert!((SPAN_S_MAX..SPAN_S_MAX + 10).contains(&(first_instant - today_s())));
        let last = u64::try_from(ttl(Timestamp::from_millis(u64::MAX), now)).unwrap();
        assert!(last - today_s() <= KEPT_S_MAX + 10);
    }
}
