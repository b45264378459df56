//! How the revocation list is kept.

use std::{borrow::Cow, time::Duration};

use cloakroom::Error;

/// How a node keeps its copy of the revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSettings {
    /// The list's name in its store; `default` by default. Applications that share a store need lists of different
    /// names, or each ends the other's sessions.
    pub name: Cow<'static, str>,
    /// How often the list is asked for what was added; 25 milliseconds by default. A revocation takes effect on every
    /// node within this time and that of one answer of the store; while the store is slow, within `stale_after`. A store
    /// that tells of changes (Redis, PostgreSQL) is asked every eighth of `stale_after` instead, for as long as it does.
    pub poll_period: Duration,
    /// How long a node may be out of touch with the list before it answers 503; 2 seconds by default. It is the bound
    /// that always holds.
    pub stale_after: Duration,
    /// How many revocations are held, 100,000 by default, about 150 bytes each; at least 16. When there are more, every
    /// session that began before the later half of them is ended: too many, never too few.
    pub entries_max: usize,
}

impl Default for ListSettings {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("default"),
            poll_period: Duration::from_millis(25),
            stale_after: Duration::from_secs(2),
            entries_max: 100_000,
        }
    }
}

impl ListSettings {
    /// Refuses settings with which no session would be honoured, or none could be revoked.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.poll_period.is_zero() || self.stale_after < 2 * self.poll_period {
            return Err(Error::invalid(
                "a revocation list is polled every `poll_period`, at least twice within `stale_after`: with these settings \
                 it would be out of date most of the time",
            ));
        }
        if self.stale_after > STALE_AFTER_MAX {
            return Err(Error::invalid(
                "`stale_after` is over a day: a node could honour revoked sessions for as long",
            ));
        }
        if !(ENTRIES_MIN..=ENTRIES_MAX).contains(&self.entries_max) {
            return Err(Error::invalid("`entries_max` lies between 16 and ten million"));
        }
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return Err(Error::invalid("a revocation list's name has 1 to 255 bytes"));
        }
        Ok(())
    }

    /// How many entries make a segment of the log full. A list that is full gives up whole segments.
    pub(crate) fn segment_entries(&self) -> usize {
        (self.entries_max / 16).clamp(1, SEGMENT_ENTRIES_MAX)
    }
}

const STALE_AFTER_MAX: Duration = Duration::from_secs(86_400);
const ENTRIES_MIN: usize = 16;
const ENTRIES_MAX: usize = 10_000_000;
const NAME_BYTES_MAX: usize = 255;

/// The head is loaded again and again, so it is kept small.
pub(crate) const SEGMENT_ENTRIES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cant_work_are_refused() {
        let ms = Duration::from_millis;
        let settings = ListSettings::default;
        settings().check().unwrap();
        let refused = [
            ListSettings { poll_period: ms(0), ..settings() },
            ListSettings { stale_after: ms(0), ..settings() },
            ListSettings { stale_after: ms(25), ..settings() },
            ListSettings { stale_after: 2 * STALE_AFTER_MAX, ..settings() },
            ListSettings { entries_max: 0, ..settings() },
            ListSettings { entries_max: usize::MAX, ..settings() },
            ListSettings { name: "".into(), ..settings() },
        ];
        for settings in refused {
            assert!(settings.check().unwrap_err().is_invalid(), "{settings:?}");
        }
    }
}
