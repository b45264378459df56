//! What a change of a session asks of the list.

use std::time::Duration;

use cloakroom::{
    Error, Timestamp,
    carrier::{Change, Cut},
};

use super::SealedSessions;
use crate::{
    draft::{Becoming, SessionWish, Wish},
    list::SKEW,
    log::random,
    node::Node,
};

impl SealedSessions {
    /// For how long cookies may live on that are issued until every node has heard that they mustn't.
    pub(super) fn kept(&self, node: &Node, idle_s: u32) -> Duration {
        Duration::from_secs(idle_s.into()) + node.settings().stale_after + SKEW
    }

    /// The same, of sessions of which nothing is known.
    pub(super) fn kept_at_most(&self) -> Result<Duration, Error> {
        Ok(self.bound()?.lifetime_max + SKEW)
    }

    /// From when a login counts that arrived at this time: a revocation covers what arrived up to the clocks' difference
    /// later.
    pub(super) fn counted_from(&self, arrived: Timestamp) -> Result<Timestamp, Error> {
        let skew_ms = u64::try_from(self.bound()?.clock_skew_max.as_millis()).unwrap_or(u64::MAX);
        Ok(Timestamp::from_millis(arrived.as_millis().saturating_sub(skew_ms)))
    }

    pub(super) fn wish(&self, node: &Node, cut: &Cut) -> Result<Wish, Error> {
        let Cut { session, stamp, change } = cut;
        let (change, idle_s) = match change {
            Change::End => (Becoming::Ended, session.times.idle_s),
            Change::Move { from, record, arrived, ends_others } => {
                let subject = record.subject.clone().filter(|_| session.subject.is_none());
                let (line, from) = (random()?.max(1), from.unwrap_or(Timestamp::ZERO));
                let arrived = self.counted_from(*arrived)?;
                let joins = subject.map(|subject| (subject, arrived));
                let others = record.subject.clone().filter(|_| *ends_others);
                let ends_others = others.map(|subject| Ok::<_, Error>((subject, self.kept_at_most()?)));
                let ends_others = ends_others.transpose()?;
                let idle_s = session.times.idle_s.max(record.times.idle_s);
                (Becoming::Moved { line, from, joins, ends_others }, idle_s)
            }
        };
        Ok(Wish::Session(Box::new(SessionWish {
            id: session.id,
            subject: session.subject.clone(),
            began: session.times.created,
            stamp: *stamp,
            change,
            kept: self.kept(node, idle_s),
        })))
    }
}
