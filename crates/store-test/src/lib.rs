//! The conformance suite every Cloakroom store passes, and a store that injects faults.
//!
//! # Testing a store
//!
//! One file in the `tests` folder of the store's crate:
//!
//! ```ignore
//! // tests/conformance.rs
//! async fn open() -> MyStore {
//!     MyStore::new()
//! }
//!
//! cloakroom_store_test::suite!(open);
//! ```
//!
//! [`suite!`] makes one `#[test]` of each case, so a failure names its case and test runners run them side by side.
//! The argument is an expression for a [`Harness`]: a function that opens a new, empty store, or a type of your own
//! that also knows where the store keeps its files. It is evaluated anew for each case, inside a Tokio runtime.
//!
//! What a store doesn't do is declared, and the declaration is checked; no case is ever skipped in silence:
//!
//! ```ignore
//! suite!(open, without: index);   // `Store::index` answers None: it can't enumerate
//! suite!(open, without: sweep);   // the engine removes what has expired by itself
//! suite!(Files::new(), durable);  // a second `Harness::open` finds what the first store kept
//! ```
//!
//! Time is an argument of every call, so no case sleeps to let something expire. It lies in the past: a store that
//! asks its own clock fails.
//!
//! [`cases`] documents what each case demands.

pub mod cases;
mod drops;
mod faulty;
mod fixture;
mod harness;
mod race;
mod suite;
mod tested;

pub use faulty::{Fault, FaultyStore, Op};
pub use harness::Harness;
pub use suite::{Case, run};
