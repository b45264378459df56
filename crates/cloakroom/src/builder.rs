//! Settings, and what is made of them.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use cloakroom_core::{Lifetime, Policy, Timestamp, cookie::CookiePolicy};
use tokio::sync::Mutex;

use crate::{
    Error, Sessions,
    authentic::Keyed,
    clock::{Clock, Entropy, Sources},
    event::{Listeners, Subscriber},
    exchange::SiteData,
    guard::Guard,
    keyring::LiveRing,
    keys::KeyTypes,
    sessions::{Engine, QUEUES},
    store::Store,
};

/// Browsers keep a cookie for 400 days at most (RFC 6265bis, section 5.5).
const UNKEYED_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

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
    guard: Guard,
    clear_site_data: Option<SiteData>,
}

impl Builder {
    pub(crate) fn new(store: impl Store) -> Self {
        Self {
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
            guard: Guard::default(),
            clear_site_data: None,
        }
    }

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

    /// Honours sessions that were stored without a key ring, as far as they end by this time, for an application that
    /// takes up a key ring while it runs. The longest lifetime is long enough, counted from when the last node without
    /// the ring stops. Until then, a session can still be planted, but for no longer than that. Each becomes a keyed one
    /// with its next stored change.
    pub fn accept_unkeyed_until(mut self, time: Timestamp) -> Self {
        self.unkeyed_until = time;
        self
    }

    /// What the data guard lets pass.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Has browsers forget this of the site when a visitor logs out (`Clear-Site-Data`, of the W3C's draft of that name):
    /// what the pages of somebody else's session left behind on a shared computer. Browsers take their time over it, so
    /// it isn't asked of them by default. Cookies can't be chosen, for those of sibling applications would go too.
    pub fn clear_site_data_at_logout(mut self, what: SiteData) -> Self {
        self.clear_site_data = Some(what);
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
        let mut data_bytes_sure = data_bytes_max;
        if let Some(carrier) = self.store.carrier() {
            carrier.bind(self.cookie.cookie_name(), &self.policy)?;
            data_bytes_max = data_bytes_max.min(carrier.data_bytes_max(self.cookie.cookie_name()));
            data_bytes_sure = data_bytes_max.min(carrier.data_bytes_sure(self.cookie.cookie_name()));
        }
        let keyed = self.keyed()?;
        let engine = Engine {
            data_bytes_max,
            data_bytes_sure,
            is_carried: self.store.carrier().is_some(),
            is_immediate: self.store.is_immediate(),
            store: self.store,
            policy: self.policy,
            cookie: self.cookie,
            deadline: self.deadline,
            sources: self.sources,
            listeners: self.listeners,
            keys: KeyTypes::new(self.guard),
            clear_site_data: self.clear_site_data,
            keyed,
            refuses_lost_changes: self.refuses_lost_changes,
            sweep_period: self.sweep_period,
            queues: (0..QUEUES).map(|_| Mutex::new(())).collect(),
            is_sweeping: AtomicBool::new(false),
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

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (store, policy) = (self.store.kind(), &self.policy);
        f.debug_struct("Builder").field("store", &store).field("policy", policy).finish_non_exhaustive()
    }
}
