//! Cloakroom end to end: the real probe over real HTTP, with sessions in memory, in a file and sealed into cookies. What
//! cookies can't hold says so: `on_every_store_but_cookies`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod anonymous;
mod authority;
mod cache;
mod cookies;
mod durability;
mod ending;
mod listing;
mod requests;
mod rotation;
mod secrecy;
mod start_and_stop;
mod store_trouble;
#[allow(dead_code, reason = "the tests of real engines use the rest")]
mod support;
mod writes;
