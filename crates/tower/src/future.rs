//! The future of a response: the inner service's, then the commit.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use cloakroom::{
    Error, Exchange,
    exchange::{Commit, Finished, Outcome},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use pin_project_lite::pin_project;

use crate::Problem;

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

pin_project! {
    /// A response on its way through [`SessionService`](crate::SessionService).
    pub struct ResponseFuture<F, R> {
        #[pin]
        inner: F,
        // None where a layer above commits.
        exchange: Option<Exchange>,
        is_safe: bool,
        // Boxed: in-process stores commit at once, and axum moves this future about.
        committing: Option<Box<(Commit, Response<R>)>>,
    }
}

impl<F, R> ResponseFuture<F, R> {
    pub(crate) fn new(inner: F, exchange: Option<Exchange>, is_safe: bool) -> Self {
        Self { inner, exchange, is_safe, committing: None }
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<String>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(mut committing) = this.committing.take() {
            return match Pin::new(&mut committing.0).poll(context) {
                Poll::Ready(committed) => Poll::Ready(Ok(finish(committed, committing.1, *this.is_safe))),
                Poll::Pending => {
                    *this.committing = Some(committing);
                    Poll::Pending
                }
            };
        }
        let mut polled = this.inner.poll(context);
        let mut commit = match &mut polled {
            Poll::Ready(Ok(response)) => match this.exchange.take().map(Exchange::finish) {
                None | Some(Finished::Untouched) => return polled,
                Some(Finished::Unchanged) => {
                    vary(response.headers_mut());
                    return polled;
                }
                Some(Finished::Committing(commit)) => commit,
            },
            _ => return polled,
        };
        let response = ready!(polled)?;
        match Pin::new(&mut commit).poll(context) {
            Poll::Ready(committed) => Poll::Ready(Ok(finish(committed, response, *this.is_safe))),
            Poll::Pending => {
                *this.committing = Some(Box::new((commit, response)));
                Poll::Pending
            }
        }
    }
}

#[inline]
fn finish<R: From<String>>(
    committed: Result<Outcome, Error>,
    mut response: Response<R>,
    is_safe: bool,
) -> Response<R> {
    match committed.and_then(|outcome| set_headers(response.headers_mut(), outcome)) {
        Ok(()) => response,
        Err(error) => Problem::from(error).into_response_for(is_safe),
    }
}

fn set_headers(headers: &mut HeaderMap, outcome: Outcome) -> Result<(), Error> {
    for set_cookie in outcome.set_cookie.into_iter().chain(outcome.more_cookies) {
        let mut value = HeaderValue::try_from(set_cookie.into_exposed())
            .map_err(|_| Error::invalid("the cookie's name, path or domain can't stand in a header"))?;
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
        // A shared cache that stored this would hand the token to the next visitor (CVE-2023-30861).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Some(site_data) = outcome.clear_site_data {
        headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static(site_data.as_header()));
    }
    if outcome.was_loaded {
        vary(headers);
    }
    Ok(())
}

/// Tells caches that another cookie may be answered otherwise.
fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("cookie"));
}
