//! The stylesheet and the icon: in the binary, under an address that holds their content's hash, kept by browsers for
//! a year.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use sha2::{Digest as _, Sha256};

/// One file in the binary.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Where it is served.
    pub(crate) path: String,
    content_type: &'static str,
    content: &'static str,
}

pub(crate) static STYLESHEET: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("cloakroom", "css", "text/css; charset=utf-8", include_str!("../../assets/cloakroom.css"))
});

pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("../../assets/icon.svg")));

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let serve = |asset: &'static Asset| get(move || async move { asset.into_response() });
    Router::new().route(&STYLESHEET.path, serve(&STYLESHEET)).route(&ICON.path, serve(&ICON))
}

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, content: &'static str) -> Self {
        let mut hash = String::new();
        for byte in &Sha256::digest(content)[..8] {
            let _ = write!(hash, "{byte:02x}");
        }
        Self { path: format!("/assets/{name}.{hash}.{extension}"), content_type, content }
    }
}

impl IntoResponse for &'static Asset {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ];
        (headers, self.content).into_response()
    }
}
