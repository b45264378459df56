//! `touch`: notes activity, and nothing else.

use cloakroom::store::{Times, Written};
use cloakroom_core::{Record, Timestamp};

use crate::{
    Harness,
    fixture::{self, MS, T0, before, changed, minutes, seconds, session, session_of, tombstone},
    tested::{Seen, Tested},
};

/// The stored activity moves, and with it the idle expiry; the version and everything else stay.
pub async fn a_touch_moves_activity_and_nothing_else<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session_of("user", 1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let now = T0 + minutes(10);
    assert_eq!(store.touch(record.id, now, now).await, Written::Stored);
    let touched = active(&record, now);
    assert_eq!(store.load(record.id, now).await, Seen::found(&touched));
    assert_eq!(store.load(record.id, before(touched.expires(), MS)).await, Seen::found(&touched));
    assert_eq!(store.load(record.id, touched.expires()).await, Seen::Absent);
}

/// Requests finish out of order: an earlier activity is Stored without moving anything back.
pub async fn a_touch_never_moves_activity_back<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let now = T0 + minutes(10);
    for earlier in [now, before(now, MS), T0, before(T0, minutes(1)), Timestamp::ZERO] {
        assert_eq!(store.touch(record.id, earlier, now).await, Written::Stored);
        assert_eq!(store.touch(record.id, now, now).await, Written::Stored);
        assert_eq!(store.touch(record.id, earlier, now).await, Written::Stored);
        assert_eq!(store.load(record.id, now).await, Seen::found(&active(&record, now)));
    }
}

/// The version stays, so a write or an end that began before a touch isn't in conflict with it.
pub async fn a_touch_is_in_no_writes_way<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let now = T0 + minutes(1);
    let (written, ended) = (session(1, T0), session(2, T0));
    for record in [&written, &ended] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
        assert_eq!(store.touch(record.id, now, now).await, Written::Stored);
    }
    let next = active(&changed(&written), now);
    assert_eq!(store.replace(&next, written.version, now).await, Written::Stored);
    assert_eq!(store.touch(next.id, now + seconds(1), now + seconds(1)).await, Written::Stored);
    assert_eq!(store.load(next.id, now).await, Seen::found(&active(&next, now + seconds(1))));
    assert_eq!(store.end(tombstone(ended.id, now), Some(ended.version), now).await, Written::Stored);
}

/// A touch changes one session and no other.
pub async fn a_touch_leaves_other_sessions_alone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..20).map(|n| session_of("user", n, T0)).collect();
    for record in &records {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let now = T0 + minutes(1);
    assert_eq!(store.touch(records[7].id, now, now).await, Written::Stored);
    for (n, record) in records.iter().enumerate() {
        let expected = if n == 7 { active(record, now) } else { record.clone() };
        assert_eq!(store.load(record.id, now).await, Seen::found(&expected));
    }
}

/// A touch after a logout: Gone, and the tombstone stays, its own expiry unmoved.
pub async fn r_revive_a_touch_after_an_end_is_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    let tombstone = tombstone(record.id, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
    let now = before(tombstone.expires, MS);
    assert_eq!(store.touch(record.id, now, now).await, Written::Gone);
    assert_eq!(store.load(record.id, now).await, Seen::Ended(tombstone));
    assert_eq!(store.load(record.id, tombstone.expires).await, Seen::Absent);
}

/// A touch after expiry: Gone, even one that tells of activity while the session still lived.
pub async fn r_revive_a_touch_after_expiry_is_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let now = record.expires();
    for active in [now, before(now, MS), T0] {
        assert_eq!(store.touch(record.id, active, now).await, Written::Gone);
        assert_eq!(store.load(record.id, now).await, Seen::Absent);
    }
}

/// A touch of an id that never was: Gone, and nothing is left behind.
pub async fn r_revive_a_touch_of_an_unknown_session_is_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    assert_eq!(store.touch(fixture::id(1), T0, T0).await, Written::Gone);
    assert_eq!(store.load(fixture::id(1), T0).await, Seen::Absent);
    assert_eq!(store.create(&session(1, T0), T0).await, Written::Stored);
}

pub(super) fn active(record: &Record, active: Timestamp) -> Record {
    Record { times: Times { active, ..record.times }, ..record.clone() }
}
