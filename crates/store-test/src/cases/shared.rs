//! Stores declared `shared`: several are open on the same place at once, as by the processes of a fleet, and are one
//! store to everybody.

use cloakroom::store::{Store, Written};
use cloakroom_core::Record;

use super::{
    concurrency::increments,
    listing::{ids, is_listed, of},
    touch::active,
};
use crate::{
    Harness,
    fixture::{MS, T0, before, changed, data, minutes, revocation, session, session_of, subject, tombstone},
    race,
    tested::{Seen, Tested},
};

/// A change that one has answered is seen by the other's next load.
pub async fn a_change_by_one_is_seen_by_the_other<H: Harness>(harness: H) {
    let (one, other) = (Tested::open(&harness).await, Tested::open(&harness).await);
    let record = session(1, T0);
    assert_eq!(other.load(record.id, T0).await, Seen::Absent);
    assert_eq!(one.create(&record, T0).await, Written::Stored);
    assert_eq!(other.load(record.id, T0).await, Seen::found(&record));
    assert_eq!(other.create(&record, T0).await, Written::Conflict);
    let mut stored = record;
    for (writer, reader) in [(&one, &other), (&other, &one), (&one, &other)] {
        let next = changed(&stored);
        assert_eq!(writer.replace(&next, stored.version, T0).await, Written::Stored);
        assert_eq!(reader.load(next.id, T0).await, Seen::found(&next));
        assert_eq!(reader.replace(&changed(&stored), stored.version, T0).await, Written::Conflict);
        stored = next;
    }
    let now = T0 + minutes(1);
    assert_eq!(one.touch(stored.id, now, now).await, Written::Stored);
    assert_eq!(other.load(stored.id, now).await, Seen::found(&active(&stored, now)));
}

/// A logout with one is final with the other, at the next call.
pub async fn a7_4_1_an_end_by_one_is_final_for_the_other<H: Harness>(harness: H) {
    let (one, other) = (Tested::open(&harness).await, Tested::open(&harness).await);
    for n in 0..20 {
        let record = session_of("user", n, T0);
        let tombstone = tombstone(record.id, T0);
        assert_eq!(one.create(&record, T0).await, Written::Stored);
        assert_eq!(other.load(record.id, T0).await, Seen::found(&record));
        assert_eq!(one.end(tombstone, Some(record.version), T0).await, Written::Stored);
        assert_eq!(other.load(record.id, T0).await, Seen::Ended(tombstone));
        assert_eq!(other.replace(&changed(&record), record.version, T0).await, Written::Gone);
        assert_eq!(other.touch(record.id, T0, T0).await, Written::Gone);
        assert_eq!(other.create(&record, T0).await, Written::Conflict);
    }
}

/// Two hundred increments by eight writers, half of them with each: the count is two hundred.
pub async fn no_update_is_lost_between_two<H: Harness>(harness: H) {
    let stores = [Tested::open(&harness).await, Tested::open(&harness).await];
    let record = Record { data: data(r#"{"count":0}"#), ..session(1, T0) };
    assert_eq!(stores[0].create(&record, T0).await, Written::Stored);
    race::all((0..8).map(|n| increments(stores[n % 2].clone(), record.clone(), 25))).await;
    for store in &stores {
        let found = store.load(record.id, T0).await.record().map(|record| record.data);
        assert_eq!(found, Some(data(r#"{"count":200}"#)));
    }
}

/// One that is closed takes nothing from the other.
pub async fn a_close_of_one_leaves_the_other_open<H: Harness>(harness: H) {
    let (one, other) = (Tested::open(&harness).await, Tested::open(&harness).await);
    let record = session(1, T0);
    assert_eq!(one.create(&record, T0).await, Written::Stored);
    one.bare().close().await.unwrap_or_else(|error| panic!("close failed: {error:?}"));
    drop(one);
    assert_eq!(other.load(record.id, T0).await, Seen::found(&record));
    let next = changed(&record);
    assert_eq!(other.replace(&next, record.version, T0).await, Written::Stored);
    let third = Tested::open(&harness).await;
    assert_eq!(third.load(record.id, T0).await, Seen::found(&next));
}

/// A revocation by one holds for the other at once, also for sessions that the other has seen alive, and is noted for
/// both.
pub async fn a7_4_2_a_revocation_by_one_holds_for_the_other<H: Harness>(harness: H) {
    let (one, other) = (Tested::open(&harness).await, Tested::open(&harness).await);
    for n in 0..20 {
        let name = format!("user-{n}");
        let (record, spared) = (session_of(&name, 2 * n, T0), session_of(&name, 2 * n + 1, T0));
        for (writer, record) in [(&one, &record), (&other, &spared)] {
            assert_eq!(writer.create(record, T0).await, Written::Stored);
        }
        for store in [&one, &other] {
            assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
            assert_eq!(store.load(spared.id, T0).await, Seen::found(&spared));
        }
        let note = revocation(T0, Some(spared.id));
        one.revoke_all(&subject(&name), note, T0).await;
        assert_eq!(other.replace(&changed(&record), record.version, T0).await, Written::Gone);
        assert_eq!(other.touch(record.id, T0, T0).await, Written::Gone);
        let seen = other.load(record.id, T0).await;
        assert!(!matches!(seen, Seen::Found(_)), "ended by one, found by the other: {seen:?}");
        assert_eq!(other.last_revocation(&subject(&name), T0).await, Some(note));
        let next = changed(&spared);
        assert_eq!(other.replace(&next, spared.version, T0).await, Written::Stored);
        assert_eq!(one.load(spared.id, T0).await, Seen::found(&next));
    }
}

/// The index, the notes of revocations and the end of all are the same to both.
pub async fn the_index_is_one_to_both<H: Harness>(harness: H) {
    let (one, other) = (Tested::open(&harness).await, Tested::open(&harness).await);
    let own: Vec<_> = (0..6).map(|n| session_of("user", n, T0)).collect();
    for (n, record) in own.iter().enumerate() {
        let store = if n % 2 == 0 { &one } else { &other };
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    is_listed(&one, "user", &own, T0).await;
    is_listed(&other, "user", &own, T0).await;
    let moved = of(&own[0], Some("moved"));
    assert_eq!(one.replace(&moved, own[0].version, T0).await, Written::Stored);
    is_listed(&other, "user", &own[1..], T0).await;

    let note = revocation(T0, None);
    assert_eq!(one.end_subject(&subject("user"), note, T0).await, ids(&own[1..]));
    is_listed(&other, "user", &[], T0).await;
    assert_eq!(other.last_revocation(&subject("user"), T0).await, Some(note));

    let now = T0 + minutes(1);
    other.end_started_before(now, now).await;
    assert_eq!(one.load(moved.id, now).await, Seen::Absent);
    is_listed(&one, "moved", &[], now).await;
    let late = session_of("late", 20, before(now, MS));
    let _ = one.create(&late, now).await;
    assert_eq!(one.load(late.id, now).await, Seen::Absent);
}
