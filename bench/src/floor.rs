//! What no session in a cookie can do without, written by hand and no more: the floor that Cloakroom's read stands on.
//!
//! A layer that leaves an entry in the request; an extractor that finds the cookie, reads the token, looks its session
//! up behind a lock, and compares one hash; a value from JSON; and `Vary` in the response. It has no timeouts, no
//! changes, no key that is checked, no events, one session and no second try.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
    routing::get,
};
use cloakroom_core::{
    Secret, SessionId, Timestamp, Token,
    cookie::CookiePolicy,
    record::{Authority, Presented},
};
use http::{HeaderValue, Request, StatusCode, header, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use crate::apps::{USER, USER_ID, answer};

/// Who is logged in, and the application that knows them.
pub(crate) fn app() -> (Router, HeaderValue) {
    let token = Token::new(SessionId::from_bytes([1; 16]), Secret::from_bytes([2; 16]));
    let policy = CookiePolicy::default();
    let cookie = HeaderValue::from_str(&format!("{}={}", policy.cookie_name(), token.expose()));
    let record = Record {
        id: token.id(),
        authority: Authority::new(token.secret().verifier(&token.id())),
        user: USER.encode(&USER_ID.to_owned()).expect("it is a text"),
    };
    let sessions = Arc::new(Sessions { one: Mutex::new(Arc::new(record)), policy });
    let router = Router::new().route("/", get(read)).layer(SessionLayer(sessions)).with_state(());
    (router, cookie.expect("tokens are ASCII"))
}

struct Sessions {
    one: Mutex<Arc<Record>>,
    policy: CookiePolicy,
}

struct Record {
    id: SessionId,
    authority: Authority,
    user: Vec<u8>,
}

/// What the layer leaves in a request.
#[derive(Clone)]
struct Entry(Arc<Exchange>);

struct Exchange {
    sessions: Arc<Sessions>,
    loaded: OnceLock<Arc<Record>>,
}

#[derive(Clone)]
struct SessionLayer(Arc<Sessions>);

#[derive(Clone)]
struct SessionService<S> {
    inner: S,
    sessions: Arc<Sessions>,
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, sessions: Arc::clone(&self.0) }
    }
}

impl<S, B> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response, Future: Unpin>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let exchange = Exchange { sessions: Arc::clone(&self.sessions), loaded: OnceLock::new() };
        let exchange = Arc::new(exchange);
        request.extensions_mut().insert(Entry(Arc::clone(&exchange)));
        ResponseFuture { inner: self.inner.call(request), exchange }
    }
}

struct ResponseFuture<F> {
    inner: F,
    exchange: Arc<Exchange>,
}

impl<F: Future<Output = Result<Response, E>> + Unpin, E> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(Pin::new(&mut self.inner).poll(context))?;
        if self.exchange.loaded.get().is_some() {
            response.headers_mut().append(header::VARY, HeaderValue::from_static("cookie"));
        }
        Poll::Ready(Ok(response))
    }
}

struct Session(Arc<Exchange>);

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let Entry(exchange) = parts.extensions.get().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        let cookies = parts.headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes);
        let token = exchange.sessions.policy.tokens(cookies).next().ok_or(StatusCode::UNAUTHORIZED)?;
        let record = exchange.sessions.one.lock().ok().filter(|record| record.id == token.id());
        let record = record.map(|record| Arc::clone(&record)).ok_or(StatusCode::UNAUTHORIZED)?;
        let (grace, now) = (Duration::ZERO, Timestamp::ZERO);
        match record.authority.examine(&record.id, token.secret(), grace, now) {
            Presented::Current => drop(exchange.loaded.set(record)),
            _ => return Err(StatusCode::UNAUTHORIZED),
        }
        Ok(Self(Arc::clone(exchange)))
    }
}

async fn read(Session(exchange): Session) -> Response {
    let user = exchange.loaded.get().and_then(|record| USER.decode(&record.user).ok());
    answer(user.as_deref()).into_response()
}
