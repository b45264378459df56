//! The applications that are compared: one route, with and without sessions.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use axum::{Router, body::Body, response::Response, routing::get};
use clap::ValueEnum;
use cloakroom::{Key, Sessions, Subject};
use cloakroom_tower::{Problem, SessionLayer};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use tower_layer::Layer;
use tower_service::Service;
use tower_sessions::{SessionManagerLayer, session::Error as PeerError};

use crate::floor;

pub const USER: Key<String> = Key::new("user");
pub const ROLES: Key<Vec<String>> = Key::new("roles");
pub const CSRF: Key<String> = Key::new("csrf");
const HITS: Key<u64> = Key::new("hits");

/// A user id as UUIDs are written: 36 characters.
pub const USER_ID: &str = "6f1c2f5e-3c0b-4f0e-9a55-0d8b5a1f7c21";
pub const CSRF_TOKEN: &str = "9b2f0c7d5e8a41c6b3d07f6e2a95c814";

/// What is done with the session in the one route's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// No session layer at all.
    Bare,
    /// A layer that does nothing but hand requests on: axum boxes every layer, whatever it does.
    Layered,
    /// Cloakroom's layer; the handler doesn't ask for the session.
    Untouched,
    /// The handler gets one value.
    Read,
    /// The handler updates one value.
    Write,
    /// The same three with tower-sessions.
    PeerUntouched,
    PeerRead,
    PeerWrite,
    /// A read by hand, without an engine: see [`floor`](crate::floor).
    Floor,
}

impl Case {
    pub const ALL: [Self; 9] = [
        Self::Bare,
        Self::Layered,
        Self::Untouched,
        Self::Read,
        Self::Write,
        Self::PeerUntouched,
        Self::PeerRead,
        Self::PeerWrite,
        Self::Floor,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare axum",
            Self::Layered => "bare axum, a layer that does nothing",
            Self::Untouched => "Cloakroom, untouched",
            Self::Read => "Cloakroom, read",
            Self::Write => "Cloakroom, write",
            Self::PeerUntouched => "tower-sessions, untouched",
            Self::PeerRead => "tower-sessions, read",
            Self::PeerWrite => "tower-sessions, write",
            Self::Floor => "a read by hand, without an engine",
        }
    }

    /// The name as it is written on the command line.
    pub fn argument(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// An application and a visitor's requests to it.
pub struct App {
    router: Router,
    headers: HeaderMap,
}

impl App {
    /// The application, with one visitor who is logged in.
    pub async fn new(case: Case) -> Self {
        if case == Case::Floor {
            let (router, cookie) = floor::app();
            return Self { router, headers: headers(Some(cookie)) };
        }
        let sessions = Sessions::builder(cloakroom::MemoryStore::new()).build().expect("the defaults hold");
        let mut router = router(case, &sessions, tower_sessions::MemoryStore::default());
        let response = send(&mut router, Uri::from_static("/login"), headers(None)).await;
        let cookie = response.headers().get(header::SET_COOKIE).map(pair);
        assert_eq!(cookie.is_some(), !matches!(case, Case::Bare | Case::Layered), "a login sets a cookie");
        Self { router, headers: headers(cookie) }
    }

    /// One request, as it would come from a connection that is kept alive.
    pub async fn request(&mut self) {
        let response = send(&mut self.router, Uri::from_static("/"), self.headers.clone()).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// The application of a case, over these stores: with its routes made ready, as `axum::serve` does before it serves.
/// Otherwise they are for each request anew.
pub fn router(case: Case, sessions: &Sessions, peer: tower_sessions::MemoryStore) -> Router {
    let layer = || SessionLayer::new(sessions.clone());
    let peer_layer = || SessionManagerLayer::new(peer.clone());
    let ours = Router::new().route("/login", get(login));
    let theirs = Router::new().route("/login", get(peer_login));
    let router = match case {
        Case::Bare | Case::Floor => bare(),
        Case::Layered => bare().layer(NothingLayer),
        Case::Untouched => ours.route("/", get(untouched)).layer(layer()),
        Case::Read => ours.route("/", get(read)).layer(layer()),
        Case::Write => ours.route("/", get(write)).layer(layer()),
        Case::PeerUntouched => theirs.route("/", get(untouched)).layer(peer_layer()),
        Case::PeerRead => theirs.route("/", get(peer_read)).layer(peer_layer()),
        Case::PeerWrite => theirs.route("/", get(peer_write)).layer(peer_layer()),
    };
    router.with_state(())
}

fn bare() -> Router {
    Router::new().route("/", get(untouched)).route("/login", get(untouched))
}

#[derive(Clone)]
struct NothingLayer;

#[derive(Clone)]
struct NothingService<S>(S);

impl<S> Layer<S> for NothingLayer {
    type Service = NothingService<S>;

    fn layer(&self, inner: S) -> NothingService<S> {
        NothingService(inner)
    }
}

impl<R, S: Service<R>> Service<R> for NothingService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

pub async fn send(router: &mut Router, uri: Uri, headers: HeaderMap) -> Response {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// What a browser sends. The session's cookie stands between two others.
pub fn headers(cookie: Option<HeaderValue>) -> HeaderMap {
    const HEADERS: [(HeaderName, &str); 12] = [
        (header::HOST, "shop.example.com"),
        (header::CONNECTION, "keep-alive"),
        (HeaderName::from_static("sec-ch-ua"), r#""Chromium";v="130", "Not?A_Brand";v="99""#),
        (HeaderName::from_static("sec-ch-ua-mobile"), "?0"),
        (HeaderName::from_static("sec-ch-ua-platform"), r#""Linux""#),
        (header::UPGRADE_INSECURE_REQUESTS, "1"),
        (
            header::USER_AGENT,
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        ),
        (
            header::ACCEPT,
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        ),
        (HeaderName::from_static("sec-fetch-site"), "same-origin"),
        (HeaderName::from_static("sec-fetch-mode"), "navigate"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::ACCEPT_LANGUAGE, "en-GB,en;q=0.9,de;q=0.8"),
    ];
    let values = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let mut headers = HeaderMap::from_iter(values);
    if let Some(cookie) = cookie {
        headers.insert(header::COOKIE, cookie_header(cookie.to_str().expect("cookies are ASCII")));
    } else {
        headers.insert(header::COOKIE, cookie_header("none=none"));
    }
    headers
}

/// The `Cookie` header with this pair in it.
pub fn cookie_header(pair: &str) -> HeaderValue {
    let all = format!("theme=dark; {pair}; _ga=GA1.1.1815121852.1790000000");
    HeaderValue::from_str(&all).expect("cookies are ASCII")
}

/// Name and value of a `Set-Cookie` header.
pub fn pair(set_cookie: &HeaderValue) -> HeaderValue {
    let text = set_cookie.to_str().expect("cookies are ASCII");
    let pair = text.split(';').next().unwrap_or_default();
    HeaderValue::from_str(pair).expect("it was in a header")
}

pub async fn untouched() -> &'static str {
    "ok"
}

pub async fn login(session: cloakroom_tower::Session) -> Result<(), Problem> {
    session.login(Subject::new(USER_ID).map_err(cloakroom::Error::from)?)?;
    session.insert(USER, &USER_ID.to_owned())?;
    session.insert(ROLES, &vec!["user".to_owned()])?;
    session.insert(CSRF, &CSRF_TOKEN.to_owned())?;
    session.insert(HITS, &0)?;
    Ok(())
}

pub async fn read(session: cloakroom_tower::Session) -> Result<Answer, Problem> {
    Ok(answer(session.get(USER)?.as_deref()))
}

pub async fn write(session: cloakroom_tower::Session) -> Result<&'static str, Problem> {
    session.update(HITS, |hits| *hits += 1)?;
    Ok("ok")
}

async fn peer_login(session: tower_sessions::Session) -> Result<(), StatusCode> {
    let inserted = async {
        session.insert("user", USER_ID).await?;
        session.insert("roles", ["user"]).await?;
        session.insert("csrf", CSRF_TOKEN).await?;
        session.insert("hits", 0).await
    };
    inserted.await.map_err(failed)
}

async fn peer_read(session: tower_sessions::Session) -> Result<Answer, StatusCode> {
    let user: Option<String> = session.get("user").await.map_err(failed)?;
    Ok(answer(user.as_deref()))
}

/// It has no update; a value that differs each time, for one that doesn't isn't stored.
async fn peer_write(session: tower_sessions::Session) -> Result<&'static str, StatusCode> {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    session.insert("hits", COUNTER.fetch_add(1, Ordering::Relaxed)).await.map_err(failed)?;
    Ok("ok")
}

/// What the bare application answers, or a status.
pub type Answer = Result<&'static str, StatusCode>;

/// A read that found nothing would be cheap, and must be noticed.
pub fn answer(user: Option<&str>) -> Answer {
    if user.is_some_and(|user| user.len() == USER_ID.len()) { Ok("ok") } else { Err(StatusCode::NOT_FOUND) }
}

fn failed(_: PeerError) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}
