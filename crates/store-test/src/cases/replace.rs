//! `replace`: compare-and-swap on the version, and never a creation.

use cloakroom::store::{Times, Written};
use cloakroom_core::{Lifetime, Record};

use crate::{
    Harness,
    fixture::{T0, changed, data, minutes, session, session_of, subject, tombstone, version},
    tested::{Seen, Tested},
};

/// Every field but the id is replaced.
pub async fn a_replace_stores_every_field<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let first = session(1, T0);
    assert_eq!(store.create(&first, T0).await, Written::Stored);
    let now = T0 + minutes(5);
    let second = Record {
        version: version(),
        subject: Some(subject("user")),
        authority: session(99, T0).authority,
        times: Times { created: T0, ..Times::start(Lifetime::NIST_AAL3, now, now) },
        client: None,
        data: data(r#"{"cart":["coat"],"n":2}"#),
        ..first.clone()
    };
    assert_eq!(store.replace(&second, first.version, now).await, Written::Stored);
    assert_eq!(store.load(first.id, now).await, Seen::found(&second));
    let third = Record { version: version(), client: Some("curl".into()), subject: None, ..second.clone() };
    assert_eq!(store.replace(&third, second.version, now).await, Written::Stored);
    assert_eq!(store.load(first.id, now).await, Seen::found(&third));
}

/// With another version than the stored one, nothing changes: neither one that never was, nor one that was replaced.
pub async fn a_replace_with_another_version_conflicts_and_changes_nothing<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let first = session(1, T0);
    let second = changed(&first);
    assert_eq!(store.create(&first, T0).await, Written::Stored);
    assert_eq!(store.replace(&second, first.version, T0).await, Written::Stored);
    let late = Record { subject: Some(subject("late")), ..changed(&first) };
    for other in [first.version, version(), late.version] {
        assert_eq!(store.replace(&late, other, T0).await, Written::Conflict);
        assert_eq!(store.load(first.id, T0).await, Seen::found(&second));
    }
    assert_eq!(store.replace(&late, second.version, T0).await, Written::Stored);
    assert_eq!(store.load(first.id, T0).await, Seen::found(&late));
}

/// A replace changes one session and no other.
pub async fn a_replace_leaves_other_sessions_alone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let mut records: Vec<_> = (0..20).map(|n| session_of("user", n, T0)).collect();
    for record in &records {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let next = changed(&records[7]);
    assert_eq!(store.replace(&next, records[7].version, T0).await, Written::Stored);
    records[7] = next;
    for record in &records {
        assert_eq!(store.load(record.id, T0).await, Seen::found(record));
    }
}

/// A slow request's write after a logout: Gone, whatever version it expects, and the tombstone stays.
pub async fn r_revive_a_replace_after_an_end_is_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session_of("user", 1, T0);
    let tombstone = tombstone(record.id, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(store.end(tombstone, Some(record.version), T0).await, Written::Stored);
    for expected in [record.version, tombstone.version, version()] {
        assert_eq!(store.replace(&changed(&record), expected, T0).await, Written::Gone);
        assert_eq!(store.load(record.id, T0).await, Seen::Ended(tombstone));
    }
    let now = tombstone.expires;
    assert_eq!(store.replace(&changed(&record), record.version, now).await, Written::Gone);
    assert_eq!(store.load(record.id, now).await, Seen::Absent);
}

/// A write after expiry: Gone, also with a record that would live on, and with another version (Gone, not Conflict).
pub async fn r_revive_a_replace_after_expiry_is_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let now = record.expires();
    let renewed = Record { times: session(1, now).times, ..changed(&record) };
    for expected in [record.version, version()] {
        assert_eq!(store.replace(&renewed, expected, now).await, Written::Gone);
        assert_eq!(store.load(record.id, now).await, Seen::Absent);
    }
}

/// A write to an id that never was: Gone, and nothing is left behind that could be loaded, listed or taken for taken.
pub async fn r_revive_a_replace_of_an_unknown_session_is_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session_of("user", 1, T0);
    for expected in [record.version, version()] {
        assert_eq!(store.replace(&record, expected, T0).await, Written::Gone);
        assert_eq!(store.load(record.id, T0).await, Seen::Absent);
    }
    assert_eq!(
        store.create(&record, T0).await,
        Written::Stored,
        "the replace left something in the id's place"
    );
}
