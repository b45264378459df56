//! Sessions by whom they belong to.

use std::{fmt, sync::Arc, time::Duration};

use cloakroom_core::{SessionId, Subject, Timestamp};

use crate::{
    Error, Sessions,
    event::EventKind,
    sessions::Engine,
    store::{EndReason, Loaded, Revocation, Summary},
};

/// How long a revocation waits at most for the clock of arrivals, whose ticks are 10 ms apart at most. A machine that
/// was held up, or whose clock was set back, isn't waited for.
const TICK_MS_MAX: u32 = 100;

/// The sessions of a subject: to list them, or to end them all.
#[derive(Clone)]
pub struct Subjects {
    pub(crate) engine: Arc<Engine>,
}

impl Subjects {
    /// The subject's living sessions, ordered by id, at most `limit` of those whose id is greater than `after`.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails.
    pub async fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Summary>, Error> {
        let listing = self.engine.index()?.list(subject, after, limit, self.engine.now());
        self.engine.call(listing).await
    }

    /// Ends the subject's sessions but for `except`: log out everywhere, or everywhere else. It holds before this
    /// returns, also for a login that is in progress; so one in the same request is refused, and
    /// [`Session::login_ending_others`](crate::Session::login_ending_others) is for that. Several machines' clocks are
    /// compared here: see [`Policy::clock_skew_max`](crate::Policy::clock_skew_max). Answers which sessions were ended.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails; then some may have been ended.
    pub async fn end(&self, subject: &Subject, except: Option<SessionId>) -> Result<Vec<SessionId>, Error> {
        // A store with an index can tell which it ended.
        Ok(self.engine.end_subject(subject, except).await?.unwrap_or_default())
    }

    /// Ends one of the subject's sessions; `false` if it isn't theirs, or isn't alive.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails.
    pub async fn end_one(&self, subject: &Subject, id: SessionId) -> Result<bool, Error> {
        let now = self.engine.now();
        let loaded = self.engine.call(self.engine.store.load(id, now)).await?;
        let Loaded::Found(record) = loaded else { return Ok(false) };
        if record.subject.as_ref() != Some(subject) {
            return Ok(false);
        }
        Sessions { engine: Arc::clone(&self.engine) }.end(id).await
    }

    /// Ends every session that was created or last authenticated before this instant, whosever it is.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails.
    pub async fn end_started_before(&self, instant: Timestamp) -> Result<(), Error> {
        let now = self.engine.now();
        self.engine.call(self.engine.index()?.end_started_before(instant, now)).await?;
        if instant <= now {
            self.engine.wait_until_later_than(instant).await;
        }
        Ok(())
    }
}

/// The end of all of a subject's sessions: log out everywhere, on a store that may not be able to tell where.
///
/// ```
/// use cloakroom::{MemoryStore, Sessions, Subject};
///
/// # async fn demo() -> Result<(), cloakroom::Error> {
/// let sessions = Sessions::builder(MemoryStore::new()).build()?;
/// let revocations = sessions.revocations()?;
/// revocations.end(&Subject::new("user-1815")?, None).await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(demo()).unwrap();
/// ```
#[derive(Clone)]
pub struct Revocations {
    pub(crate) engine: Arc<Engine>,
}

impl Revocations {
    /// As [`Subjects::end`], and `None` if the store can't tell which sessions were ended.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails; then some may have been ended.
    pub async fn end(
        &self,
        subject: &Subject,
        except: Option<SessionId>,
    ) -> Result<Option<Vec<SessionId>>, Error> {
        self.engine.end_subject(subject, except).await
    }
}

impl Engine {
    pub(crate) async fn end_subject(
        &self,
        subject: &Subject,
        except: Option<SessionId>,
    ) -> Result<Option<Vec<SessionId>>, Error> {
        let (ended, at) = self.note_end(subject, except).await?;
        self.wait_until_later_than(at + self.policy.clock_skew_max).await;
        Ok(ended)
    }

    /// As [`Engine::end_subject`], at once, and when it was: a login elsewhere within the clocks' difference is withdrawn.
    pub(crate) async fn note_end(
        &self,
        subject: &Subject,
        except: Option<SessionId>,
    ) -> Result<(Option<Vec<SessionId>>, Timestamp), Error> {
        let now = self.now();
        let revocation = Revocation {
            at: now,
            except,
            reason: EndReason::Revoked,
            version: self.version()?,
            tombstones_expire: now + self.policy.grace,
        };
        let ended = self.call(self.revoke()?.end_subject(subject, revocation, now)).await?;
        match &ended {
            Some(ids) => {
                for id in ids {
                    self.tell(EventKind::Ended(EndReason::Revoked), Some(*id), Some(subject));
                }
            }
            None => self.tell(EventKind::Ended(EndReason::Revoked), None, Some(subject)),
        }
        Ok((ended, now))
    }

    /// A login that arrived, by the clock that arrivals are noted with, when the revocation was made is withdrawn. One
    /// that is sent when this has returned must not be.
    async fn wait_until_later_than(&self, revoked: Timestamp) {
        let skew = self.policy.clock_skew_max;
        if !skew.is_zero() {
            tokio::time::sleep(skew).await;
        }
        let mut last = revoked;
        for _ in 0..TICK_MS_MAX {
            if self.just_now() > revoked {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            let now = self.now();
            if now == last {
                // This clock stands still until a test moves it.
                return;
            }
            last = now;
        }
    }
}

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subjects").field("store", &self.engine.store.kind()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("store", &self.engine.store.kind()).finish_non_exhaustive()
    }
}
