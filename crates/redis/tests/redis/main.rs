//! Redis and Valkey as they are: the suite that every store passes, and what is theirs alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, wherever it stands")]

mod conformance;
mod failover;
mod fixture;
mod healing;
mod lifetimes;
mod opening;
mod scripts;
mod trouble;
