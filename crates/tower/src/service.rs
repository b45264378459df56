//! The service.

use std::{
    iter,
    sync::Arc,
    task::{Context, Poll},
};

use cloakroom::{Error, Exchange, Sessions};
use http::{Extensions, HeaderMap, Request, Response, Uri, header};
use tower_service::Service;

use crate::ResponseFuture;

/// A service whose requests have a session; made by [`SessionLayer`](crate::SessionLayer).
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    sessions: Sessions,
    login_path: Option<Arc<str>>,
}

impl<S> SessionService<S> {
    pub(crate) fn new(inner: S, sessions: Sessions, login_path: Option<Arc<str>>) -> Self {
        Self { inner, sessions, login_path }
    }
}

/// What the layer leaves in a request for the extractors.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) exchange: Exchange,
    #[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "only the extractors redirect"))]
    pub(crate) login: Option<Arc<Login>>,
}

/// Where to log in, and what was asked for: as it arrived, for nested routers cut their prefix off.
#[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "only the extractors redirect"))]
pub(crate) struct Login {
    pub(crate) path: Arc<str>,
    pub(crate) asked_for: Uri,
}

impl<S, B, R> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let is_safe = request.method().is_safe();
        let exchange = self.begin(&mut request);
        ResponseFuture::new(self.inner.call(request), exchange, is_safe)
    }
}

impl<S> SessionService<S> {
    /// Begins an exchange for the request, unless a layer above did.
    fn begin<B>(&self, request: &mut Request<B>) -> Option<Exchange> {
        let exchange = self.sessions.begin();
        let login = self.login_path.clone();
        let login = login.map(|path| Arc::new(Login { path, asked_for: request.uri().clone() }));
        let extensions = request.extensions_mut();
        let above = extensions.insert(Handle { exchange: exchange.clone(), login });
        if let Some(above) = above
            && above.exchange.is_of(&self.sessions)
        {
            extensions.insert(above);
            return None;
        }
        Some(exchange)
    }
}

/// The request's session, for middleware and frameworks without extractors; `None` where no
/// [`SessionLayer`](crate::SessionLayer) is above.
///
/// # Errors
/// [`Error::is_unavailable`] if the store fails: answer the request with a [`Problem`](crate::Problem).
pub async fn load(headers: &HeaderMap, extensions: &Extensions) -> Result<Option<cloakroom::Session>, Error> {
    match extensions.get::<Handle>() {
        Some(handle) => handle.exchange.session(cookies(headers), user_agent(headers)).await.map(Some),
        None => Ok(None),
    }
}

/// HTTP/2 may split cookies over several headers.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::COOKIE).into_iter().map(|value| value.as_bytes())
}

/// Looked up only where it is asked for.
pub(crate) fn user_agent(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    iter::once_with(|| headers.get(header::USER_AGENT)).flatten().map(|value| value.as_bytes())
}
