//! Signing in and out, and the list of one's devices.

mod ago;
pub(crate) mod demo;
mod devices;
mod login;

use axum::Router;
use axum::routing::{get, post};
use cloakroom::{Error, Revocations, Sessions, Subjects};

/// What can be done about one's other devices.
#[derive(Clone, Debug)]
pub(crate) enum Devices {
    /// They can be listed, and signed out each by itself.
    Listed(Subjects),
    /// All of them can be signed out, and none can be listed.
    Unlisted(Revocations),
}

impl Devices {
    /// What these sessions can do.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] if they can't end a subject's sessions: then signing out would be a promise that isn't
    /// kept.
    pub(crate) fn of(sessions: &Sessions) -> Result<Self, Error> {
        if let Ok(subjects) = sessions.subjects() {
            return Ok(Self::Listed(subjects));
        }
        let revocations = sessions.revocations().map_err(|error| {
            Error::unsupported(format!(
                "signing out would end nothing, so the server doesn't start: {error}; sealed sessions need \
                 `revocations=` and a store's URL"
            ))
        })?;
        Ok(Self::Unlisted(revocations))
    }
}

/// Routes. Those that aren't there are of no use with these sessions.
pub(crate) fn routes(devices: Devices) -> Router {
    let routes = Router::new()
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/signed-out", get(login::signed_out))
        .route("/signed-out/ticket.svg", get(login::torn_ticket));
    let routes = match &devices {
        Devices::Listed(subjects) => routes.merge(
            Router::new()
                .route("/devices", get(devices::show))
                .route("/devices/sign-out", post(devices::sign_out))
                .with_state(subjects.clone()),
        ),
        Devices::Unlisted(_) => routes.route("/devices", get(devices::show_none)),
    };
    let everywhere = Router::new()
        .route("/devices/sign-out-others", post(devices::sign_out_others))
        .route("/devices/sign-out-everywhere", post(devices::sign_out_everywhere))
        .with_state(devices);
    routes.merge(everywhere)
}
