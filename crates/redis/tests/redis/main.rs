//! Redis and Valkey as they are: the suite that every store passes, and what is theirs alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, wherever it stands")]

mod conformance;
mod diagnosis;
mod failover;
mod fake;
mod fixture;
mod healing;
mod lifetimes;
mod loads;
mod news;
mod opening;
mod redirected;
mod revoking;
mod scripts;
#[cfg(feature = "tls")]
mod tls;
mod trouble;
