//! The core through its public face: the lifecycle as a whole, in a small world with a store, browsers and a clock.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod exchange;
mod lifecycle;
mod login;
mod model;
mod planner;
mod rotation;
mod tokens;
mod world;
