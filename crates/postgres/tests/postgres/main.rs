//! The PostgreSQL store on a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod conformance;
mod encrypted;
mod fixture;
mod loads;
mod news;
mod pooled;
mod revoking;
mod schema;
mod server;
mod storage;
