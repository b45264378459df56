//! A small application and a browser for it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
    routing::get,
};
use cloakroom::{Key, MemoryStore, Sessions, Subject, clock::ManualClock, exchange::SiteData, store::Store};
use cloakroom_tower::{Authenticated, Problem, Session, SessionLayer};
use http_body_util::BodyExt;
use tower::ServiceExt;

pub const VISITS: Key<u32> = Key::new("visits");

/// An application over a store of its own, with a clock to move.
pub struct App {
    pub router: Router,
    pub sessions: Sessions,
    pub store: Arc<MemoryStore>,
    pub clock: ManualClock,
}

impl App {
    pub fn new() -> Self {
        Self::with(routes())
    }

    pub fn with(routes: Router) -> Self {
        let store = Arc::new(MemoryStore::new());
        Self { store: Arc::clone(&store), ..Self::on(store, routes, ManualClock::default()) }
    }

    /// On another store; this application's own stays empty.
    pub fn on(store: impl Store, routes: Router, clock: ManualClock) -> Self {
        let builder = Sessions::builder(store).clock(clock.clone());
        let sessions = builder.clear_site_data_at_logout(SiteData::Storage).build().unwrap();
        let router = routes.layer(SessionLayer::new(sessions.clone()));
        Self { router, sessions, store: Arc::new(MemoryStore::new()), clock }
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        Reply::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// A GET, as a browser with this cookie would send it.
    pub async fn get(&self, path: &str, cookie: Option<&str>) -> Reply {
        self.send(request(Method::GET, path, cookie)).await
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub fn request(method: Method, path: &str, cookie: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    request.body(Body::empty()).unwrap()
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// The session cookie that was set, as a `Cookie` header would carry it.
    pub fn cookie(&self) -> Option<String> {
        let all = self.headers.get_all(header::SET_COOKIE).into_iter().map(|value| value.to_str().unwrap());
        all.filter(|value| value.starts_with("__Host-session="))
            .map(|value| value.split(';').next().unwrap().to_owned())
            .next()
    }

    pub fn is_cookie_cleared(&self) -> bool {
        self.cookie().as_deref() == Some("__Host-session=")
    }
}

pub fn routes() -> Router {
    Router::new()
        .route("/bare", get(async || "bare"))
        .route("/visits", get(visits))
        .route("/count", get(count).post(count))
        .route("/login/{user}", get(login))
        .route("/logout", get(logout))
        .route("/rotate", get(rotate))
        .route("/account", get(account).post(account))
}

async fn visits(session: Session) -> Result<String, Problem> {
    Ok(format!("{}", session.get(VISITS)?.unwrap_or_default()))
}

async fn count(session: Session) -> Result<String, Problem> {
    session.update(VISITS, |visits| *visits += 1)?;
    visits(session).await
}

async fn login(session: Session, Path(user): Path<String>) -> Result<&'static str, Problem> {
    session.login(Subject::new(user)?)?;
    Ok("welcome")
}

async fn logout(session: Session) -> Result<&'static str, Problem> {
    session.logout()?;
    Ok("bye")
}

async fn rotate(session: Session) -> Result<&'static str, Problem> {
    session.rotate()?;
    Ok("rotated")
}

async fn account(visitor: Authenticated) -> String {
    visitor.subject.to_string()
}
