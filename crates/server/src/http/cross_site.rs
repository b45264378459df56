//! Refuses what another site's page makes a browser send here (OWASP ASVS 5.0, 3.5.1).
//!
//! Browsers say where an unsafe request comes from: in `Sec-Fetch-Site` where the address counts as secure, and in
//! `Origin` everywhere. So no token has to be hidden in each form, and a form that has been open in a tab since before
//! a login still works.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::error_page::ErrorPage;
use crate::settings::PublicUrl;

const SEC_FETCH_SITE: &str = "sec-fetch-site";

pub(super) async fn guard(
    State(public_url): State<Option<PublicUrl>>,
    request: Request,
    next: Next,
) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || is_from_here(request.headers(), request.uri(), public_url.as_ref()) {
        return next.run(request).await;
    }
    tracing::warn!(method = %request.method(), path = request.uri().path(), "a cross-site request was refused");
    let page = ErrorPage {
        status: StatusCode::FORBIDDEN,
        title: "That came from somewhere else",
        text: "Changes are accepted from this site's own pages only. Go back to the shop and try it there. \
               (A program has to send an Origin header that names this site.)",
    };
    // The body wasn't read, so the connection can't be used again, and the client must know.
    ([(header::CONNECTION, "close")], page).into_response()
}

/// `Sec-Fetch-Site` decides where there is one: pages can't set it. A request that says neither where it comes from
/// nor that nobody sent it is refused: browsers always say.
fn is_from_here(headers: &HeaderMap, uri: &Uri, public_url: Option<&PublicUrl>) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    match (sites.next(), sites.next()) {
        (Some(site), None) => return site == "same-origin" || site == "none",
        (Some(_), Some(_)) => return false,
        (None, _) => {}
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let Ok(origin) = origin.to_str() else { return false };
    match public_url {
        Some(public_url) => origin == public_url.origin(),
        // Behind a proxy that ends TLS the scheme isn't known here, so the host has to do.
        None => host_of(origin).is_some_and(|from| Some(from) == asked_host(headers, uri)),
    }
}

fn host_of(origin: &str) -> Option<&str> {
    origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))
}

fn asked_host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(http::uri::Authority::as_str).or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(headers: &[(&'static str, &'static str)], public_url: Option<&str>) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let public_url = public_url.map(|url| PublicUrl::parse(url).expect("an https URL"));
        is_from_here(&map, &Uri::from_static("/cart/add"), public_url.as_ref())
    }

    #[test]
    fn a3_5_1_the_browser_says_where_a_request_comes_from() {
        for (site, expected) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false), ("", false)]
        {
            assert_eq!(accepted(&[("sec-fetch-site", site)], None), expected, "{site}");
        }
        // It outweighs an Origin that would pass, and can't be said twice.
        let origin = ("origin", "http://127.0.0.1:8080");
        let host = ("host", "127.0.0.1:8080");
        assert!(!accepted(&[("sec-fetch-site", "cross-site"), origin, host], None));
        assert!(!accepted(&[("sec-fetch-site", "none"), ("sec-fetch-site", "none")], None));
    }

    #[test]
    fn a3_5_1_without_it_the_origin_has_to_be_the_host() {
        let host = ("host", "127.0.0.1:8080");
        for (origin, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.0.0.1", false),
            ("http://127.0.0.1:8081", false),
            ("http://127.0.0.1:8080.evil.example", false),
            ("ftp://127.0.0.1:8080", false),
            ("null", false),
        ] {
            assert_eq!(accepted(&[("origin", origin), host], None), expected, "{origin}");
        }
        assert!(!accepted(&[host], None), "neither header");
        assert!(!accepted(&[("origin", "http://127.0.0.1:8080")], None), "no host");
        assert!(!accepted(&[("origin", "http://127.0.0.1:8080"), ("origin", "null"), host], None));
    }

    #[test]
    fn a3_5_1_a_public_url_is_compared_whole() {
        let host = ("host", "10.0.0.7:8080");
        let public_url = Some("https://shop.example");
        assert!(accepted(&[("origin", "https://shop.example"), host], public_url));
        assert!(!accepted(&[("origin", "http://shop.example"), host], public_url));
        assert!(!accepted(&[("origin", "http://10.0.0.7:8080"), host], public_url));
    }
}
