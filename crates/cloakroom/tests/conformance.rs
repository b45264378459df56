//! The memory store keeps the contract.

use cloakroom::MemoryStore;

async fn open() -> MemoryStore {
    MemoryStore::new()
}

cloakroom_store_test::suite!(open);
