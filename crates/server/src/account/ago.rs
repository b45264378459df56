//! Points in time as people say them.

use std::fmt;
use std::time::{Duration, SystemTime};

/// How long ago something was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ago {
    at: SystemTime,
    elapsed: Duration,
}

impl Ago {
    /// A time after `now` (two machines' clocks never quite agree) counts as now.
    pub(crate) fn new(at: SystemTime, now: SystemTime) -> Self {
        Self { at, elapsed: now.duration_since(at).unwrap_or_default() }
    }

    /// The date and time of day, in GMT.
    pub(crate) fn exactly(&self) -> String {
        httpdate::fmt_http_date(self.at)
    }
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.elapsed.as_secs() / 60;
        let (count, unit) = match minutes {
            0 => return f.write_str("just now"),
            1..60 => (minutes, "minute"),
            60..1_440 => (minutes / 60, "hour"),
            _ => (minutes / 1_440, "day"),
        };
        write!(f, "{count} {unit}{} ago", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit_that_fits() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (elapsed_s, said) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3_599, "59 minutes ago"),
            (3_600, "1 hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "1 day ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(Ago::new(at, at + Duration::from_secs(elapsed_s)).to_string(), said);
        }
        assert_eq!(Ago::new(at + Duration::from_secs(5), at).to_string(), "just now");
        assert_eq!(Ago::new(at, at).exactly(), "Sun, 09 Sep 2001 01:46:40 GMT");
    }
}
