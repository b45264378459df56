//! Where a request stands towards a session.

use std::{sync::Arc, time::Duration};

use crate::{AuthorityKeys, Record, Secret, Timestamp, lifetime::Times, record::Presented};

/// Where a request stands towards a session.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It presented no token, or one that means nothing here: it is anonymous, and may begin a session.
    Absent,
    /// It presented a secret that this record honours.
    Held {
        /// The record, as loaded.
        record: Arc<Record>,
        /// Which of its secrets was presented.
        seat: Seat,
    },
    /// The session lives, but the presented secret lost its authority: anonymous, and mustn't write or set a cookie,
    /// or it would overwrite the cookie that a login has just set.
    Superseded,
    /// The session ended a short while ago. As superseded, but an end counts as done.
    Ended,
    /// The store couldn't be asked, and the route may be served without a session.
    Degraded,
}

/// Which of a record's secrets a request presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// The current one.
    Current,
    /// Its successor, for the first time: it becomes the current one with the next stored change.
    Successor,
    /// One from a step-up, for the first time, and its place among those that are out. As for the successor.
    SteppedUp(u8),
    /// One that was replaced: served, never sent a cookie.
    Previous,
}

impl Standing {
    /// The standing of a request whose secret was looked up in a record. `None` if it was reused: the session must be
    /// revoked.
    #[must_use]
    pub fn of(record: Arc<Record>, presented: Presented) -> Option<Self> {
        let seat = match presented {
            Presented::Current => Seat::Current,
            Presented::Successor => Seat::Successor,
            Presented::SteppedUp(place) => Seat::SteppedUp(place),
            Presented::Previous => Seat::Previous,
            Presented::Reused => return None,
            Presented::Superseded => return Some(Self::Superseded),
            Presented::Unknown => return Some(Self::Absent),
        };
        Some(Self::Held { record, seat })
    }

    /// The standing of a request after its change met a conflict. It keeps its authority for as long as the record's
    /// epoch is that of `began`: rotations pass a slow request by, a login doesn't. Which secret is honoured is looked
    /// up again, for only the fresh record tells whether a cookie may still be sent.
    #[must_use]
    pub fn recheck(
        fresh: Arc<Record>,
        began: &Record,
        secret: &Secret,
        keys: Option<&AuthorityKeys>,
        grace: Duration,
        now: Timestamp,
    ) -> Self {
        if fresh.authority.epoch != began.authority.epoch {
            return Self::Superseded;
        }
        let seat = match fresh.authority.examine_under(keys, &fresh.id, secret, grace, now) {
            Presented::Current => Seat::Current,
            Presented::Successor => Seat::Successor,
            Presented::SteppedUp(place) => Seat::SteppedUp(place),
            Presented::Previous | Presented::Reused | Presented::Superseded | Presented::Unknown => {
                Seat::Previous
            }
        };
        Self::Held { record: fresh, seat }
    }

    /// When the session began, was last used and ends, as it is for this request: a step-up counts for who presents
    /// its secret, from the first time on. `None` without a session.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        let Self::Held { record, seat } = self else { return None };
        let stepped_up = match seat {
            Seat::SteppedUp(place) => record.authority.step_up(*place),
            Seat::Current | Seat::Successor | Seat::Previous => None,
        };
        Some(stepped_up.map_or(record.times, |step_up| record.times.stepped_up(step_up.started)))
    }
}

impl Seat {
    /// Whether the secret was handed out before, and is seen for the first time.
    pub(crate) fn is_new(self) -> bool {
        matches!(self, Self::Successor | Self::SteppedUp(_))
    }
}
