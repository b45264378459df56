//! The store on a real server, of whichever make the program's `Server` is.

mod conformance;
mod fixture;
mod loads;
mod revoking;
mod schema;
mod server;
#[cfg(feature = "tls")]
mod tls;
