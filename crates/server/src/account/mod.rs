//! Signing in and out, and the list of one's devices.

mod ago;
pub(crate) mod demo;
mod devices;
mod login;

use axum::Router;
use axum::routing::{get, post};
use cloakroom::Subjects;

/// Routes; the devices' need a store that can list a subject's sessions.
pub(crate) fn routes(subjects: Subjects) -> Router {
    Router::new()
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/signed-out", get(login::signed_out))
        .route("/signed-out/ticket.svg", get(login::torn_ticket))
        .route("/devices", get(devices::show))
        .route("/devices/sign-out", post(devices::sign_out))
        .route("/devices/sign-out-others", post(devices::sign_out_others))
        .with_state(subjects)
}
