//! The engine: a store, the rules, and what they share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloakroom_core::{Policy, SessionId, Subject, Timestamp, Version, cookie::CookiePolicy};
use tokio::sync::Mutex;

use crate::{
    Builder, Error, Revocations, Subjects,
    authentic::Keyed,
    carrier::Carrier,
    clock::Sources,
    deadline::within,
    event::{EventKind, Listeners},
    exchange::{Exchange, SiteData},
    keys::{KeyTypes, Used},
    store::{Answer, EndReason, Index, Revoke, Store, Tombstone, Written},
    sweep,
};

/// An application's sessions: a store, a policy and a cookie. Cheap to clone; one for each application.
///
/// ```
/// use cloakroom::{Lifetime, MemoryStore, Sessions};
///
/// let sessions = Sessions::builder(MemoryStore::new()).lifetime(Lifetime::NIST_AAL2).build()?;
/// # Ok::<(), cloakroom::Error>(())
/// ```
///
/// An adapter such as `cloakroom-tower` gives each request's handler its [`Session`](crate::Session).
#[derive(Clone)]
pub struct Sessions {
    pub(crate) engine: Arc<Engine>,
}

pub(crate) struct Engine {
    pub(crate) store: Box<dyn Store>,
    pub(crate) policy: Policy,
    /// What the policy allows, and the cookie has room for.
    pub(crate) data_bytes_max: usize,
    /// What it has room for whatever it is; less than that, where how much fits depends on the data.
    pub(crate) data_bytes_sure: usize,
    /// Whether sessions travel in their cookies.
    pub(crate) is_carried: bool,
    /// Whether the store answers every call at once.
    pub(crate) is_immediate: bool,
    pub(crate) cookie: CookiePolicy,
    pub(crate) deadline: Duration,
    pub(crate) sources: Sources,
    pub(crate) listeners: Listeners,
    pub(crate) keys: KeyTypes,
    pub(crate) keyed: Option<Keyed>,
    pub(crate) refuses_lost_changes: bool,
    pub(crate) clear_site_data: Option<SiteData>,
    pub(crate) sweep_period: Duration,
    /// Where commits line up that met a conflict, by session: one that waits its turn meets no other from this
    /// process, so it needs one more attempt and not one for each of its rivals.
    pub(crate) queues: Box<[Mutex<()>]>,
    pub(crate) is_sweeping: AtomicBool,
}

pub(crate) const QUEUES: usize = 64;

impl Sessions {
    /// Sessions in this store, with the defaults of [`Policy`] and [`CookiePolicy`].
    pub fn builder(store: impl Store) -> Builder {
        Builder::new(store)
    }

    /// Begins one request's exchange; for adapters, as soon as the request arrives. It costs no store call.
    #[must_use]
    pub fn begin(&self) -> Exchange {
        Exchange::new(&self.engine)
    }

    /// The rules these sessions live by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.engine.policy
    }

    /// The store they are kept in.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.engine.store
    }

    /// The time, as these sessions' clock tells it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// Ends one session, wherever it is in use. Answers whether there was a living one.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails.
    pub async fn end(&self, id: SessionId) -> Result<bool, Error> {
        let now = self.now();
        let tombstone = self.engine.tombstone(id, EndReason::Revoked, now)?;
        let written = self.engine.call(self.store().end(tombstone, None, now)).await?;
        if written == Written::Stored {
            self.engine.tell(EventKind::Ended(EndReason::Revoked), Some(id), None);
        }
        Ok(written == Written::Stored)
    }

    /// What can be asked of sessions by their subject. Ask for it when the application starts: a store that can't
    /// enumerate is found out then, and not when somebody opens the list of their devices.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] if the store can't enumerate. To log out everywhere, [`Sessions::revocations`] may be
    /// enough.
    pub fn subjects(&self) -> Result<Subjects, Error> {
        self.engine.index()?;
        Ok(Subjects { engine: Arc::clone(&self.engine) })
    }

    /// The end of all of a subject's sessions, which stores offer too that can't enumerate. Ask for it when the
    /// application starts, so that a store that can't is found out then.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] if the store can't end sessions by their subject.
    pub fn revocations(&self) -> Result<Revocations, Error> {
        self.engine.revoke()?;
        Ok(Revocations { engine: Arc::clone(&self.engine) })
    }

    /// Removes up to `limit` sessions that have expired, and answers whether there may be more. This runs by itself,
    /// in the background, from the first request on.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails.
    pub async fn sweep(&self, limit: usize) -> Result<bool, Error> {
        sweep::once(&self.engine, limit).await
    }

    /// Waits until the store has kept what it accepted, and closes it, however long that takes. For the end of the
    /// program, when no request is under way.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails.
    pub async fn close(&self) -> Result<(), Error> {
        self.store().close().await.inspect_err(|error| self.engine.tell_failure(error))
    }
}

impl Engine {
    pub(crate) fn now(&self) -> Timestamp {
        self.sources.clock.now()
    }

    /// A moment ago, which costs next to nothing.
    pub(crate) fn just_now(&self) -> Timestamp {
        self.sources.clock.just_now()
    }

    /// Whether nobody ever has to wait for a session to be loaded.
    pub(crate) fn loads_at_once(&self) -> bool {
        self.is_immediate || self.is_carried
    }

    pub(crate) fn carrier(&self) -> Option<&dyn Carrier> {
        if self.is_carried { self.store.carrier() } else { None }
    }

    pub(crate) fn version(&self) -> Result<Version, Error> {
        let mut write_id = [0; 8];
        self.sources.entropy.fill(&mut write_id)?;
        Ok(Version::from_write_id(u64::from_le_bytes(write_id)))
    }

    pub(crate) fn tombstone(
        &self,
        id: SessionId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Tombstone, Error> {
        Ok(Tombstone { id, version: self.version()?, at: now, reason, expires: now + self.policy.grace })
    }

    /// Where the commits of a session line up.
    pub(crate) fn queue(&self, id: SessionId) -> &Mutex<()> {
        &self.queues[usize::from(id.as_bytes()[9]) % QUEUES]
    }

    /// Waits for a store's answer until the deadline, and tells of a failure.
    pub(crate) async fn call<T>(&self, answer: Answer<'_, T>) -> Result<T, Error> {
        let result = match answer.now() {
            Ok(result) => result,
            Err(answer) => within(self.deadline, self.store.kind(), answer).await,
        };
        if let Err(error) = &result {
            self.tell_failure(error);
        }
        result
    }

    /// As [`Engine::call`], of a store that [is immediate](Store::is_immediate).
    #[inline]
    pub(crate) fn call_at_once<T>(&self, answer: Answer<'_, T>) -> Result<T, Error> {
        let waits = |_| Err(Error::invalid("a store that calls itself immediate made its caller wait"));
        let result = answer.now().unwrap_or_else(waits);
        if let Err(error) = &result {
            self.tell_failure(error);
        }
        result
    }

    pub(crate) fn tell(&self, kind: EventKind, session: Option<SessionId>, subject: Option<&Subject>) {
        self.listeners.tell(kind, session, subject, || self.now());
    }

    /// Looks at a value that is to be stored.
    pub(crate) fn look_at(
        &self,
        used: Option<&Used>,
        name: &str,
        json: &[u8],
    ) -> Result<(), cloakroom_core::Error> {
        if let Some(looks_like) = self.keys.admit_value(used, name, json)? {
            self.tell(EventKind::Suspicious { name: name.to_owned(), looks_like }, None, None);
        }
        Ok(())
    }

    pub(crate) fn tell_failure(&self, error: &Error) {
        self.tell(EventKind::StoreFailed { cause: error.cause(), error: format!("{error:?}") }, None, None);
    }

    /// Starts sweeping in the background, unless it is under way, where there is a runtime to do it in.
    pub(crate) fn start_sweeping(self: &Arc<Self>) {
        if !self.is_sweeping.load(Ordering::Relaxed) {
            sweep::in_background(self);
        }
    }

    pub(crate) fn index(&self) -> Result<&dyn Index, Error> {
        self.store.index().ok_or_else(|| {
            Error::unsupported(format!(
                "the {} store can't list a subject's sessions: choose a store that can, or do without the list",
                self.store.kind()
            ))
        })
    }

    pub(crate) fn revoke(&self) -> Result<&dyn Revoke, Error> {
        self.store.revoke().ok_or_else(|| {
            Error::unsupported(format!(
                "the {} store can't end sessions by their subject: choose a store that can, or do without",
                self.store.kind()
            ))
        })
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (store, policy) = (self.engine.store.kind(), &self.engine.policy);
        f.debug_struct("Sessions").field("store", &store).field("policy", policy).finish_non_exhaustive()
    }
}
