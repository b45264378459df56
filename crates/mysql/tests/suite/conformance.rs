//! The contract of every store.

use super::fixture::Database;

cloakroom_store_test::suite!(Database::new(), shared, durable);
