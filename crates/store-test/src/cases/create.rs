//! `create`: only it creates, and it never overwrites.

use cloakroom::store::{Store, Written};

use crate::{
    Harness,
    fixture::{self, T0, session, session_of, tombstone},
    tested::{Seen, Tested},
};

/// A session that was created is found at once, and nothing is found before.
pub async fn a_created_session_is_found<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.load(record.id, T0).await, Seen::Absent);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
    assert_eq!(store.load(fixture::id(2), T0).await, Seen::Absent);
}

/// The kind of store is one lower-case word, fit for a metric's label.
pub async fn the_kind_is_one_word<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let kind = store.bare().kind();
    let is_word = kind.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    assert!(is_word && !kind.is_empty(), "`{kind}` isn't one lower-case word");
}

/// The id of a living session is taken: `create` answers Conflict, also to the very same record, and changes nothing.
pub async fn a_create_never_overwrites_a_living_session<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session_of("owner", 1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    for other in [session_of("thief", 1, T0), fixture::changed(&record), record.clone()] {
        assert_eq!(store.create(&other, T0).await, Written::Conflict);
        assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
    }
}

/// The id of an expired session is taken until it was swept, so that no late request can begin it again.
pub async fn r_revive_a_create_never_overwrites_an_expired_session<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let later = record.expires();
    assert_eq!(store.create(&session(1, later), later).await, Written::Conflict);
    assert_eq!(store.load(record.id, later).await, Seen::Absent);
}

/// The id of an ended session is taken, while its tombstone is shown and after.
pub async fn r_revive_a_create_never_overwrites_a_tombstone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    let tombstone = tombstone(record.id, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
    assert_eq!(store.create(&record, T0).await, Written::Conflict);
    assert_eq!(store.load(record.id, T0).await, Seen::Ended(tombstone));
    let later = tombstone.expires;
    assert_eq!(store.create(&session(1, later), later).await, Written::Conflict);
    assert_eq!(store.load(record.id, later).await, Seen::Absent);
}
