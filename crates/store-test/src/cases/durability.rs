//! Stores declared `durable`: what they acknowledged is there when they are opened again.

use std::time::Duration;

use cloakroom::{
    Error,
    store::{Store, Tombstone, Written},
};
use cloakroom_core::Record;

use super::{
    listing::{ids, is_listed, of},
    touch::active,
};
use crate::{
    Harness,
    fixture::{
        self, IDLE, MS, T0, before, changed, data, minutes, revocation, seconds, session, session_of,
        subject, tombstone,
    },
    race,
    tested::{Seen, Tested},
};

/// Every acknowledged change is there, to the last byte: created, replaced, touched, large and small.
pub async fn what_was_acknowledged_is_there_after_opening_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let large =
        Record { data: data(&format!(r#"{{"large":"{}"}}"#, "x🧥".repeat(3_000))), ..session(1, T0) };
    let (replaced, touched) = (session(2, T0), session_of("user", 3, T0));
    let created: Vec<_> = (10..60).map(|n| session_of("user", n, T0)).collect();
    for record in created.iter().chain([&large, &replaced, &touched]) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let next = of(&replaced, Some("o'Brien"));
    assert_eq!(store.replace(&next, replaced.version, T0).await, Written::Stored);
    let now = T0 + minutes(5);
    assert_eq!(store.touch(touched.id, now, now).await, Written::Stored);

    let store = reopened(&harness, store).await;
    for record in created.iter().chain([&large, &next, &active(&touched, now)]) {
        assert_eq!(store.load(record.id, now).await, Seen::found(record));
    }
    assert_eq!(store.replace(&changed(&replaced), replaced.version, now).await, Written::Conflict);
    let last = changed(&next);
    assert_eq!(store.replace(&last, next.version, now).await, Written::Stored);
    assert_eq!(store.load(last.id, now).await, Seen::found(&last));
}

/// A hundred generations of one session, and the store opened again after every tenth: none is lost, none comes back.
pub async fn no_update_is_lost_over_many_openings<H: Harness>(harness: H) {
    let mut store = Tested::open(&harness).await;
    let mut stored = session(1, T0);
    assert_eq!(store.create(&stored, T0).await, Written::Stored);
    for generation in 1..=100 {
        let next = changed(&stored);
        assert_eq!(store.replace(&next, stored.version, T0).await, Written::Stored);
        stored = next;
        if generation % 10 == 0 {
            store = reopened(&harness, store).await;
            assert_eq!(store.load(stored.id, T0).await, Seen::found(&stored), "generation {generation}");
        }
    }
}

/// What had ended stays ended: tombstones are kept with every field, and expire as they would have.
pub async fn r_revive_what_had_ended_stays_ended_after_opening_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..10).map(|n| session_of("user", n, T0)).collect();
    let left: Vec<Tombstone> = records.iter().map(|record| tombstone(record.id, T0)).collect();
    for (record, tombstone) in records.iter().zip(&left) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
        assert_eq!(store.end(*tombstone, Some(record.version), T0).await, Written::Stored);
    }
    let store = reopened(&harness, store).await;
    let now = before(left[0].expires, MS);
    for (record, tombstone) in records.iter().zip(&left) {
        assert_eq!(store.load(record.id, now).await, Seen::Ended(*tombstone));
        assert_eq!(store.replace(&changed(record), record.version, now).await, Written::Gone);
        assert_eq!(store.touch(record.id, now, now).await, Written::Gone);
        assert_eq!(store.create(record, now).await, Written::Conflict);
        assert_eq!(store.load(record.id, tombstone.expires).await, Seen::Absent);
    }
}

/// What expired while the store was closed is gone when it is opened, to the millisecond, and is swept as ever.
pub async fn a7_3_1_what_expired_meanwhile_is_gone_after_opening_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (expired, living, touched) = (session(1, T0), session(2, T0 + MS), session(3, T0));
    for record in [&expired, &living, &touched] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    assert_eq!(store.touch(touched.id, T0 + seconds(9), T0 + seconds(9)).await, Written::Stored);
    let store = reopened(&harness, store).await;
    let now = T0 + IDLE;
    assert_eq!(store.load(expired.id, before(now, MS)).await, Seen::found(&expired));
    assert_eq!(store.load(expired.id, now).await, Seen::Absent);
    assert_eq!(store.replace(&changed(&expired), expired.version, now).await, Written::Gone);
    let swept = store.sweep_all(now).await;
    assert!(swept.iter().all(|(id, _)| *id == expired.id), "swept what lives: {swept:?}");
    assert_eq!(store.load(living.id, now).await, Seen::found(&living));
    assert_eq!(store.load(touched.id, now).await, Seen::found(&active(&touched, T0 + seconds(9))));
    assert_eq!(store.load(touched.id, now + seconds(9)).await, Seen::Absent);
}

/// A close waits for what was accepted: whatever was answered with Stored beside it is there afterwards, and what was
/// refused or failed is there whole or not at all.
pub async fn a_close_loses_nothing_that_was_acknowledged<H: Harness>(harness: H) {
    let mut store = Tested::open(&harness).await;
    for round in 0..4 {
        let records: Vec<_> = (0..120).map(|n| session_of("user", 1_000 * round + n, T0)).collect();
        let creates = race::all(records.iter().cloned().enumerate().map(|(n, record)| {
            let store = store.clone();
            async move {
                race::waited(n as u64 / 4).await;
                store.bare().create(record.into(), T0).await
            }
        }));
        let close = {
            let store = store.clone();
            async move {
                race::waited(10 * round).await;
                store.bare().close().await
            }
        };
        let (closed, answers) = race::both(close, creates).await;
        closed.unwrap_or_else(|error| panic!("close failed: {error:?}"));
        store = reopened(&harness, store).await;
        for (record, answer) in records.iter().zip(&answers) {
            let seen = store.load(record.id, T0).await;
            let is_stored = matches!(answer, Ok(Written::Stored));
            let is_right = seen == Seen::found(record) || (!is_stored && seen == Seen::Absent);
            assert!(is_right, "answered {answer:?}, and found {seen:?}");
        }
    }
}

/// After a close, calls fail at once; they neither hang nor answer as if nothing were stored.
pub async fn after_a_close_calls_fail<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    store.bare().close().await.unwrap_or_else(|error| panic!("close failed: {error:?}"));
    let bare = store.bare();
    fails("load", bare.load(record.id, T0)).await;
    fails("create", bare.create(session(2, T0).into(), T0)).await;
    fails("replace", bare.replace(changed(&record).into(), record.version, T0)).await;
    fails("touch", bare.touch(record.id, T0, T0)).await;
    fails("end", bare.end(tombstone(record.id, T0), None, T0)).await;
    let store = reopened(&harness, store).await;
    assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
}

async fn fails<T>(operation: &str, call: impl Future<Output = Result<T, Error>>) {
    match tokio::time::timeout(Duration::from_secs(10), call).await {
        Ok(Err(_)) => {}
        Ok(Ok(_)) => panic!("{operation} was answered by a store that is closed"),
        Err(_) => panic!("{operation} hangs on a store that is closed"),
    }
}

/// A revocation holds, spares whom it spared, and is noted.
pub async fn r_revive_a_revocation_holds_after_opening_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let own: Vec<_> = (0..10).map(|n| session_of("user", n, T0)).collect();
    for record in &own {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let note = revocation(T0, Some(own[0].id));
    store.revoke_all(&subject("user"), note, T0).await;
    let store = reopened(&harness, store).await;
    for record in &own[1..] {
        assert_eq!(store.replace(&changed(record), record.version, T0).await, Written::Gone);
        let seen = store.load(record.id, T0).await;
        assert!(!matches!(seen, Seen::Found(_)), "ended, and found after opening again: {seen:?}");
    }
    assert_eq!(store.load(own[0].id, T0).await, Seen::found(&own[0]));
    assert_eq!(store.last_revocation(&subject("user"), T0).await, Some(note));
}

/// The index, the notes of revocations and the end of all are there too.
pub async fn the_index_is_there_after_opening_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (cut_at, now) = (T0 + minutes(1), T0 + minutes(2));
    let cut: Vec<_> = (0..5).map(|n| session_of("user", n, T0)).collect();
    let kept: Vec<_> = (5..10).map(|n| session_of("user", n, cut_at)).collect();
    let revoked: Vec<_> = (10..15).map(|n| session_of("revoked", n, cut_at)).collect();
    let moved = session_of("user", 20, cut_at);
    for record in cut.iter().chain(&kept).chain(&revoked).chain([&moved]) {
        assert_eq!(store.create(record, cut_at).await, Written::Stored);
    }
    let note = revocation(now, Some(revoked[0].id));
    store.end_started_before(cut_at, now).await;
    assert_eq!(store.end_subject(&subject("revoked"), note, now).await, ids(&revoked[1..]));
    let arrived = of(&moved, Some("arrived"));
    assert_eq!(store.replace(&arrived, moved.version, now).await, Written::Stored);

    let store = reopened(&harness, store).await;
    is_listed(&store, "user", &kept, now).await;
    is_listed(&store, "revoked", &revoked[..1], now).await;
    is_listed(&store, "arrived", &[arrived], now).await;
    assert_eq!(store.last_revocation(&subject("revoked"), now).await, Some(note));
    assert_eq!(store.last_revocation(&subject("user"), now).await, None);
    for record in &cut {
        assert_eq!(store.load(record.id, now).await, Seen::Absent);
        assert_eq!(store.replace(&changed(record), record.version, now).await, Written::Gone);
    }
    store.end_started_before(T0, now).await;
    assert_eq!(store.load(cut[0].id, now).await, Seen::Absent, "an earlier instant brought a session back");
    assert!(
        matches!(store.load(revoked[1].id, now).await, Seen::Ended(left) if left.version == note.version)
    );
    let late = session_of("user", 30, before(cut_at, fixture::MS));
    let _ = store.create(&late, now).await;
    assert_eq!(store.load(late.id, now).await, Seen::Absent);
}

/// The store, closed and opened again.
async fn reopened<H: Harness>(harness: &H, store: Tested<H::Store>) -> Tested<H::Store> {
    store.bare().close().await.unwrap_or_else(|error| panic!("close failed: {error:?}"));
    drop(store);
    Tested::open(harness).await
}
