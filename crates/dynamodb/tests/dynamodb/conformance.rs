//! The suite that every store passes.

use cloakroom_dynamodb::DynamoDbStore;
use cloakroom_store_test::{Harness, suite};

use crate::fixture::Place;

suite!(Place::shared(), shared, durable, without: sweep);

impl Harness for Place {
    type Store = DynamoDbStore;

    async fn open(&self) -> DynamoDbStore {
        Place::open(self).await
    }
}
