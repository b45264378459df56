//! How many round trips a request's session takes, counted between the store and the server.

use std::time::Duration;

use cloakroom::{Error, Key, Policy, Session, Sessions, clock::ManualClock};
use cloakroom_memcached::MemcachedStore;
use engines::{Engine as _, Memcached, Proxy};

use crate::fixture::subject;

const CART: Key<u32> = Key::new("cart");

/// A browser, and an application behind a proxy that counts.
struct Counted {
    proxy: Proxy,
    clock: ManualClock,
    sessions: Sessions,
    cookie: String,
    _server: Memcached,
}

impl Counted {
    async fn new() -> Self {
        let server = Memcached::start();
        let proxy = Proxy::start(server.address());
        let clock = ManualClock::default();
        let sessions = sessions(&proxy, &clock).await;
        Self { proxy, clock, sessions, cookie: String::new(), _server: server }
    }

    /// The next requests are served by another process, which has seen nothing yet.
    async fn elsewhere(&mut self) {
        self.sessions = sessions(&self.proxy, &self.clock).await;
    }

    /// One request; the round trips it took.
    async fn request(&mut self, handle: impl FnOnce(&Session) -> Result<(), Error>) -> u64 {
        let before = self.proxy.turns();
        let exchange = self.sessions.begin();
        let session = exchange.session(std::iter::once(self.cookie.as_bytes()), None).await.unwrap();
        handle(&session).unwrap();
        if let Some(set_cookie) = exchange.commit().await.unwrap().set_cookie {
            set_cookie.expose().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        self.proxy.turns() - before
    }
}

async fn sessions(proxy: &Proxy, clock: &ManualClock) -> Sessions {
    // One connection, so that questions asked at once go out together and count as one round trip.
    let url = format!("memcached://{}?connections=1", proxy.address());
    let store = MemcachedStore::open(&url).await.unwrap();
    let policy = Policy { rotation_period: Some(Duration::from_secs(600)), ..Policy::default() };
    Sessions::builder(store).clock(clock.clone()).policy(policy).build().unwrap()
}

fn count(session: &Session) -> Result<(), Error> {
    session.update(CART, |count| *count += 1)
}

#[tokio::test]
async fn an_anonymous_session_takes_one_round_trip_to_read_and_two_to_write() {
    let mut browser = Counted::new().await;
    assert_eq!(browser.request(|_| Ok(())).await, 0, "no cookie, no store");
    assert_eq!(browser.request(count).await, 1, "a first write");
    for is_elsewhere in [false, true] {
        if is_elsewhere {
            browser.elsewhere().await;
        }
        assert_eq!(browser.request(|_| Ok(())).await, 1, "read");
        assert_eq!(browser.request(count).await, 2, "write");
        assert_eq!(browser.request(count).await, 2, "write again");
    }
    assert_eq!(browser.request(Session::logout).await, 2, "logout");
}

#[tokio::test]
async fn an_authenticated_session_takes_one_round_trip_more_where_it_is_new() {
    let mut browser = Counted::new().await;
    let login = browser.request(|session| session.login(subject("ada"))).await;
    println!("login: {login} round trips");
    assert!(login <= 4, "{login}");
    for is_elsewhere in [false, true] {
        if is_elsewhere {
            browser.elsewhere().await;
            assert_eq!(browser.request(|_| Ok(())).await, 2, "a first read");
        }
        assert_eq!(browser.request(|_| Ok(())).await, 1, "read");
        assert_eq!(browser.request(count).await, 2, "write");
        browser.clock.advance(Duration::from_secs(400));
        assert_eq!(browser.request(Session::rotate).await, 2, "rotate");
        assert_eq!(browser.request(|_| Ok(())).await, 2, "the successor is seen first, and noted");
    }
    assert_eq!(browser.request(Session::logout).await, 2, "logout");
    let again = browser.request(|session| session.login(subject("ada"))).await;
    println!("another login: {again} round trips");
}
