//! What is DynamoDB's alone, and the suite that every store passes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, wherever it stands")]

mod conformance;
mod diagnosing;
mod fixture;
mod items;
mod opening;
mod outages;
mod round_trips;
