//! Nodes that share a revocation list, and browsers with a cookie.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Error, Key, MemoryStore, Session, SessionId, Sessions, Subject, Timestamp,
    clock::ManualClock,
    cookie::CookiePolicy,
    event::{Event, EventKind, Subscriber},
    exchange::Outcome,
    keyring::{KeyId, KeyRing, LiveRing, Material},
    store::Store,
};
use cloakroom_sealed::{ListSettings, SealedSessions};
use parking_lot::Mutex;

pub(crate) const COUNT: Key<u32> = Key::new("count");
pub(crate) const NAME: &str = "__Host-session";

/// Fast enough for a test, slow enough for a busy machine.
pub(crate) const SETTINGS: ListSettings = ListSettings {
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
        Self { ring: ring(1), store, clock, settings: SETTINGS, events }
    }

    /// Moves the time, and waits until the nodes have heard from the list since.
    pub(crate) async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        tokio::time::sleep(5 * self.settings.poll_period).await;
    }

    pub(crate) async fn sealed(&self) -> SealedSessions {
        let store = Box::new(Arc::clone(&self.store));
        SealedSessions::with_list_and_clock(self.ring.clone(), store, self.settings, self.clock.clone())
            .await
            .unwrap()
    }

    pub(crate) async fn node(&self) -> Node {
        self.node_of(self.sealed().await)
    }

    pub(crate) fn node_of(&self, sealed: SealedSessions) -> Node {
        let builder = Sessions::builder(sealed).clock(self.clock.clone()).subscribe(self.events.clone());
        Node { sessions: builder.build().unwrap(), events: self.events.clone() }
    }

    pub(crate) async fn node_named(&self, name: &'static str) -> Node {
        let builder = Sessions::builder(self.sealed().await).clock(self.clock.clone());
        let sessions = builder.cookie(CookiePolicy::default().name(name)).build().unwrap();
        Node { sessions, events: self.events.clone() }
    }
}

impl Fleet {
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
