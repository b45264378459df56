//! `end`: final, and remembered for a while.

use cloakroom::store::{EndReason, Tombstone, Written};

use crate::{
    Harness,
    fixture::{self, MS, T0, before, changed, minutes, seconds, session, session_of, tombstone, version},
    tested::{Seen, Tested},
};

/// The tombstone is found in the session's place, with every field, for each reason there is.
pub async fn an_end_leaves_its_tombstone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let reasons = [EndReason::Logout, EndReason::Replaced, EndReason::Revoked, EndReason::Reuse];
    for (n, reason) in (1..).zip(reasons) {
        let record = session_of("user", n, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let now = T0 + seconds(n);
        let tombstone = Tombstone {
            id: record.id,
            version: version(),
            at: before(now, MS),
            reason,
            expires: now + minutes(n),
        };
        assert_eq!(store.end(tombstone, Some(record.version), now).await, Written::Stored);
        assert_eq!(store.load(record.id, now).await, Seen::Ended(tombstone));
    }
}

/// A tombstone is shown until the millisecond before it expires: also when the session would have expired earlier,
/// or later.
pub async fn a_tombstone_is_gone_when_it_expires<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for (n, kept) in (1..).zip([seconds(1), minutes(1), 2 * fixture::IDLE, 2 * fixture::ABSOLUTE]) {
        let record = session(n, T0);
        let tombstone = Tombstone { expires: T0 + kept, ..tombstone(record.id, T0) };
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
        assert_eq!(store.load(record.id, before(tombstone.expires, MS)).await, Seen::Ended(tombstone));
        assert_eq!(store.load(record.id, tombstone.expires).await, Seen::Absent);
        assert_eq!(store.load(record.id, tombstone.expires + seconds(1)).await, Seen::Absent);
    }
}

/// With the version of another record, an end changes nothing; with the stored one, it is done.
pub async fn a_conditional_end_conflicts_with_another_version<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let first = session(1, T0);
    let second = changed(&first);
    assert_eq!(store.create(&first, T0).await, Written::Stored);
    assert_eq!(store.replace(&second, first.version, T0).await, Written::Stored);
    let tombstone = tombstone(first.id, T0);
    for other in [first.version, version(), tombstone.version] {
        assert_eq!(store.end(tombstone, Some(other), T0).await, Written::Conflict);
        assert_eq!(store.load(first.id, T0).await, Seen::found(&second));
    }
    assert_eq!(store.end(tombstone, Some(second.version), T0).await, Written::Stored);
    assert_eq!(store.load(first.id, T0).await, Seen::Ended(tombstone));
}

/// Without an expected version, a session ends whatever was written meanwhile.
pub async fn an_unconditional_end_asks_for_no_version<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let first = session(1, T0);
    assert_eq!(store.create(&first, T0).await, Written::Stored);
    assert_eq!(store.replace(&changed(&first), first.version, T0).await, Written::Stored);
    let tombstone = tombstone(first.id, T0);
    assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
    assert_eq!(store.load(first.id, T0).await, Seen::Ended(tombstone));
}

/// A logout is final: no operation brings the session back, and a second end doesn't replace the first one's
/// tombstone.
pub async fn a7_4_1_an_end_is_final<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    let tombstone_1 = tombstone(record.id, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(store.end(tombstone_1, Some(record.version), T0).await, Written::Stored);
    let tombstone_2 = Tombstone { reason: EndReason::Reuse, ..tombstone(record.id, T0 + seconds(1)) };
    for expected in [None, Some(record.version), Some(tombstone_1.version)] {
        assert_eq!(store.end(tombstone_2, expected, T0).await, Written::Gone);
    }
    assert_eq!(store.replace(&changed(&record), record.version, T0).await, Written::Gone);
    assert_eq!(store.touch(record.id, T0, T0).await, Written::Gone);
    assert_eq!(store.create(&record, T0).await, Written::Conflict);
    assert_eq!(store.load(record.id, T0).await, Seen::Ended(tombstone_1));
}

/// An end ends one session and no other.
pub async fn an_end_leaves_other_sessions_alone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..20).map(|n| session_of("user", n, T0)).collect();
    for record in &records {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let tombstone = tombstone(records[7].id, T0);
    assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
    for (n, record) in records.iter().enumerate() {
        let expected = if n == 7 { Seen::Ended(tombstone) } else { Seen::found(record) };
        assert_eq!(store.load(record.id, T0).await, expected);
    }
}

/// The end of an expired session, or of one that never was: Gone, and no tombstone comes to be.
pub async fn r_revive_an_end_of_what_is_gone_leaves_nothing<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let now = record.expires();
    for (id, expected) in [(record.id, None), (record.id, Some(record.version)), (record.id, Some(version()))]
    {
        assert_eq!(store.end(tombstone(id, now), expected, now).await, Written::Gone);
        assert_eq!(store.load(id, now).await, Seen::Absent);
    }
    for expected in [None, Some(version())] {
        assert_eq!(store.end(tombstone(fixture::id(2), T0), expected, T0).await, Written::Gone);
        assert_eq!(store.load(fixture::id(2), T0).await, Seen::Absent);
    }
    assert_eq!(store.create(&session(2, T0), T0).await, Written::Stored);
}
