//! Extractors for axum handlers.

use std::ops::Deref;

use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use cloakroom::Subject;
use http::{HeaderValue, Method, StatusCode, header, request::Parts};

use crate::{
    Problem,
    service::{Handle, Login, cookies, user_agent},
};

/// The visitor's session, loaded from its store when a handler asks for it.
///
/// It is a [`cloakroom::Session`]; all of its methods are here by `Deref`. A store that fails makes the response a 503.
#[derive(Clone, Debug)]
pub struct Session(pub cloakroom::Session);

/// The session of a visitor who is logged in, and who that is. Anybody else is answered with 401, or sent to
/// [`SessionLayer::login_at`](crate::SessionLayer::login_at).
///
/// ```
/// use cloakroom_tower::Authenticated;
///
/// async fn account(visitor: Authenticated) -> String {
///     format!("Hello, {}", visitor.subject)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// The session.
    pub session: cloakroom::Session,
    /// Whom it belongs to.
    pub subject: Subject,
}

/// A session for a route that can live without one: if the store fails, the handler is called all the same, with a
/// session that [is degraded](cloakroom::Session::is_degraded), empty and refusing changes.
#[derive(Clone, Debug)]
pub struct DegradableSession(pub cloakroom::Session);

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match load(parts).await {
            Ok(session) => Ok(Self(session)),
            Err(response) => Err(response),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let session = load(parts).await?;
        match session.subject() {
            Some(subject) => Ok(Self { session, subject }),
            None => Err(refuse_anonymous(parts)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DegradableSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let exchange = &handle(parts).ok_or_else(refuse_without_layer)?.exchange;
        let session = exchange.session_or_degraded(cookies(&parts.headers), user_agent(&parts.headers)).await;
        Ok(Self(session))
    }
}

async fn load(parts: &Parts) -> Result<cloakroom::Session, Response> {
    let Some(Handle { exchange, .. }) = handle(parts) else { return Err(refuse_without_layer()) };
    match exchange.session(cookies(&parts.headers), user_agent(&parts.headers)).await {
        Ok(session) => Ok(session),
        Err(error) => Err(Problem::from(error).into_response_for(parts.method.is_safe())),
    }
}

fn handle(parts: &Parts) -> Option<&Handle> {
    parts.extensions.get()
}

fn refuse_without_layer() -> Response {
    let message =
        "no session layer: add `.layer(SessionLayer::new(sessions))` to the router, after its routes";
    (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

fn refuse_anonymous(parts: &Parts) -> Response {
    let login = handle(parts).and_then(|handle| handle.login.as_deref());
    let location =
        login.filter(|_| matches!(parts.method, Method::GET | Method::HEAD)).and_then(login_location);
    let mut response = match location {
        Some(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        None => {
            let challenge = [(header::WWW_AUTHENTICATE, "Cookie")];
            (StatusCode::UNAUTHORIZED, challenge, "This needs a login.").into_response()
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn login_location(login: &Login) -> Option<HeaderValue> {
    let separator = if login.path.contains('?') { '&' } else { '?' };
    let next = encode(login.asked_for.path_and_query().map_or("/", |path| path.as_str()));
    HeaderValue::from_str(&format!("{}{separator}next={next}", login.path)).ok()
}

/// Percent-encodes a path and query for use as a query's value.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_response_for(false)
    }
}

impl Deref for Session {
    type Target = cloakroom::Session;

    fn deref(&self) -> &cloakroom::Session {
        &self.0
    }
}

impl Deref for Authenticated {
    type Target = cloakroom::Session;

    fn deref(&self) -> &cloakroom::Session {
        &self.session
    }
}

impl Deref for DegradableSession {
    type Target = cloakroom::Session;

    fn deref(&self) -> &cloakroom::Session {
        &self.0
    }
}
