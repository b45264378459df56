//! Calls that are dropped: a client has gone, or a deadline has passed. Whatever the await, the change is made
//! entirely or not at all, no lock stays, and no other call sees the answer.
//!
//! A change whose call was dropped may still be on its way and be made a little later, so these cases settle what was
//! dropped by a change of their own before they look.

use cloakroom::store::{Store, Written};
use cloakroom_core::{Record, SessionId};

use super::{listing::is_listed, touch::active};
use crate::{
    Harness,
    drops::{DropPoint, at_every_await},
    fixture::{
        IDLE, MS, Random, T0, changed, minutes, revocation, session, session_of, subject, tombstone, version,
    },
    race,
    tested::{Seen, Tested},
};

/// A dropped load changes nothing, and the next one is answered.
pub async fn a_load_dropped_at_any_await_leaves_no_trace<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (record, other) = (session(1, T0), session(2, T0));
    for record in [&record, &other] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    at_every_await(async |point| {
        let answer = point.applied_to(store.bare().load(record.id, T0)).await;
        assert_eq!(store.load(other.id, T0).await, Seen::found(&other), "{point:?}");
        assert_eq!(store.load(record.id, T0).await, Seen::found(&record), "{point:?}");
        answer.is_some()
    })
    .await;
}

/// A dropped create leaves the whole session or none. Trying again comes to the same end.
pub async fn a_create_dropped_at_any_await_is_made_or_not<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let record = session_of("user", point.number(), T0);
        let answer = point.applied_to(store.bare().create(record.clone().into(), T0)).await;
        let seen = store.load(record.id, T0).await;
        assert!([Seen::Absent, Seen::found(&record)].contains(&seen), "{point:?} left {seen:?}");
        let again = store.create(&record, T0).await;
        assert!(
            again == Written::Conflict || seen == Seen::Absent,
            "{point:?}, then {again:?} after {seen:?}"
        );
        assert_eq!(store.load(record.id, T0).await, Seen::found(&record), "{point:?}");
        answer.is_some()
    })
    .await;
}

/// A dropped replace leaves the record as it was or as it should become, and the next writer isn't held up.
pub async fn a_replace_dropped_at_any_await_is_made_or_not<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let before = session(point.number(), T0);
        let after = changed(&before);
        assert_eq!(store.create(&before, T0).await, Written::Stored);
        let call = store.bare().replace(after.clone().into(), before.version, T0);
        let answer = point.applied_to(call).await;
        settled(&store, [&before, &after], point).await;
        answer.is_some()
    })
    .await;
}

/// A dropped touch moves activity or not; a later one is noted.
pub async fn a_touch_dropped_at_any_await_is_made_or_not<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let record = session(point.number(), T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let answer = point.applied_to(store.bare().touch(record.id, T0 + minutes(1), T0 + minutes(1))).await;
        let now = T0 + minutes(2);
        let seen = store.load(record.id, now).await;
        let touched = active(&record, T0 + minutes(1));
        assert!([Seen::found(&record), Seen::found(&touched)].contains(&seen), "{point:?} left {seen:?}");
        assert_eq!(store.touch(record.id, now, now).await, Written::Stored, "{point:?}");
        assert_eq!(store.load(record.id, now).await, Seen::found(&active(&record, now)), "{point:?}");
        answer.is_some()
    })
    .await;
}

/// A dropped end leaves the session or its tombstone; a second end finishes it.
pub async fn an_end_dropped_at_any_await_is_made_or_not<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let record = session_of("user", point.number(), T0);
        let (first, second) = (tombstone(record.id, T0), tombstone(record.id, T0));
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let answer = point.applied_to(store.bare().end(first, Some(record.version), T0)).await;
        let seen = store.load(record.id, T0).await;
        assert!([Seen::found(&record), Seen::Ended(first)].contains(&seen), "{point:?} left {seen:?}");
        let expected = match store.end(second, None, T0).await {
            Written::Stored => second,
            Written::Gone => first,
            Written::Conflict => panic!("an unconditional end was told Conflict"),
        };
        assert_eq!(store.load(record.id, T0).await, Seen::Ended(expected), "{point:?}");
        answer.is_some()
    })
    .await;
}

/// A dropped sweep takes nothing that lives, and the next one goes on.
pub async fn a_sweep_dropped_at_any_await_takes_nothing_that_lives<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let first = 100 * point.number();
        let expired: Vec<_> = (first..first + 20).map(|n| session_of("user", n, T0)).collect();
        let living: Vec<_> = (first + 20..first + 40).map(|n| session_of("user", n, T0 + MS)).collect();
        for record in expired.iter().chain(&living) {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let now = T0 + IDLE;
        let answer = point.applied_to(store.bare().sweep(now, 15)).await;
        store.sweep_all(now).await;
        for record in &expired {
            assert_eq!(store.load(record.id, now).await, Seen::Absent, "{point:?}");
        }
        for record in &living {
            assert_eq!(store.load(record.id, now).await, Seen::found(record), "{point:?}");
        }
        answer.is_some()
    })
    .await;
}

/// What was dropped of a create or of a change of subject is made in record and index alike: a session that is found
/// is listed under its subject, and nowhere else.
pub async fn the_index_agrees_with_records_whose_writes_were_dropped<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let record = session_of(&format!("a-{point:?}"), point.number(), T0);
        let name = format!("b-{point:?}");
        let moved = Record { subject: Some(subject(&name)), ..changed(&record) };
        let created = point.applied_to(store.bare().create(record.clone().into(), T0)).await;
        if store.load(record.id, T0).await == Seen::found(&record) {
            is_listed(&store, &format!("a-{point:?}"), std::slice::from_ref(&record), T0).await;
        }
        store.create(&record, T0).await;
        is_listed(&store, &format!("a-{point:?}"), std::slice::from_ref(&record), T0).await;

        let replaced = point.applied_to(store.bare().replace(moved.clone().into(), record.version, T0)).await;
        let last = settled(&store, [&record, &moved], point).await;
        for name in [format!("a-{point:?}"), name] {
            let is_its = last.subject == Some(subject(&name));
            is_listed(&store, &name, if is_its { std::slice::from_ref(&last) } else { &[] }, T0).await;
        }

        let ended = point.applied_to(store.bare().end(tombstone(record.id, T0), None, T0)).await;
        store.end(tombstone(record.id, T0), None, T0).await;
        is_listed(&store, &format!("a-{point:?}"), &[], T0).await;
        is_listed(&store, &format!("b-{point:?}"), &[], T0).await;
        created.is_some() && replaced.is_some() && ended.is_some()
    })
    .await;
}

/// Dropped questions to the index leave no trace.
pub async fn a_question_to_the_index_dropped_at_any_await_leaves_no_trace<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..5).map(|n| session_of("user", n, T0)).collect();
    for record in &records {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let (user, note) = (subject("user"), revocation(T0, Some(records[0].id)));
    store.end_subject(&subject("other"), note, T0).await;
    at_every_await(async |point| {
        let listed = point.applied_to(store.index().list(&user, None, 3, T0)).await;
        is_listed(&store, "user", &records, T0).await;
        let noted = point.applied_to(store.index().last_revocation(&user, T0)).await;
        assert_eq!(store.last_revocation(&subject("other"), T0).await, Some(note));
        assert_eq!(store.last_revocation(&user, T0).await, None);
        listed.is_some() && noted.is_some()
    })
    .await;
}

/// A dropped revocation ends sessions of the subject and of nobody else, each whole; done again, it ends the rest.
pub async fn end_subject_of_the_index_dropped_at_any_await_can_be_done_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let (name, first) = (format!("user-{point:?}"), 100 * point.number());
        let own: Vec<_> = (first..first + 10).map(|n| session_of(&name, n, T0)).collect();
        let other = session_of("other", first + 10, T0);
        for record in own.iter().chain([&other]) {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let (once, again) = (revocation(T0, Some(own[0].id)), revocation(T0, Some(own[0].id)));
        let answer = point.applied_to(store.index().end_subject(&subject(&name), once, T0)).await;
        store.end_subject(&subject(&name), again, T0).await;
        for record in &own[1..] {
            let seen = store.load(record.id, T0).await;
            let is_ended =
                matches!(seen, Seen::Ended(left) if [once.version, again.version].contains(&left.version));
            assert!(is_ended, "{point:?} left {seen:?}");
        }
        is_listed(&store, &name, &own[..1], T0).await;
        let noted = store.last_revocation(&subject(&name), T0).await;
        assert!([Some(once), Some(again)].contains(&noted), "{point:?} noted {noted:?}");
        assert_eq!(store.load(own[0].id, T0).await, Seen::found(&own[0]), "{point:?}");
        assert_eq!(store.load(other.id, T0).await, Seen::found(&other), "{point:?}");
        answer.is_some()
    })
    .await;
}

/// A dropped end of all leaves every session from before the instant alive or none; done again, none.
pub async fn end_started_before_of_the_index_dropped_at_any_await_can_be_done_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let (first, start) = (100 * point.number(), T0 + minutes(point.number()));
        let early: Vec<_> = (first..first + 5).map(|n| session_of("user", n, start)).collect();
        let late = session_of("late", first + 5, start + MS);
        for record in early.iter().chain([&late]) {
            assert_eq!(store.create(record, start).await, Written::Stored);
        }
        let now = start + MS;
        let answer = point.applied_to(store.index().end_started_before(now, now)).await;
        store.end_started_before(now, now).await;
        for record in &early {
            assert_eq!(store.load(record.id, now).await, Seen::Absent, "{point:?}");
        }
        is_listed(&store, "user", &[], now).await;
        assert_eq!(store.load(late.id, now).await, Seen::found(&late), "{point:?}");
        answer.is_some()
    })
    .await;
}

/// Thousands of loads of distinct sessions at once, every other one dropped somewhere: each of the others is answered
/// with its own session, and none with one that was meant for a caller who has gone.
pub async fn no_load_sees_the_answer_to_another_that_was_dropped<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..200).map(|n| session_of(&format!("user-{n}"), n, T0)).collect();
    for record in &records {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    race::all((0..32).map(|seed| loads(store.clone(), records.clone(), seed))).await;
}

async fn loads<S: Store>(store: Tested<S>, records: Vec<Record>, seed: u64) {
    let mut random = Random::seeded(seed);
    for _ in 0..250 {
        let record = random.pick(&records);
        let answer = dropped_at_random(store.bare().load(record.id, T0), &mut random).await;
        if let Some(loaded) = answer {
            let loaded = loaded.unwrap_or_else(|error| panic!("a load failed: {error:?}"));
            assert_eq!(Seen::of(loaded), Seen::found(record), "a load was given another's answer");
        }
        if random.below(4) == 0 {
            assert_eq!(
                store.load(record.id, T0).await,
                Seen::found(record),
                "a load was given another's answer"
            );
            let unknown = SessionId::from_bytes(u128::from(random.below(1 << 40)).to_be_bytes());
            assert_eq!(store.load(unknown, T0).await, Seen::Absent, "a load was given another's answer");
        }
    }
}

/// Writers of many sessions at once, every other write dropped somewhere: each finds its own last write or the one
/// that it dropped, and nobody's else; and what was answered is the truth.
pub async fn no_write_sees_the_answer_to_another_that_was_dropped<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    race::all((0..16).map(|n| writes(store.clone(), n))).await;
}

async fn writes<S: Store>(store: Tested<S>, n: u64) {
    let mut random = Random::seeded(n);
    let first = session_of(&format!("user-{n}"), n, T0);
    assert_eq!(store.create(&first, T0).await, Written::Stored);
    // What may be stored: the last write that is known to be, and those dropped since.
    let mut possible = vec![first];
    for _ in 0..60 {
        let id = possible[0].id;
        let Some(stored) = store.load(id, T0).await.record() else { panic!("the session is gone") };
        let is_possible = possible.iter().any(|record| Seen::found(record) == Seen::found(&stored));
        assert!(is_possible, "found a record that this writer didn't write: {stored:?}");
        let (stale, unknown) = (changed(&stored), changed(&session(10_000 + n, T0)));
        let call = store.bare().replace(stale.into(), version(), T0);
        if let Some(answer) = dropped_at_random(call, &mut random).await {
            assert!(matches!(answer, Ok(Written::Conflict)), "a stale write was answered {answer:?}");
        }
        let call = store.bare().replace(unknown.into(), stored.version, T0);
        if let Some(answer) = dropped_at_random(call, &mut random).await {
            assert!(
                matches!(answer, Ok(Written::Gone)),
                "a write to an unknown session was answered {answer:?}"
            );
        }
        let next = changed(&stored);
        let call = store.bare().replace(next.clone().into(), stored.version, T0);
        match dropped_at_random(call, &mut random).await {
            Some(Ok(Written::Stored)) => possible = vec![next],
            Some(Ok(Written::Conflict)) => {
                assert!(possible.len() > 1, "Conflict, but nobody else writes this session");
            }
            Some(other) => panic!("a replace of a living session was answered {other:?}"),
            None => possible.push(next),
        }
    }
}

/// Half of the calls are dropped at one of their first awaits.
async fn dropped_at_random<T>(call: impl Future<Output = T>, random: &mut Random) -> Option<T> {
    if random.below(2) == 0 {
        return Some(call.await);
    }
    DropPoint { polls: random.below(4), is_woken: random.below(2) == 0 }.applied_to(call).await
}

/// Asserts that the record is one of these, whole, and settles it by another write, so that a dropped one that is
/// still on its way comes too late. What is stored then.
async fn settled<S: Store>(store: &Tested<S>, possible: [&Record; 2], point: DropPoint) -> Record {
    for _ in 0..10 {
        let seen = store.load(possible[0].id, T0).await;
        assert!(possible.map(Seen::found).contains(&seen), "{point:?} left {seen:?}");
        let Some(stored) = seen.record() else { panic!("{point:?} left no session") };
        let last = changed(&stored);
        match store.replace(&last, stored.version, T0).await {
            Written::Stored => {
                assert_eq!(store.load(last.id, T0).await, Seen::found(&last), "{point:?}");
                return last;
            }
            Written::Conflict => {}
            Written::Gone => panic!("{point:?} left the session gone to a write"),
        }
    }
    panic!("{point:?}: a write conflicts again and again, though nobody else writes")
}
