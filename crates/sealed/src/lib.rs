//! Cloakroom sessions sealed into cookies: no server state, one API.
//!
//! [`SealedSessions`] is given to [`Sessions::builder`](cloakroom::Sessions::builder) in a store's place. The whole session
//! travels in its cookie; a request that reads or changes it waits for nobody. Only a login, a step-up, a rotation and an
//! end wait, for a revocation list that all nodes share: what they refuse is refused on every node within milliseconds,
//! and a node that lost touch with the list answers 503 rather than honour what may have been ended. Settings of the list
//! are [`ListSettings`].
//!
//! Some promises of a store can't be kept in a cookie. Of two changes at once the browser keeps one; an older cookie
//! brings older data back; one-time values can be used again; reuse isn't detected. `docs/sealed.md` in the repository
//! lists them all, in plain words.
//!
//! Below that, [`Sealer`] encrypts and authenticates a value for one cookie and one purpose, under the keys of a
//! [key ring](cloakroom::keyring), and [`SharedRing`] keeps such a ring in a store, for a fleet.

mod base64url;
mod derive;
mod draft;
mod history;
mod list;
mod log;
mod message;
#[cfg(test)]
mod model;
mod node;
mod overwritten;
mod packed;
mod replica;
mod rings;
mod salt;
mod seal;
mod sessions;
mod settings;
mod shared_ring;

pub use seal::{Rejected, Salt, Sealer, sealed_len};
pub use sessions::SealedSessions;
pub use settings::ListSettings;
pub use shared_ring::SharedRing;
