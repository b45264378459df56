//! The suite that every store passes.

use cloakroom_sqlite::SqliteStore;
use cloakroom_store_test::{Harness, suite};

use crate::fixture::Folder;

suite!(Folder::new(), durable, shared);

impl Harness for Folder {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.file()).unwrap()
    }
}
