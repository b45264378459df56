//! A login, held against the revocations of its subject's sessions.

use cloakroom_core::{Record, SessionId, Subject};

use crate::{
    Error,
    change::CALLS_MAX,
    commit::Work,
    event::EventKind,
    store::{EndReason, Revocation, Revoke},
};

impl Work {
    /// A login races with a revocation of all the subject's sessions. The session is the subject's by now: either the
    /// revocation ended it with the others, or its note is found here, and the session is withdrawn before any cookie is sent.
    pub(crate) async fn confirm_login(&mut self, record: &Record) -> Result<(), Error> {
        let Some(subject) = &record.subject else { return Ok(()) };
        if let Some(revoke) = self.engine.store.revoke() {
            let refusal = match self.last_revocation(revoke, subject).await {
                Ok(Some(revocation)) if self.is_withdrawn(record.id, &revocation) => Some(Error::lost()),
                Ok(_) if self.intent.last().ends_others => {
                    self.engine.note_end(subject, Some(record.id)).await.err()
                }
                Ok(_) => None,
                Err(error) => Some(error),
            };
            if let Some(refusal) = refusal {
                return Err(self.withdraw(record, refusal).await);
            }
        }
        self.engine.tell(EventKind::Authenticated, Some(record.id), Some(subject));
        Ok(())
    }

    /// Whether a revocation covers a login: it counts from when its request arrived, by this node's clock, and the
    /// revocation from when it was made, by another's.
    fn is_withdrawn(&self, id: SessionId, revocation: &Revocation) -> bool {
        let until = revocation.at + self.engine.policy.clock_skew_max;
        until >= self.arrived && revocation.except != Some(id)
    }

    async fn last_revocation(
        &self,
        revoke: &dyn Revoke,
        subject: &Subject,
    ) -> Result<Option<Revocation>, Error> {
        let mut noted = revoke.last_revocation(subject, self.now).await;
        for _ in 1..CALLS_MAX {
            match noted {
                Err(error) if error.is_unavailable() => self.engine.tell_failure(&error),
                noted => return noted,
            }
            noted = revoke.last_revocation(subject, self.now).await;
        }
        noted
    }

    /// Ends a session that a login has just been given, before anybody holds its token.
    async fn withdraw(&self, record: &Record, refusal: Error) -> Error {
        let ended = match self.engine.tombstone(record.id, EndReason::Revoked, self.now) {
            Ok(tombstone) => self.engine.store.end(tombstone, None, self.now).await,
            Err(error) => Err(error),
        };
        match ended {
            // Of a store that fails nobody is to read that the session was revoked.
            Ok(_) if refusal.is_lost() => {
                let (id, subject) = (Some(record.id), record.subject.as_ref());
                self.engine.tell(EventKind::Ended(EndReason::Revoked), id, subject);
                refusal
            }
            Ok(_) => refusal,
            Err(error) => error,
        }
    }
}
