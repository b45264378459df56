//! From connection to handler: what surrounds every route.

pub(crate) mod assets;
mod cross_site;
mod error_page;
mod guard;
mod headers;
mod serve;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Router, middleware};
use cloakroom::{Error, Sessions};
use cloakroom_tower::SessionLayer;
use http::StatusCode;

pub(crate) use error_page::ErrorPage;
pub(crate) use serve::serve;

use crate::account::{self, Devices};
use crate::settings::PublicUrl;
use crate::shop;

/// The largest form here has three short fields.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The whole application.
///
/// # Errors
/// If the sessions can't be ended by their subject, which "Your devices" needs.
pub(crate) fn app(sessions: &Sessions, public_url: Option<PublicUrl>) -> Result<Router, Error> {
    let layer = SessionLayer::new(sessions.clone()).login_at("/login");
    let with_sessions = shop::routes().merge(account::routes(Devices::of(sessions)?)).layer(layer);
    let without = assets::routes().route("/healthz", get(async || "ok\n"));
    // The last layer is the outermost.
    Ok(with_sessions
        .merge(without)
        .fallback(async || ErrorPage::of(StatusCode::NOT_FOUND))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(public_url, cross_site::guard))
        .layer(middleware::from_fn(guard::deadline))
        .layer(middleware::from_fn(guard::catch_panic))
        .layer(middleware::from_fn(error_page::dress))
        .layer(middleware::map_response(headers::add)))
}
