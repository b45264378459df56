//! `sweep`: removes what has expired, a part at a time, and tells what it removed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cloakroom::store::{Store, Written};
use cloakroom_core::{Record, SessionId, Subject};

use super::touch::active;
use crate::{
    Harness,
    fixture::{ABSOLUTE, IDLE, MS, T0, before, changed, minutes, seconds, session, session_of, tombstone},
    race,
    tested::{Seen, Tested},
};

/// Sessions that have expired are removed and reported, each once and with its subject; living ones stay, to the
/// millisecond.
pub async fn a_sweep_removes_what_has_expired_and_nothing_else<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let anonymous = session(1, T0);
    let of_a_user = session_of("user", 2, T0);
    let living = session_of("user", 3, T0 + MS);
    let active = session(4, T0);
    for record in [&anonymous, &of_a_user, &living, &active] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    assert_eq!(store.touch(active.id, T0 + MS, T0 + MS).await, Written::Stored);
    assert_eq!(reported(store.sweep_all(before(T0 + IDLE, MS)).await), BTreeMap::new());
    let now = T0 + IDLE;
    assert_eq!(reported(store.sweep_all(now).await), owners(&[&anonymous, &of_a_user]));
    assert_eq!(reported(store.sweep_all(now).await), BTreeMap::new(), "a second sweep removes nothing");
    for removed in [&anonymous, &of_a_user] {
        assert_eq!(store.load(removed.id, now).await, Seen::Absent);
    }
    assert_eq!(store.load(living.id, now).await, Seen::found(&living));
    assert!(store.load(active.id, now).await.record().is_some(), "a session in use was swept");
}

/// What was created with one expiry is swept by the one it has now: later after a touch, later or earlier after a
/// replace.
pub async fn a_sweep_goes_by_the_latest_expiry<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (touched, lengthened, shortened) = (session(1, T0), session(2, T0), session(3, T0));
    for record in [&touched, &lengthened, &shortened] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    assert_eq!(store.touch(touched.id, T0 + minutes(29), T0 + minutes(29)).await, Written::Stored);
    let lasting = with_idle(&changed(&lengthened), 3_600);
    let brief = with_idle(&changed(&shortened), 60);
    assert_eq!(store.replace(&lasting, lengthened.version, T0).await, Written::Stored);
    assert_eq!(store.replace(&brief, shortened.version, T0).await, Written::Stored);

    assert_eq!(reported(store.sweep_all(before(T0 + minutes(1), MS)).await), BTreeMap::new());
    assert_eq!(reported(store.sweep_all(T0 + minutes(1)).await), owners(&[&brief]));
    assert_eq!(reported(store.sweep_all(before(T0 + minutes(59), MS)).await), BTreeMap::new());
    assert_eq!(
        store.load(touched.id, T0 + minutes(58)).await,
        Seen::found(&active(&touched, T0 + minutes(29)))
    );
    assert_eq!(reported(store.sweep_all(T0 + minutes(59)).await), owners(&[&touched]));
    assert_eq!(reported(store.sweep_all(before(T0 + minutes(60), MS)).await), BTreeMap::new());
    assert_eq!(store.load(lasting.id, T0 + minutes(59)).await, Seen::found(&lasting));
    assert_eq!(reported(store.sweep_all(T0 + minutes(60)).await), owners(&[&lasting]));
}

/// However active, a session is swept once its absolute end has come.
pub async fn a7_3_2_a_sweep_removes_active_sessions_at_their_absolute_end<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let (end, mut now) = (T0 + ABSOLUTE, T0);
    while now < before(end, minutes(20)) {
        now = now + minutes(20);
        assert_eq!(store.touch(record.id, now, now).await, Written::Stored);
        assert_eq!(reported(store.sweep_all(now).await), BTreeMap::new());
    }
    assert_eq!(store.touch(record.id, before(end, MS), before(end, MS)).await, Written::Stored);
    assert_eq!(reported(store.sweep_all(before(end, MS)).await), BTreeMap::new());
    assert_eq!(reported(store.sweep_all(end).await), owners(&[&record]));
}

/// One call removes at most as many as it is allowed, and says that more is left for as long as it is: by sweeping
/// until it denies that, everything is removed.
pub async fn a_sweep_is_bounded_and_says_whether_more_is_left<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let expired: Vec<_> = (0..100).map(|n| session_of("user", n, T0)).collect();
    let living: Vec<_> = (100..120).map(|n| session_of("user", n, T0 + minutes(1))).collect();
    for record in expired.iter().chain(&living) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    assert_eq!(reported(store.sweep_all(T0).await), BTreeMap::new(), "nothing has expired yet");
    let (now, mut removed, mut calls) = (T0 + IDLE, Vec::new(), 0);
    for limit in [1, 7, 30].into_iter().cycle() {
        let swept = store.sweep(now, limit).await;
        assert!(swept.expired.len() <= limit, "{} removed in one call, {limit} allowed", swept.expired.len());
        removed.extend(swept.expired);
        calls += 1;
        assert!(calls < 5_000, "after {calls} calls the store still says that more is left");
        if !swept.is_more {
            break;
        }
    }
    assert_eq!(reported(removed), owners(&expired.iter().collect::<Vec<_>>()));
    for record in &living {
        assert_eq!(store.load(record.id, now).await, Seen::found(record));
    }
}

/// Tombstones that have expired make room; others stay. They aren't reported: their sessions didn't expire.
pub async fn a_sweep_removes_expired_tombstones_only<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (early, late) = (session(1, T0), session(2, T0));
    let (early_stone, late_stone) = (tombstone(early.id, T0), tombstone(late.id, T0 + MS));
    for (record, tombstone) in [(&early, early_stone), (&late, late_stone)] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
        assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
    }
    assert_eq!(reported(store.sweep_all(before(early_stone.expires, MS)).await), BTreeMap::new());
    assert_eq!(store.load(early.id, before(early_stone.expires, MS)).await, Seen::Ended(early_stone));
    let now = early_stone.expires;
    assert_eq!(reported(store.sweep_all(now).await), BTreeMap::new());
    assert_eq!(store.load(late.id, now).await, Seen::Ended(late_stone));
    assert_eq!(
        store.create(&session(1, now), now).await,
        Written::Stored,
        "the expired tombstone wasn't removed"
    );
    assert_eq!(store.create(&session(2, now), now).await, Written::Conflict, "the other one was");
    let after_the_session_would_have_ended = T0 + 2 * IDLE;
    let swept = reported(store.sweep_all(after_the_session_would_have_ended).await);
    assert!(!swept.contains_key(&late.id), "an ended session is reported as expired");
}

/// The limit counts tombstones too, so that one call never takes long.
pub async fn a_sweep_counts_tombstones_too<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for n in 0..60 {
        let record = session(n, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        assert_eq!(store.end(tombstone(record.id, T0), None, T0).await, Written::Stored);
    }
    let now = T0 + minutes(1);
    let swept = store.sweep(now, 10).await;
    assert!(swept.expired.is_empty() && swept.is_more, "of 60 tombstones one call may remove 10: {swept:?}");
    let mut removed = 0;
    for n in 0..60 {
        // Its id is free again once a tombstone was removed.
        removed += usize::from(store.create(&session(n, now), now).await == Written::Stored);
    }
    assert!(removed <= 10, "{removed} tombstones were removed in one call, 10 allowed");
}

/// Whatever comes after a sweep finds nothing of what it removed, and leaves nothing.
pub async fn r_revive_writes_after_a_sweep_are_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..3).map(|n| session_of("user", n, T0)).collect();
    for record in &records {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let now = T0 + IDLE;
    store.sweep_all(now).await;
    assert_eq!(store.replace(&changed(&records[0]), records[0].version, now).await, Written::Gone);
    assert_eq!(store.touch(records[1].id, now, now).await, Written::Gone);
    assert_eq!(store.end(tombstone(records[2].id, now), None, now).await, Written::Gone);
    for record in &records {
        assert_eq!(store.load(record.id, now).await, Seen::Absent);
    }
}

/// Sweeping beside everything else, again and again, takes no living session and loses no write.
pub async fn sweeps_under_load_take_nothing_that_lives<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let sweeper = tokio::spawn(sweeps(store.clone(), Arc::clone(&is_over)));
    race::all((0..8).map(|visitor| visits(store.clone(), visitor * 1_000))).await;
    is_over.store(true, Ordering::SeqCst);
    race::joined(sweeper).await;
}

async fn sweeps<S: Store>(store: Tested<S>, is_over: Arc<AtomicBool>) {
    for n in (0..60).cycle() {
        store.sweep(T0 + IDLE + seconds(n), 10).await;
        tokio::task::yield_now().await;
        if is_over.load(Ordering::SeqCst) {
            return;
        }
    }
}

async fn visits<S: Store>(store: Tested<S>, first: u64) {
    for n in 0..25 {
        let now = T0 + IDLE + seconds(n);
        let (short, long) = (session(first + n, T0 + seconds(n + 1)), session(first + 500 + n, now));
        for record in [&short, &long] {
            assert_eq!(store.create(record, now).await, Written::Stored);
        }
        race::waited(2).await;
        let next = changed(&long);
        assert_eq!(store.replace(&next, long.version, now).await, Written::Stored);
        assert_eq!(store.load(short.id, now + seconds(1)).await, Seen::Absent);
        assert_eq!(store.load(long.id, now).await, Seen::found(&next));
    }
}

/// A store declared `without: sweep` has nothing to sweep, and says so.
pub async fn a_store_declared_without_a_sweep_removes_nothing<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    assert_eq!(store.create(&session(1, T0), T0).await, Written::Stored);
    let swept = store.sweep(T0 + IDLE, 100).await;
    assert!(swept.expired.is_empty() && !swept.is_more, "the store sweeps: remove `without: sweep`");
}

fn with_idle(record: &Record, idle_s: u32) -> Record {
    let mut record = record.clone();
    record.times.idle_s = idle_s;
    record
}

/// What sweeps reported, by id. No session is reported twice.
fn reported(removed: Vec<(SessionId, Option<Subject>)>) -> BTreeMap<SessionId, Option<Subject>> {
    let count = removed.len();
    let by_id: BTreeMap<_, _> = removed.into_iter().collect();
    assert_eq!(by_id.len(), count, "a session is reported twice");
    by_id
}

fn owners(records: &[&Record]) -> BTreeMap<SessionId, Option<Subject>> {
    records.iter().map(|record| (record.id, record.subject.clone())).collect()
}
