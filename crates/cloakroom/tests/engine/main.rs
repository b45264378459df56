//! The engine over the memory store, with the time and faults injected.

mod browser;
mod events;
mod faults;
mod revocation;
mod sessions;
