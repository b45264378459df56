//! The core through its public face: the lifecycle as a whole, in a small world with a store, browsers and a clock.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod ask;
mod authority;
mod bound;
mod exchange;
mod keys;
mod lifecycle;
mod login;
mod mistakes;
mod model;
mod parallel;
mod planner;
mod random;
mod rotation;
mod rules;
mod runs;
mod store;
mod tokens;
mod world;
