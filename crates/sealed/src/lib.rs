//! Cloakroom sessions sealed into cookies.
//!
//! [`Sealer`] encrypts and authenticates a value for one cookie and one purpose, under the keys of a
//! [key ring](cloakroom::keyring). [`SharedRing`] keeps such a ring in a store, for a fleet.

mod base64url;
mod derive;
mod draft;
mod list;
mod log;
#[cfg(test)]
mod model;
mod node;
mod overwritten;
mod replica;
mod rings;
mod seal;
mod sessions;
mod settings;
mod shared_ring;

pub use seal::{Rejected, Salt, Sealer, sealed_len};
pub use sessions::SealedSessions;
pub use settings::ListSettings;
pub use shared_ring::SharedRing;
