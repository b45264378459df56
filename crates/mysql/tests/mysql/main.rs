//! The MySQL store on a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod conformance;
mod fixture;
mod loads;
mod revoking;
mod schema;
mod server;
#[cfg(feature = "tls")]
mod tls;
