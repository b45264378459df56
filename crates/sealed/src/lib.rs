//! Cloakroom sessions sealed into cookies.
//!
//! [`Sealer`] encrypts and authenticates a value for one cookie and one purpose, under the keys of a
//! [key ring](cloakroom::keyring).

mod base64url;
mod derive;
mod seal;

pub use seal::{Rejected, Salt, Sealer, sealed_len};
