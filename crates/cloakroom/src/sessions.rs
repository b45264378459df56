//! The engine: a store, the rules, and what they share.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use cloakroom_core::{Lifetime, Policy, SessionId, Subject, Timestamp, Version, cookie::CookiePolicy};
use tokio::sync::Mutex;

use crate::{
    Error,
    authentic::Keyed,
    carrier::Carrier,
    clock::{Clock, Entropy, Sources},
    deadline::within,
    event::{EventKind, Listeners, Subscriber},
    exchange::Exchange,
    keyring::LiveRing,
    keys::KeyTypes,
    store::{Answer, EndReason, Index, Revocation, Revoke, Store, Summary, Tombstone, Written},
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
    pub(crate) sweep_period: Duration,
    /// Where commits line up that met a conflict, by session: one that waits its turn meets no other from this
    /// process, so it needs one more attempt and not one for each of its rivals.
    queues: Box<[Mutex<()>]>,
    sweeping: OnceLock<()>,
}

const QUEUES: usize = 64;

/// How long a revocation waits at most for the clock of arrivals, whose ticks are 10 ms apart at most. A machine that
/// was held up, or whose clock was set back, isn't waited for.
const TICK_MS_MAX: u32 = 100;

/// Browsers keep a cookie for 400 days at most (RFC 6265bis, section 5.5).
const UNKEYED_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

impl Sessions {
    /// Sessions in this store, with the defaults of [`Policy`] and [`CookiePolicy`].
    pub fn builder(store: impl Store) -> Builder {
        Builder {
            store: Box::new(store),
            policy: Policy::default(),
            cookie: CookiePolicy::default(),
            deadline: Duration::from_secs(5),
            sources: Sources::default(),
            listeners: Listeners::default(),
            refuses_lost_changes: true,
            sweep_period: Duration::from_secs(10),
            ring: None,
            unkeyed_until: Timestamp::ZERO,
        }
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

    /// Waits until the store has kept what it accepted, and closes it. For the end of the program, when no request is
    /// under way.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails.
    pub async fn close(&self) -> Result<(), Error> {
        self.engine.call(self.store().close()).await
    }
}

/// The sessions of a subject: to list them, or to end them all.
#[derive(Clone)]
pub struct Subjects {
    engine: Arc<Engine>,
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
    /// returns, also for a login that is in progress. Answers which sessions were ended.
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
        let crate::store::Loaded::Found(record) = loaded else { return Ok(false) };
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
    engine: Arc<Engine>,
}

impl Revocations {
    /// Ends the subject's sessions but for `except`: log out everywhere, or everywhere else. It holds before this
    /// returns, also for a login that is in progress. Answers which sessions were ended, or `None` if the store can't
    /// tell.
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

/// Settings of [`Sessions`].
#[must_use = "nothing is built before `build`"]
pub struct Builder {
    store: Box<dyn Store>,
    policy: Policy,
    cookie: CookiePolicy,
    deadline: Duration,
    sources: Sources,
    listeners: Listeners,
    refuses_lost_changes: bool,
    sweep_period: Duration,
    ring: Option<LiveRing>,
    unkeyed_until: Timestamp,
}

impl Builder {
    /// The rules sessions live by.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The timeouts of new sessions.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.policy.lifetime = lifetime;
        self
    }

    /// The cookie's name, scope and flags.
    pub fn cookie(mut self, cookie: CookiePolicy) -> Self {
        self.cookie = cookie;
        self
    }

    /// How long loading a session may take, and how long storing it; 5 seconds by default. After that the request is
    /// answered with 503, and nobody is logged out.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Another clock, such as a [`ManualClock`](crate::clock::ManualClock) in tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.sources.clock = Box::new(clock);
        self
    }

    /// Another source of random bytes. It must be a cryptographic one.
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.sources.entropy = Box::new(entropy);
        self
    }

    /// Somebody to tell of every event.
    pub fn subscribe(mut self, subscriber: impl Subscriber) -> Self {
        self.listeners.0.push(Box::new(subscriber));
        self
    }

    /// Lets a response pass whose request changed a session that ended or changed hands meanwhile. By default such a
    /// request is answered with 409, so that nobody believes in a change that was lost.
    pub fn ignore_lost_changes(mut self) -> Self {
        self.refuses_lost_changes = false;
        self
    }

    /// How often expired sessions are removed; every 10 seconds by default.
    pub fn sweep_every(mut self, period: Duration) -> Self {
        self.sweep_period = period;
        self
    }

    /// Binds what is stored to this key ring: verifiers are made with a key, and a code covers each session's id,
    /// subject, authentication time, absolute end and verifiers. So who can write the store, and has no key, can
    /// neither plant a session nor change whose it is. Data isn't covered, nor is the time of the last activity, nor the
    /// way back to what the same session's record said before.
    ///
    /// A stored session that doesn't hold is treated as absent, and an event tells of it. Those that were stored without
    /// a key ring are refused, too: see [`Builder::accept_unkeyed_until`].
    pub fn keys(mut self, ring: impl Into<LiveRing>) -> Self {
        self.ring = Some(ring.into());
        self
    }

    /// Honours sessions that were stored without a key ring until this time, for an application that takes up a key
    /// ring while it runs. The longest lifetime from now on is long enough. Until then, a session can still be planted.
    /// Each becomes a keyed one with its next stored change.
    pub fn accept_unkeyed_until(mut self, time: Timestamp) -> Self {
        self.unkeyed_until = time;
        self
    }

    /// The sessions.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for settings that browsers would refuse or that can't hold, with a message that says
    /// what to change.
    pub fn build(mut self) -> Result<Sessions, Error> {
        self.policy.check()?;
        self.cookie.check()?;
        if self.deadline.is_zero() || self.sweep_period.is_zero() {
            return Err(Error::invalid(
                "the deadline and the time between sweeps must be longer than nothing",
            ));
        }
        let mut data_bytes_max = self.policy.record_bytes_max;
        if let Some(carrier) = self.store.carrier() {
            carrier.bind(self.cookie.cookie_name(), &self.policy)?;
            data_bytes_max = data_bytes_max.min(carrier.data_bytes_max(self.cookie.cookie_name()));
        }
        let keyed = self.keyed()?;
        let engine = Engine {
            data_bytes_max,
            is_carried: self.store.carrier().is_some(),
            is_immediate: self.store.is_immediate(),
            store: self.store,
            policy: self.policy,
            cookie: self.cookie,
            deadline: self.deadline,
            sources: self.sources,
            listeners: self.listeners,
            keys: KeyTypes::default(),
            keyed,
            refuses_lost_changes: self.refuses_lost_changes,
            sweep_period: self.sweep_period,
            queues: (0..QUEUES).map(|_| Mutex::new(())).collect(),
            sweeping: OnceLock::new(),
        };
        Ok(Sessions { engine: Arc::new(engine) })
    }

    fn keyed(&mut self) -> Result<Option<Keyed>, Error> {
        match (&self.ring, self.store.carrier().is_some()) {
            (None, _) if self.unkeyed_until > Timestamp::ZERO => Err(Error::invalid(
                "to accept sessions without keys says nothing without `keys`: leave it out",
            )),
            (Some(_), true) => Err(Error::invalid(
                "sessions that travel in their cookies are sealed by their own ring: give none to `keys`",
            )),
            (None, _) => Ok(None),
            (Some(_), false) if self.unkeyed_until > self.sources.clock.now() + UNKEYED_MAX => {
                Err(Error::invalid(
                    "sessions without keys can't be accepted for longer than 400 days: no browser keeps a cookie longer",
                ))
            }
            (Some(_), false) => Ok(self.ring.take().map(|ring| Keyed::new(ring, self.unkeyed_until))),
        }
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

    pub(crate) fn tell_failure(&self, error: &Error) {
        self.tell(EventKind::StoreFailed(format!("{error:?}")), None, None);
    }

    /// Starts sweeping in the background, once, where there is a runtime to do it in.
    pub(crate) fn start_sweeping(self: &Arc<Self>) {
        if self.sweeping.get().is_none() && self.sweeping.set(()).is_ok() {
            sweep::in_background(self);
        }
    }

    fn index(&self) -> Result<&dyn Index, Error> {
        self.store.index().ok_or_else(|| {
            Error::unsupported(format!(
                "the {} store can't list a subject's sessions: choose a store that can, or do without the list",
                self.store.kind()
            ))
        })
    }

    fn revoke(&self) -> Result<&dyn Revoke, Error> {
        self.store.revoke().ok_or_else(|| {
            Error::unsupported(format!(
                "the {} store can't end sessions by their subject: choose a store that can, or do without",
                self.store.kind()
            ))
        })
    }

    async fn end_subject(
        &self,
        subject: &Subject,
        except: Option<SessionId>,
    ) -> Result<Option<Vec<SessionId>>, Error> {
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
        self.wait_until_later_than(now).await;
        Ok(ended)
    }

    /// A login that arrived, by the clock that arrivals are noted with, when the revocation was made is withdrawn. One
    /// that is sent when this has returned must not be.
    async fn wait_until_later_than(&self, revoked: Timestamp) {
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

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (store, policy) = (self.engine.store.kind(), &self.engine.policy);
        f.debug_struct("Sessions").field("store", &store).field("policy", policy).finish_non_exhaustive()
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

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (store, policy) = (self.store.kind(), &self.policy);
        f.debug_struct("Builder").field("store", &store).field("policy", policy).finish_non_exhaustive()
    }
}
