//! Web sessions that lose no update and never come back from the dead.
//!
//! HTTP is stateless; a session keeps a visitor's state across requests. This crate is the engine: [`Sessions`] (a
//! store, a policy and a cookie), [`Session`] (what a handler gets), the [`Store`](store::Store) contract, and
//! [`MemoryStore`]. Other stores and the adapters for web frameworks are crates of their own.
//!
//! ```
//! use cloakroom::{Key, MemoryStore, Session, Sessions, Subject};
//!
//! const CART: Key<Vec<String>> = Key::new("cart");
//!
//! # async fn demo() -> Result<(), cloakroom::Error> {
//! let sessions = Sessions::builder(MemoryStore::new()).build()?;
//!
//! // An adapter does this for each request, around the handler.
//! let exchange = sessions.begin();
//! let session = exchange.session(std::iter::empty(), None).await?;
//! session.update(CART, |cart| cart.push("umbrella".to_owned()))?;
//! session.login(Subject::new("user-1815")?)?;
//! let outcome = exchange.commit().await?;
//! assert!(outcome.set_cookie.is_some());
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(demo()).unwrap();
//! ```
//!
//! What it promises, on every store: parallel requests lose no update; nothing brings an ended session back; a store
//! that fails logs nobody out; a login makes every earlier token worthless at once.

mod authentic;
mod batches;
mod builder;
mod carried;
pub mod carrier;
mod change;
mod client;
pub mod clock;
mod commit;
mod confirm;
mod deadline;
mod detached;
mod error;
pub mod event;
pub mod exchange;
pub mod guard;
pub mod keyring;
mod keys;
mod load;
mod memory;
mod outcome;
mod room;
mod session;
mod sessions;
pub mod store;
mod subjects;
mod sweep;
mod watch;

pub use builder::Builder;
pub use cloakroom_core::{
    Data, Error as CoreError, Key, Lifetime, Policy, Record, SessionId, Subject, Timestamp, Version, cookie,
    policy::CarryOver,
};
pub use detached::Detached;
pub use error::Error;
pub use exchange::Exchange;
pub use memory::MemoryStore;
pub use session::Session;
pub use sessions::Sessions;
pub use subjects::{Revocations, Subjects};
