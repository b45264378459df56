//! Cloakroom measured beside its peers: what a session costs a request, and what a million of them cost a process.
//!
//! Everything that is compared is measured in one run, in turns, and reported as a ratio or a difference within that
//! run: the machine's mood is then the same for all.

pub mod apps;
pub mod callgrind;
pub mod counted;
pub mod figures;
mod floor;
pub mod machine;
pub mod memory;
pub mod peer;
pub mod population;
pub mod request;
pub mod scaling;
pub mod sealed;
pub mod sqlite;
pub mod steps;
pub mod stores;
pub mod table;

/// A runtime on this thread alone, as each of the measurements uses.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime needs no more than memory")
}
