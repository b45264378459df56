//! Errors in the shop's own look.

use askama::Template;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::page::{self, Frame};

/// An answer that is an error and nothing else. It shows nothing of a session: it is also sent when there is none to
/// be had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorPage {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate {
    frame: Frame,
    error: ErrorPage,
}

impl ErrorPage {
    pub(crate) const fn of(status: StatusCode) -> Self {
        let (title, text) = match status {
            StatusCode::BAD_REQUEST
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "That form makes no sense here",
                "Something in it was missing or misshapen. Go back and try again.",
            ),
            StatusCode::UNAUTHORIZED => ("Please sign in", "This page is shown to those who are signed in."),
            StatusCode::NOT_FOUND => ("Nothing on this hanger", "There is no page at this address."),
            StatusCode::METHOD_NOT_ALLOWED => (
                "Not that way",
                "This address takes a form, sent by its button. Following a link to it does nothing.",
            ),
            StatusCode::REQUEST_TIMEOUT => {
                ("That took too long", "The request didn't arrive whole. Try it again.")
            }
            StatusCode::CONFLICT => (
                "Somebody was faster",
                "Your session changed, or ended, while this was on its way, so it was not done. Go back, look at \
                 where things stand, and try it again.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => ("That is too big", "The form holds more than this page takes."),
            StatusCode::SERVICE_UNAVAILABLE => (
                "The cloakroom is not answering",
                "Your session is safe and you are still signed in; it can't be reached just now. Try again shortly.",
            ),
            _ => ("Something went wrong here", "It is not your doing. Try again; the log says more."),
        };
        Self { status, title, text }
    }
}

impl IntoResponse for ErrorPage {
    fn into_response(self) -> Response {
        page::render_as(self.status, &ErrorTemplate { frame: Frame::bare(), error: self })
    }
}

/// Gives errors that the router, an extractor or the session layer answered a page, where a browser asked for one.
/// Status and headers (Allow, Retry-After, Vary) stay as they are.
pub(super) async fn dress(request: Request, next: Next) -> Response {
    let wants_page = accepts_html(request.headers());
    let response = next.run(request).await;
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if !is_error || !wants_page || is_html(response.headers()) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let page = ErrorPage::of(parts.status).into_response();
    parts.headers.remove(header::CONTENT_LENGTH);
    for (name, value) in page.headers() {
        parts.headers.insert(name, value.clone());
    }
    Response::from_parts(parts, page.into_body())
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.any(|value| value.contains("text/html"))
}

fn is_html(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == HeaderValue::from_static(page::HTML))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use axum::{Router, middleware};
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::guard;

    const PROBLEM: [(header::HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "application/problem+json"), (header::RETRY_AFTER, "1")];

    async fn answer(path: &str, accept: &str) -> (Response<()>, String) {
        let outage = async || (StatusCode::SERVICE_UNAVAILABLE, PROBLEM, "{}");
        let app = Router::new()
            .route("/outage", get(outage))
            .route("/fine", get(async || "fine"))
            .route("/panic", get(async || -> &'static str { panic!("as the test wants") }))
            .layer(middleware::from_fn(guard::catch_panic))
            .layer(middleware::from_fn(dress));
        let request =
            Request::get(path).header(header::ACCEPT, accept).body(Body::empty()).expect("a request");
        let Ok(response) = app.oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 64 * 1024).await.expect("a body");
        (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn a_browser_gets_a_page_and_keeps_the_headers() {
        let (response, body) = answer("/outage", "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], page::HTML);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert!(body.contains("The cloakroom is not answering"), "{body}");
    }

    #[tokio::test]
    async fn a_program_gets_the_answer_as_it_was() {
        let (response, body) = answer("/outage", "application/json, */*").await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body, "{}");
    }

    #[tokio::test]
    async fn what_is_no_error_is_left_alone() {
        let (response, body) = answer("/fine", "text/html").await;
        assert_eq!((response.status(), body.as_str()), (StatusCode::OK, "fine"));
    }

    #[tokio::test]
    async fn a_panic_is_a_500_with_a_page() {
        let (response, body) = answer("/panic", "text/html").await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("Something went wrong here"), "{body}");
        assert!(!body.contains("as the test wants"), "{body}");
    }
}
