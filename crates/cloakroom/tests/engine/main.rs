//! The engine over the memory store, with the time and faults injected.

#![allow(clippy::unwrap_used, reason = "a test's support fails as a test does")]

mod alarms;
mod batches;
mod browser;
mod clocks;
mod detached;
mod events;
mod faults;
mod finishing;
mod hygiene;
mod keys;
mod late;
mod revocation;
mod sessions;
mod sweeping;
