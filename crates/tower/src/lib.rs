//! [Cloakroom](cloakroom) sessions for [tower](https://docs.rs/tower) services, with extractors for
//! [axum](https://docs.rs/axum).
//!
//! ```
//! use axum::{Router, routing::post};
//! use cloakroom::{Key, MemoryStore, Sessions};
//! use cloakroom_tower::{Problem, Session, SessionLayer};
//!
//! const CART: Key<Vec<String>> = Key::new("cart");
//!
//! async fn add(session: Session) -> Result<String, Problem> {
//!     session.update(CART, |cart| cart.push("umbrella".to_owned()))?;
//!     Ok(format!("{} in your cart", session.get(CART)?.unwrap_or_default().len()))
//! }
//!
//! let sessions = Sessions::builder(MemoryStore::new()).build()?;
//! let app: Router = Router::new().route("/add", post(add)).layer(SessionLayer::new(sessions));
//! # Ok::<(), cloakroom::Error>(())
//! ```
//!
//! A handler that doesn't ask for the session costs no store call. What one changes is stored when its response's head
//! is ready, before a byte of it is sent; then the `Set-Cookie`, `Cache-Control` and `Vary` headers are added that
//! belong to it. A change that can't be stored makes the response a [`Problem`], and leaves the browser's cookie alone.

#[cfg(feature = "axum")]
mod extract;
mod future;
mod layer;
mod local_path;
mod problem;
mod service;

#[cfg(feature = "axum")]
pub use extract::{Authenticated, DegradableSession, Session};
pub use future::ResponseFuture;
pub use layer::SessionLayer;
pub use local_path::local_path;
pub use problem::Problem;
pub use service::{SessionService, load};
