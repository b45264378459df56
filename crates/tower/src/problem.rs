//! The response to a request whose session failed.

use std::fmt;

use cloakroom::{CoreError, Error};
use http::{HeaderValue, Response, StatusCode, header};

/// A request that couldn't be served because of its session: RFC 9457 problem details, without a cookie.
///
/// Handlers return it, so that `?` works on every session call. A client is told no more than [`Error::title`].
#[derive(Debug)]
pub struct Problem {
    error: Error,
}

impl Problem {
    /// Why the request failed.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The response. To a safe method, an outage says when to try again; anything else might be done twice. What the
    /// application has to mend is logged.
    pub fn into_response_for<B: From<String>>(self, is_safe: bool) -> Response<B> {
        let status = StatusCode::from_u16(self.error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(target: "cloakroom", "a request failed over its session: {:?}", self.error);
        }
        let body = format!(
            r#"{{"type":"about:blank","title":"{}","status":{}}}"#,
            self.error.title(),
            status.as_u16()
        );
        let mut response = Response::new(B::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE && is_safe {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Cookie"));
        }
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { error }
    }
}

/// What the constructors of keys, subjects and lifetimes answer.
impl From<CoreError> for Problem {
    fn from(error: CoreError) -> Self {
        Error::from(error).into()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
