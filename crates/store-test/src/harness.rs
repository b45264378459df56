//! How the suite gets at a store.

use std::future::Future;

use cloakroom::store::Store;

/// A place where a store lives, for the length of one case.
///
/// Any `Fn() -> impl Future<Output = impl Store>` is one, so for most stores an `async fn` is enough. A type of its own
/// serves stores that keep something outside the process: it owns the folder, the schema or the key prefix, and cleans
/// up when it is dropped.
pub trait Harness: Send + Sync + 'static {
    /// The store under test.
    type Store: Store;

    /// Opens the store. The first time it is empty, and shares nothing with the store of any other harness: cases run
    /// side by side.
    ///
    /// Only suites that are declared so call it again on the same harness: `durable` ones when the store it gave
    /// before is closed, to find in it everything that store acknowledged; `shared` ones while it is open, for a second
    /// one on the same place.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;
}

impl<F, Opening> Harness for F
where
    F: Fn() -> Opening + Send + Sync + 'static,
    Opening: Future<Output: Store> + Send,
{
    type Store = Opening::Output;

    fn open(&self) -> impl Future<Output = Self::Store> + Send {
        self()
    }
}
