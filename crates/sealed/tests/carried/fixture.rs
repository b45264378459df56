//! Nodes that share a revocation list, and browsers with a cookie.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use cloakroom::{
    Error, Key, MemoryStore, Policy, Session, SessionId, Sessions, Subject, Timestamp,
    clock::{Clock as _, ManualClock},
    cookie::CookiePolicy,
    event::{Event, EventKind, Subscriber},
    exchange::Outcome,
    keyring::{KeyId, KeyRing, LiveRing, Material},
    store::{Answer, Index, Loaded, Store, Swept, Tombstone, Written},
};
use cloakroom::{Record, Version};
use cloakroom_sealed::{ListSettings, SealedSessions};
use cloakroom_store_test::{Fault, FaultyStore, Op};
use parking_lot::Mutex;

pub(crate) const COUNT: Key<u32> = Key::new("count");
pub(crate) const NAME: &str = "__Host-session";

/// Fast enough for a test, slow enough for a busy machine.
pub(crate) const SETTINGS: ListSettings = ListSettings {
    name: std::borrow::Cow::Borrowed("default"),
    poll_period: Duration::from_millis(5),
    stale_after: Duration::from_millis(500),
    entries_max: 100_000,
};

pub(crate) fn ring(byte: u8) -> LiveRing {
    let mut material = [0; 32];
    getrandom::fill(&mut material).unwrap();
    let id = KeyId::from_bytes([byte; 4]);
    LiveRing::fixed(KeyRing::new(id, Material::new(material).unwrap(), Timestamp::from_millis(0)).unwrap())
}

/// What the nodes of an installation have in common.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) ring: LiveRing,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
    pub(crate) settings: ListSettings,
    pub(crate) events: Events,
    /// Those that run, to wait for.
    pub(crate) nodes: Arc<Mutex<Vec<Sessions>>>,
}

#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<EventKind>>>);

impl Subscriber for Events {
    fn on_event(&self, event: &Event) {
        self.0.lock().push(event.kind.clone());
    }
}

impl Events {
    pub(crate) fn has(&self, kind: &EventKind) -> bool {
        self.0.lock().contains(kind)
    }
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        let (clock, events) = (ManualClock::default(), Events::default());
        Self { ring: ring(1), store, clock, settings: SETTINGS, events, nodes: Arc::default() }
    }

    /// Moves the time, and waits until the nodes have heard from the list since.
    pub(crate) async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        tokio::time::sleep(5 * self.settings.poll_period).await;
        // On a busy machine that takes longer; and nodes whose store is out of reach never hear.
        let (ada, now, begun) = (Subject::new("ada").unwrap(), self.clock.now(), Instant::now());
        let nodes = self.nodes.lock().clone();
        for node in nodes.iter().filter_map(|node| node.store().revoke()) {
            while node.last_revocation(&ada, now).await.is_err() && begun.elapsed() < Duration::from_secs(2) {
                tokio::time::sleep(self.settings.poll_period).await;
            }
        }
    }

    pub(crate) async fn sealed(&self) -> SealedSessions {
        let store = Box::new(Arc::clone(&self.store));
        SealedSessions::with_list_and_clock(
            self.ring.clone(),
            store,
            self.settings.clone(),
            self.clock.clone(),
        )
        .await
        .unwrap()
    }

    pub(crate) async fn node(&self) -> Node {
        self.node_of(self.sealed().await)
    }

    pub(crate) fn node_of(&self, sealed: SealedSessions) -> Node {
        let builder = Sessions::builder(sealed).clock(self.clock.clone()).subscribe(self.events.clone());
        let sessions = builder.build().unwrap();
        self.nodes.lock().push(sessions.clone());
        Node { sessions, events: self.events.clone() }
    }

    pub(crate) async fn node_with(&self, policy: Policy) -> Node {
        let builder = Sessions::builder(self.sealed().await).policy(policy).clock(self.clock.clone());
        let sessions = builder.subscribe(self.events.clone()).build().unwrap();
        self.nodes.lock().push(sessions.clone());
        Node { sessions, events: self.events.clone() }
    }

    pub(crate) async fn node_named(&self, name: &'static str) -> Node {
        let builder = Sessions::builder(self.sealed().await).clock(self.clock.clone());
        let sessions = builder.cookie(CookiePolicy::default().name(name)).build().unwrap();
        Node { sessions, events: self.events.clone() }
    }
}

impl Fleet {
    /// A node with sealed sessions of its own settings.
    pub(crate) fn tuned(&self, sealed: SealedSessions) -> Node {
        self.node_of(sealed)
    }

    /// A node that hears of what others note only when it asks.
    pub(crate) async fn lagging(&self, tune: impl FnOnce(SealedSessions) -> SealedSessions) -> Node {
        let mut slow = self.clone();
        slow.settings.poll_period = Duration::from_secs(3_600);
        slow.settings.stale_after = Duration::from_secs(7_200);
        let node = slow.node_of(tune(slow.sealed().await));
        // It asks once more as it starts.
        tokio::time::sleep(Duration::from_millis(50)).await;
        node
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Ends so many sessions that nobody ever had.
    pub(crate) async fn end_sessions(&self, node: &Node, count: u32) {
        let mut ids: Vec<[u8; 16]> = vec![[0; 16]; count as usize];
        ids.iter_mut().for_each(|id| getrandom::fill(id).unwrap());
        for ids in ids.chunks(64) {
            let ends = ids.iter().map(|id| node.sessions.end(SessionId::from_bytes(*id)));
            futures_util::future::try_join_all(ends).await.unwrap();
        }
    }

    /// The id of a session, as told by a node that asks no list.
    pub(crate) async fn id_of(node: &Node, browser: &Browser) -> Option<SessionId> {
        node.request(browser).await.unwrap().session.id()
    }
}

pub(crate) struct Node {
    pub(crate) sessions: Sessions,
    pub(crate) events: Events,
}

impl Node {
    /// A request, as far as its handler.
    pub(crate) async fn request(&self, browser: &Browser) -> Result<Request, Error> {
        let exchange = self.sessions.begin();
        let header = browser.header(self.name());
        let cookies = header.as_deref().map(str::as_bytes).into_iter();
        let session = exchange.session(cookies, Some(&b"Mozilla/5.0 (X11; Linux) Firefox/150.0"[..])).await?;
        Ok(Request { exchange, session })
    }

    /// A request whose handler does this, and whose response the browser takes in.
    pub(crate) async fn visit(
        &self,
        browser: &mut Browser,
        handle: impl FnOnce(&Session) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let request = self.request(browser).await?;
        handle(&request.session)?;
        request.respond(browser).await
    }

    pub(crate) async fn log_in(&self, browser: &mut Browser, user: &str) {
        self.visit(browser, |session| session.login(Subject::new(user)?)).await.unwrap();
    }

    /// Whom the browser is logged in as.
    pub(crate) async fn user(&self, browser: &Browser) -> Option<String> {
        self.request(browser).await.unwrap().session.subject().map(|subject| subject.to_string())
    }

    /// The same, when the node has heard of everything that happened on others: which takes a moment.
    pub(crate) async fn comes_to_refuse(&self, browser: &Browser) -> bool {
        for _ in 0..400 {
            if self.user(browser).await.is_none() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    fn name(&self) -> &'static str {
        NAME
    }
}

pub(crate) struct Request {
    exchange: cloakroom::Exchange,
    pub(crate) session: Session,
}

impl Request {
    pub(crate) async fn respond(self, browser: &mut Browser) -> Result<Outcome, Error> {
        let outcome = self.exchange.commit().await?;
        if let Some(set_cookie) = &outcome.set_cookie {
            browser.take(set_cookie.expose());
        }
        Ok(outcome)
    }
}

/// A browser with one cookie, or a copy of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) value: Option<String>,
    pub(crate) cookies_set: u32,
}

impl Browser {
    fn header(&self, name: &str) -> Option<String> {
        self.value.as_ref().map(|value| format!("{name}={value}"))
    }

    fn take(&mut self, set_cookie: &str) {
        let (pair, attributes) = set_cookie.split_once(';').unwrap();
        let value = pair.split_once('=').unwrap().1;
        self.value = (!value.is_empty() && !attributes.contains("Max-Age=0")).then(|| value.to_owned());
        self.cookies_set += 1;
    }
}

/// A change to the session's data.
pub(crate) fn increment(session: &Session) -> Result<(), Error> {
    session.update(COUNT, |count| *count += 1)
}

/// A list's store that fails when told to.
#[derive(Clone)]
pub(crate) struct Faulty(FaultyStore<Kept>);

pub(crate) fn faulty() -> (Faulty, Fleet) {
    let store = FaultyStore::new(Kept::default());
    (Faulty(store.clone()), Fleet::on(Arc::new(store)))
}

impl Faulty {
    pub(crate) fn hold_next_replace(&self) {
        self.fail_next(Op::Replace, Fault::HangBefore);
    }

    pub(crate) fn refuse_writes(&self) {
        for op in [Op::Replace, Op::Create, Op::Touch, Op::End] {
            self.fail_always(op, Fault::Refused);
        }
    }

    pub(crate) fn delay_loads(&self, delay: Duration) {
        self.fail_always(Op::Load, Fault::Delay(delay));
    }

    pub(crate) fn largest_record(&self) -> usize {
        self.inner().0.lock().values().map(|record| record.data.as_bytes().len()).max().unwrap()
    }
}

impl Deref for Faulty {
    type Target = FaultyStore<Kept>;

    fn deref(&self) -> &FaultyStore<Kept> {
        &self.0
    }
}

/// A store whose records can be taken away and put back.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<HashMap<SessionId, Arc<Record>>>>, Arc<MemoryStore>);

pub(crate) type Snapshot = HashMap<SessionId, Arc<Record>>;

impl Kept {
    pub(crate) fn fleet() -> (Self, Fleet) {
        let kept = Self::default();
        (kept.clone(), Fleet::on(Arc::new(kept)))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.0.lock().clone()
    }

    pub(crate) fn restore(&self, snapshot: Snapshot) {
        *self.0.lock() = snapshot;
    }

    /// Of records that weren't there before, removes the one whose id is the lowest: of a list's parts the first.
    pub(crate) fn remove_the_first_added_since(&self, before: &Snapshot) {
        let mut records = self.0.lock();
        let first = *records.keys().filter(|id| !before.contains_key(id)).min().unwrap();
        records.remove(&first);
    }
}

impl Store for Kept {
    fn kind(&self) -> &'static str {
        "kept"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        let found = self.0.lock().get(&id).filter(|record| record.is_alive(now)).cloned();
        Answer::ready(Ok(found.map_or(Loaded::Absent, Loaded::Found)))
    }

    fn create(&self, record: Arc<Record>, _: Timestamp) -> Answer<'_, Written> {
        let mut records = self.0.lock();
        if records.contains_key(&record.id) {
            return Answer::ready(Ok(Written::Conflict));
        }
        records.insert(record.id, record);
        Answer::ready(Ok(Written::Stored))
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        let mut records = self.0.lock();
        let Some(stored) = records.get_mut(&record.id).filter(|stored| stored.is_alive(now)) else {
            return Answer::ready(Ok(Written::Gone));
        };
        if stored.version != expected {
            return Answer::ready(Ok(Written::Conflict));
        }
        *stored = record;
        Answer::ready(Ok(Written::Stored))
    }

    fn touch(&self, _: SessionId, _: Timestamp, _: Timestamp) -> Answer<'_, Written> {
        Answer::ready(Ok(Written::Gone))
    }

    fn end(&self, _: Tombstone, _: Option<Version>, _: Timestamp) -> Answer<'_, Written> {
        Answer::ready(Ok(Written::Gone))
    }

    fn sweep(&self, now: Timestamp, _: usize) -> Answer<'_, Swept> {
        self.0.lock().retain(|_, record| record.is_alive(now));
        Answer::ready(Ok(Swept::default()))
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(&*self.1)
    }
}
