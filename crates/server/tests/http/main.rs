//! The real binary over real HTTP.

#![allow(clippy::expect_used, reason = "a test that can't go on says why by panicking")]

#[path = "../support/server.rs"]
mod server;
#[path = "../support/visitor.rs"]
mod visitor;

mod account;
mod cart;
mod guards;
mod keys;
mod pages;
#[cfg(feature = "sealed")]
mod sealed;
mod settings;
#[cfg(feature = "sealed")]
mod shared_keys;
mod stopping;
