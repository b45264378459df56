//! The conformance suite every Cloakroom store passes, and a store that injects faults.
//!
//! # Testing a store
//!
//! One file in the `tests` folder of the store's crate:
//!
//! ```
//! # use cloakroom::MemoryStore as MyStore;
//! async fn open() -> MyStore {
//!     MyStore::new()
//! }
//!
//! cloakroom_store_test::suite!(open);
//! # fn main() {}
//! ```
//!
//! [`suite!`] makes one `#[test]` of each case, so a failure names its case and test runners run them side by side.
//! The argument is an expression for a [`Harness`]: a function that opens a new, empty store, or a type of your own
//! that also knows where the store keeps its things. It is evaluated anew for each case, on a Tokio runtime.
//!
//! What a store does beyond the least, or doesn't do, is declared behind it, separated by commas:
//!
//! | declaration | meaning |
//! |---|---|
//! | `without: index` | `Store::index` and `Store::revoke` answer `None`. A case checks that they do. |
//! | `without: listing` | `Store::index` answers `None`, and `Store::revoke` doesn't: the store ends a subject's sessions and can't enumerate them. A case checks that it is so. |
//! | `without: sweep` | The engine removes what has expired by itself. A case checks that a sweep does nothing. |
//! | `durable` | What was acknowledged is found when the place is opened again, after a close. |
//! | `shared` | Several stores can be open on the same place at once, by several processes. |
//!
//! No case is skipped in silence: a store that isn't declared to lack something is asked for it.
//!
//! ```
//! use cloakroom_store_test::{Harness, suite};
//! # use cloakroom::MemoryStore as FileStore;
//! # trait Open { async fn open(folder: &std::path::Path) -> FileStore; }
//! # impl Open for FileStore { async fn open(_: &std::path::Path) -> FileStore { FileStore::new() } }
//! # struct TempDir;
//! # impl TempDir { fn new() -> Self { TempDir } fn path(&self) -> &std::path::Path { std::path::Path::new("") } }
//!
//! /// Removed with everything in it when a case is over.
//! struct Folder(TempDir);
//!
//! impl Harness for Folder {
//!     type Store = FileStore;
//!
//!     async fn open(&self) -> FileStore {
//!         FileStore::open(self.0.path()).await
//!     }
//! }
//!
//! suite!(Folder(TempDir::new()), durable, without: sweep);
//! # fn main() {}
//! ```
//!
//! Time is an argument of every call, so no case sleeps to let something expire. It lies in the past: a store that
//! asks its own clock is found out. An engine that expires by itself has to be told how long, not until when.
//!
//! [`cases`] documents what each case demands. [`FaultyStore`] wraps any store and makes it fail on demand, for tests
//! of what stands on top of it.

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
