//! The engine over the memory store, with the time and faults injected.

#![allow(clippy::unwrap_used, reason = "a test's support fails as a test does")]

mod browser;
mod clocks;
mod events;
mod faults;
mod keys;
mod revocation;
mod sessions;
