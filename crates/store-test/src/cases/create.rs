//! `create`: only it creates, and it never overwrites.

use cloakroom::store::{Store, Written};

use crate::{
    Harness,
    fixture::{T0, session},
    tested::{Seen, Tested},
};

/// A session that was created is found at once.
pub async fn a_created_session_is_found<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.load(record.id, T0).await, Seen::Absent);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
    assert!(!store.bare().kind().is_empty());
}
