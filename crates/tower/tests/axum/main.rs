//! The layer and the extractors in an axum application, driven in process.

mod app;
mod extractors;
mod headers;
mod layer;
mod lifecycle;
mod streams;
