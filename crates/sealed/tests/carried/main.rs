//! Sessions in sealed cookies, from request to response, on one node and on several.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod attacks;
mod batches;
mod compressed;
mod cookies;
mod ending_others;
mod fixture;
mod lifetimes;
mod lost;
mod outage;
mod overflow;
mod revocation;
mod rotation;
