//! The index by subject.

use cloakroom::store::Store;

use crate::{Harness, tested::Tested};

/// A store declared `without: index` answers that it has none.
pub async fn a_store_declared_without_an_index_has_none<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    assert!(store.bare().index().is_none(), "the store has an index: remove `without: index`");
}
