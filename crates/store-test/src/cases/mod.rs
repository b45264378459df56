//! The cases, one function each. A case panics if the store breaks the contract.
//!
//! A case whose name begins with the id of a row of the security conformance table proves that row.

pub mod cancellation;
pub mod concurrency;
pub mod create;
pub mod durability;
pub mod end;
pub mod expiry;
pub mod index_races;
pub mod listing;
pub mod model;
pub mod records;
pub mod replace;
pub mod revocation;
pub mod revoking;
pub mod shared;
pub mod sweep;
pub mod touch;
