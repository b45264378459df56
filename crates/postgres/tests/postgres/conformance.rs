//! The contract of every store.

use crate::fixture::Database;

cloakroom_store_test::suite!(Database::new(), shared, durable);
