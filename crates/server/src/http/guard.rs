//! Bounds on a single request: how long it may take, and how far its failure reaches.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode, header};

use super::error_page::ErrorPage;

/// Longer than a load and a commit that each take the longest deadline there is (30 s), and long enough for a form over a bad connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Ends a request that doesn't arrive whole in time. What it may have stored by then stays stored.
pub(super) async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let mut response = ErrorPage::of(StatusCode::REQUEST_TIMEOUT).into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// A handler that panics answers 500 rather than nothing. Its session was discarded; the panic itself is on standard
/// error.
pub(super) async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a request's handler panicked");
            ErrorPage::of(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
    }
}
