//! What of a store's operations means something where sessions are in their cookies.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    carrier::Carrier,
    store::{Answer, EndReason, Finding, Loaded, Revocation, Revoke, Store, Swept, Tombstone, Written},
};

use super::SealedSessions;
use crate::draft::Wish;

impl Store for SealedSessions {
    fn kind(&self) -> &'static str {
        "sealed"
    }

    /// Only the browser has it.
    fn load(&self, _: SessionId, _: Timestamp) -> Answer<'_, Loaded> {
        Answer::ready(Ok(Loaded::Absent))
    }

    fn create(&self, _: Arc<Record>, _: Timestamp) -> Answer<'_, Written> {
        Answer::ready(Err(in_cookies()))
    }

    fn replace(&self, _: Arc<Record>, _: Version, _: Timestamp) -> Answer<'_, Written> {
        Answer::ready(Err(in_cookies()))
    }

    fn touch(&self, _: SessionId, _: Timestamp, _: Timestamp) -> Answer<'_, Written> {
        Answer::ready(Err(in_cookies()))
    }

    /// Whether there was a living session can't be told: it is ended if there was.
    fn end(&self, tombstone: Tombstone, _: Option<Version>, _: Timestamp) -> Answer<'_, Written> {
        let Some(node) = &self.node else { return Answer::ready(Err(irrevocable())) };
        Answer::later(async move {
            let kept = self.kept_at_most()?;
            node.revoke(Wish::Id { id: tombstone.id, kept }).await?;
            Ok(Written::Stored)
        })
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        let Some(node) = &self.node else { return Answer::ready(Ok(Swept::default())) };
        Answer::later(async move {
            let is_more = node.store().sweep(now, limit).await?.is_more;
            // What expired there is parts of the list, and no session.
            Ok(Swept { expired: Vec::new(), is_more })
        })
    }

    /// Without a list there is no way, and asking for one fails.
    fn revoke(&self) -> Option<&dyn Revoke> {
        self.node.as_ref().map(|_| self as &dyn Revoke)
    }

    fn carrier(&self) -> Option<&dyn Carrier> {
        Some(self)
    }

    /// Of the list's store: the sessions themselves are nowhere.
    fn diagnose(&self, now: Timestamp) -> Answer<'_, Vec<Finding>> {
        let Some(node) = &self.node else {
            let message = "there is no list: a copy of a cookie stays good after a logout, until it expires";
            return Answer::ready(Ok(vec![Finding::warning("revocations", message)]));
        };
        node.store().diagnose(now)
    }

    fn close(&self) -> Answer<'_, ()> {
        self.node.as_ref().map_or_else(|| Answer::ready(Ok(())), |node| node.close())
    }
}

impl Revoke for SealedSessions {
    /// Which sessions these are, only their browsers know.
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        _: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let Some(node) = &self.node else { return Answer::ready(Err(irrevocable())) };
        let (subject, Revocation { at, except, .. }) = (subject.clone(), revocation);
        Answer::later(async move {
            let kept = self.kept_at_most()?;
            node.revoke(Wish::Subject { subject, except, at, kept }).await?;
            Ok(None)
        })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let Some(node) = &self.node else { return Answer::ready(Ok(None)) };
        let noted = node.check(now).map(|()| node.last_revocation(subject));
        Answer::ready(noted.map(|noted| {
            let (at, except) = noted.filter(|(at, _)| now.since(*at) < NOTES_KEPT)?;
            let version = Version::from_write_id(0);
            Some(Revocation { at, except, reason: EndReason::Revoked, version, tombstones_expire: at })
        }))
    }
}

/// How long a revocation is told to logins in progress.
const NOTES_KEPT: Duration = Duration::from_secs(86_400);

fn in_cookies() -> Error {
    Error::unsupported("sealed sessions are in their cookies: there is nothing to store them in")
}

pub(super) fn irrevocable() -> Error {
    Error::unsupported(
        "these sealed sessions have no revocation list, so none can be ended before it expires",
    )
}
