//! The layer and the extractors in an axum application, driven in process.

#![allow(clippy::unwrap_used, reason = "a test's support fails as a test does")]

mod app;
mod extractors;
mod headers;
mod layer;
mod lifecycle;
mod sealed;
mod streams;
