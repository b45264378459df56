//! Cloakroom sessions sealed into cookies.
//!
//! [`Sealer`] encrypts and authenticates a value for one cookie and one purpose, under the keys of a
//! [key ring](cloakroom::keyring). [`SharedRing`] keeps such a ring in a store, for a fleet.

mod base64url;
mod derive;
mod list;
mod log;
mod node;
mod overwritten;
mod rings;
mod seal;
mod sessions;
mod shared_ring;

pub use node::ListSettings;
pub use seal::{Rejected, Salt, Sealer, sealed_len};
pub use sessions::SealedSessions;
pub use shared_ring::SharedRing;
