//! Ending sessions by subject, and by when they started.

use cloakroom::store::{EndReason, Revocation, Tombstone, Written};
use cloakroom_core::{Record, Timestamp};

use super::{
    listing::{ids, is_listed, of},
    touch::active,
};
use crate::{
    Harness,
    fixture::{
        self, IDLE, MS, T0, before, changed, data, id, minutes, revocation, seconds, session, session_of,
        subject, tombstone, version,
    },
    tested::{Seen, Tested},
};

/// All of a disabled user's sessions end at once: each leaves a tombstone that tells why, and no operation reaches it
/// any more. Nobody else's does.
pub async fn a7_4_2_end_subject_ends_all_sessions_of_the_subject<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let own: Vec<_> = (0..40).map(|n| session_of("user", n, T0)).collect();
    let others = [session_of("other", 100, T0), session(101, T0)];
    for record in own.iter().chain(&others) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let now = T0 + minutes(1);
    let revocation = revocation(now, None);
    assert_eq!(store.end_subject(&subject("user"), revocation, now).await, ids(&own));
    for record in &own {
        assert_eq!(store.load(record.id, now).await, Seen::Ended(left_by(&revocation, record)));
        assert_eq!(store.replace(&changed(record), record.version, now).await, Written::Gone);
        assert_eq!(store.touch(record.id, now, now).await, Written::Gone);
        assert_eq!(store.end(tombstone(record.id, now), None, now).await, Written::Gone);
        assert_eq!(store.create(record, now).await, Written::Conflict);
        assert_eq!(store.load(record.id, revocation.tombstones_expire).await, Seen::Absent);
    }
    is_listed(&store, "user", &[], now).await;
    is_listed(&store, "other", &others[..1], now).await;
    for record in &others {
        assert_eq!(store.load(record.id, now).await, Seen::found(record));
    }
}

/// After a change of password all but the current session end. An exception that isn't the subject's saves none.
pub async fn a7_4_3_end_subject_spares_the_one_excepted<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let own: Vec<_> = (0..5).map(|n| session_of("user", n, T0)).collect();
    let other = session_of("other", 9, T0);
    for record in own.iter().chain([&other]) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let but_one = revocation(T0, Some(own[2].id));
    let ended = [&own[..2], &own[3..]].concat();
    assert_eq!(store.end_subject(&subject("user"), but_one, T0).await, ids(&ended));
    assert_eq!(store.load(own[2].id, T0).await, Seen::found(&own[2]));
    is_listed(&store, "user", &own[2..3], T0).await;
    let next = changed(&own[2]);
    assert_eq!(store.replace(&next, own[2].version, T0).await, Written::Stored);

    for (excepted, left) in [(other.id, &own[2..3]), (fixture::id(77), &[])] {
        let ended = store.end_subject(&subject("user"), revocation(T0, Some(excepted)), T0).await;
        assert_eq!(ended, ids(left));
        is_listed(&store, "user", &[], T0).await;
    }
    assert_eq!(store.load(other.id, T0).await, Seen::found(&other));
}

/// What has expired or ended before isn't ended again, isn't reported, and keeps the tombstone it has.
pub async fn end_subject_ends_only_what_lives<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (living, ended, expired) =
        (session_of("user", 1, T0 + MS), session_of("user", 2, T0), session_of("user", 3, T0));
    for record in [&living, &ended, &expired] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let now = T0 + IDLE;
    let logout = Tombstone { expires: now + IDLE, ..tombstone(ended.id, T0) };
    assert_eq!(store.end(logout, None, T0).await, Written::Stored);
    assert_eq!(store.end_subject(&subject("user"), revocation(now, None), now).await, [living.id]);
    assert_eq!(store.load(ended.id, now).await, Seen::Ended(logout));
    assert_eq!(store.load(expired.id, now).await, Seen::Absent);
    assert!(store.end_subject(&subject("user"), revocation(now, None), now).await.is_empty());
    assert!(store.end_subject(&subject("nobody"), revocation(now, None), now).await.is_empty());
}

/// A session is ended with the subject it belongs to now, not with one it belonged to once.
pub async fn end_subject_goes_by_the_present_subject<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (first, logged_in, logged_off) = (session_of("a", 1, T0), session(2, T0), session_of("a", 3, T0));
    for record in [&first, &logged_in, &logged_off] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let moved = of(&first, Some("b"));
    assert_eq!(store.replace(&moved, first.version, T0).await, Written::Stored);
    assert_eq!(store.replace(&of(&logged_in, Some("b")), logged_in.version, T0).await, Written::Stored);
    let anonymous = of(&logged_off, None);
    assert_eq!(store.replace(&anonymous, logged_off.version, T0).await, Written::Stored);
    assert!(store.end_subject(&subject("a"), revocation(T0, None), T0).await.is_empty());
    assert_eq!(store.load(first.id, T0).await, Seen::found(&moved));
    assert_eq!(store.end_subject(&subject("b"), revocation(T0, None), T0).await, ids(&[first, logged_in]));
    assert_eq!(store.load(logged_off.id, T0).await, Seen::found(&anonymous));
}

/// More sessions than a page, a batch or a script's arguments may hold.
pub async fn end_subject_ends_a_thousand_sessions<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let own: Vec<_> = (0..1_000).map(|n| session_of("user", n, T0)).collect();
    for record in &own {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let but_one = revocation(T0, Some(own[500].id));
    let ended = [&own[..500], &own[501..]].concat();
    assert_eq!(store.end_subject(&subject("user"), but_one, T0).await, ids(&ended));
    is_listed(&store, "user", &own[500..501], T0).await;
}

/// A revocation is noted with every field, also for a subject without sessions, and the last one counts.
pub async fn the_last_revocation_is_noted<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    assert_eq!(store.last_revocation(&subject("user"), T0).await, None);
    let reasons = [EndReason::Revoked, EndReason::Logout, EndReason::Replaced, EndReason::Reuse];
    for (n, reason) in (0..).zip(reasons) {
        let now = T0 + seconds(n);
        let except = (n % 2 == 0).then(|| fixture::id(n));
        let noted = Revocation { reason, tombstones_expire: now + minutes(n), ..revocation(now, except) };
        store.revoke_all(&subject("user"), noted, now).await;
        assert_eq!(store.last_revocation(&subject("user"), now).await, Some(noted));
        assert_eq!(store.last_revocation(&subject("other"), now).await, None);
    }
}

/// Of two revocations the later one is noted, by the times they were asked for, in whichever order they arrive: clocks
/// differ, and it means the sessions of both. Both end what they find.
pub async fn the_later_of_two_revocations_is_noted<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let later = revocation(T0 + seconds(2), Some(fixture::id(9)));
    store.revoke_all(&subject("user"), later, T0 + seconds(2)).await;
    let record = session_of("user", 1, T0);
    assert_eq!(store.create(&record, T0 + seconds(2)).await, Written::Stored);
    for earlier in [revocation(T0 + seconds(1), None), revocation(T0, Some(fixture::id(8)))] {
        store.revoke_all(&subject("user"), earlier, T0 + seconds(2)).await;
        assert_eq!(store.last_revocation(&subject("user"), T0 + seconds(2)).await, Some(later));
    }
    assert!(!matches!(store.load(record.id, T0 + seconds(2)).await, Seen::Found(_)));
}

/// A note is remembered for a day from when the revocation was asked for, whatever is swept meanwhile, and for no
/// longer.
pub async fn a_revocation_is_remembered_for_a_day<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let noted = revocation(T0, None);
    store.revoke_all(&subject("user"), noted, T0 + seconds(2)).await;
    let day = seconds(86_400);
    for now in [T0 + minutes(1), T0 + IDLE, before(T0 + day, seconds(1)), before(T0 + day, MS)] {
        store.sweep_all(now).await;
        assert_eq!(store.last_revocation(&subject("user"), now).await, Some(noted));
    }
    assert_eq!(store.last_revocation(&subject("user"), T0 + day).await, None);
    assert_eq!(store.last_revocation(&subject("user"), T0 + day + seconds(1)).await, None);
}

/// What is kept beside sessions, such as a fleet's key ring, isn't one: it stays when all of them end, is nobody's, and is
/// there for years.
pub async fn a_note_outlives_the_end_of_all_sessions<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (day, year) = (minutes(24 * 60), minutes(365 * 24 * 60));
    let note = cloakroom::carrier::note(id(1), version(), data(r#"{"ring":"sealed"}"#), T0, T0 + 10 * year);
    assert_eq!(store.create(&note, T0).await, Written::Stored);
    let session = session_of("a", 2, T0);
    assert_eq!(store.create(&session, T0).await, Written::Stored);
    let now = T0 + minutes(1);
    store.end_started_before(now, now).await;
    assert_eq!(store.end_subject(&subject("a"), revocation(now, None), now).await, []);
    assert_eq!(store.load(session.id, now).await, Seen::Absent);
    let later = now + 2 * day;
    store.end_started_before(later, later).await;
    for now in [now, later, T0 + year] {
        let swept = store.sweep_all(now).await;
        assert!(swept.iter().all(|(id, _)| *id != note.id), "{swept:?}");
        assert_eq!(store.load(note.id, now).await, Seen::found(&note));
    }
    is_listed(&store, "a", &[], later).await;
    let next = changed(&note);
    assert_eq!(store.replace(&next, note.version, later).await, Written::Stored);
    assert_eq!(store.create(&note, later).await, Written::Conflict);
    assert_eq!(store.load(note.id, later).await, Seen::found(&next));
}

/// Everybody's sessions from before an instant end: to every operation they are gone. Those that started at the
/// instant or later are untouched.
pub async fn a7_4_5_sessions_started_before_an_instant_are_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let instant = T0 + minutes(5);
    let cut: Vec<_> =
        [session(1, T0), session_of("a", 2, T0), session_of("a", 3, before(instant, MS))].into();
    let kept: Vec<_> =
        [session(4, instant), session_of("a", 5, instant), session_of("a", 6, instant + MS)].into();
    for record in cut.iter().chain(&kept) {
        assert_eq!(store.create(record, record.times.created).await, Written::Stored);
    }
    let now = instant + seconds(1);
    assert_eq!(store.touch(cut[0].id, now, now).await, Written::Stored);
    store.end_started_before(instant, now).await;
    for record in &cut {
        assert_eq!(store.load(record.id, now).await, Seen::Absent);
        assert_eq!(store.replace(&changed(record), record.version, now).await, Written::Gone);
        assert_eq!(store.replace(&renewed(record, now), record.version, now).await, Written::Gone);
        assert_eq!(store.replace(&changed(record), version(), now).await, Written::Gone);
        assert_eq!(store.touch(record.id, now, now).await, Written::Gone);
        assert_eq!(store.end(tombstone(record.id, now), None, now).await, Written::Gone);
        assert_eq!(store.load(record.id, now).await, Seen::Absent);
    }
    is_listed(&store, "a", &kept[1..], now).await;
    for record in &kept {
        assert_eq!(store.load(record.id, now).await, Seen::found(record));
    }
    let next = changed(&kept[0]);
    assert_eq!(store.replace(&next, kept[0].version, now).await, Written::Stored);
    assert_eq!(store.touch(kept[0].id, now, now).await, Written::Stored);
    assert_eq!(store.load(kept[0].id, now).await, Seen::found(&active(&next, now)));
    assert_eq!(store.end_subject(&subject("a"), revocation(now, None), now).await, ids(&kept[1..]));
}

/// A session that was created before the instant and authenticated again since has started since.
pub async fn a7_4_5_a_session_authenticated_since_the_instant_stays<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (record, untouched) = (session_of("user", 1, T0), session_of("user", 2, T0));
    for record in [&record, &untouched] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let now = T0 + minutes(5);
    let again = renewed(&record, now);
    assert_eq!(store.replace(&again, record.version, now).await, Written::Stored);
    store.end_started_before(now, now).await;
    assert_eq!(store.load(record.id, now).await, Seen::found(&again));
    is_listed(&store, "user", &[again], now).await;
    assert_eq!(store.load(untouched.id, now).await, Seen::Absent);
}

/// An earlier instant doesn't bring back what a later one ended, nor does a sweep; a later one ends more.
pub async fn r_revive_earlier_instants_are_ignored<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..30).map(|n| session_of("user", n, T0 + seconds(n))).collect();
    for record in &records {
        assert_eq!(store.create(record, record.times.created).await, Written::Stored);
    }
    let now = T0 + minutes(1);
    for (instant, latest) in [(10, 10), (5, 10), (0, 10), (20, 20), (10, 20), (20, 20)] {
        store.end_started_before(T0 + seconds(instant), now).await;
        is_listed(&store, "user", &records[latest..], now).await;
        store.sweep_all(now).await;
        is_listed(&store, "user", &records[latest..], now).await;
        for (n, record) in records.iter().enumerate() {
            let expected = if n < latest { Seen::Absent } else { Seen::found(record) };
            assert_eq!(
                store.load(record.id, now).await,
                expected,
                "started {n} s after T0, cut at {latest} s"
            );
        }
    }
    store.end_started_before(Timestamp::ZERO, now).await;
    is_listed(&store, "user", &records[20..], now).await;
}

/// A login that was under way when everything was ended comes too late: it started before the instant, so it is gone
/// to all later calls, whatever its create was answered.
pub async fn a7_4_5_a_login_under_way_at_the_instant_comes_too_late<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let now = T0 + minutes(5);
    store.end_started_before(now, now).await;
    let late = session_of("user", 1, before(now, MS));
    let _ = store.create(&late, now).await;
    assert_eq!(store.load(late.id, now).await, Seen::Absent);
    is_listed(&store, "user", &[], now).await;
    let in_time = session_of("user", 2, now);
    assert_eq!(store.create(&in_time, now).await, Written::Stored);
    assert_eq!(store.load(in_time.id, now).await, Seen::found(&in_time));
    is_listed(&store, "user", &[in_time], now).await;
}

fn renewed(record: &Record, now: Timestamp) -> Record {
    Record { times: record.times.restart(record.times.lifetime(), now, now), ..changed(record) }
}

/// The tombstone that a revocation leaves of a session.
pub(super) fn left_by(revocation: &Revocation, record: &Record) -> Tombstone {
    let Revocation { at, reason, version, tombstones_expire, .. } = *revocation;
    Tombstone { id: record.id, version, at, reason, expires: tombstones_expire }
}
