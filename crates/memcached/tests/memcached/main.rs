//! The Memcached store on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failing test may panic, and measurements are told"
)]

mod cancellation;
mod changing_servers;
mod conformance;
mod diagnosis;
mod ending;
mod fixture;
mod limits;
mod opening;
mod round_trips;
mod trouble;
