//! The end of all of a subject's sessions, as far as a store can bring it about that can't enumerate: to every later
//! call they are gone, whatever each of them left. Stores with an index keep these rules too.

use cloakroom::store::{Revocation, Store, Written};
use cloakroom_core::{Record, SessionId};

use super::listing::of;
use crate::{
    Harness,
    drops::{at_every_await, held_up, held_up_at_every_await},
    fixture::{
        self, T0, changed, minutes, revocation, seconds, session, session_of, subject, tombstone, version,
    },
    race,
    tested::{Seen, Tested},
};

/// A store declared `without: listing` answers that it has no index, and that it can revoke.
pub async fn a_store_declared_without_listing_revokes_and_lists_nothing<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    assert!(store.bare().index().is_none(), "the store has an index: remove `without: listing`");
    assert!(store.bare().revoke().is_some(), "the store can't revoke: declare `without: index` instead");
}

/// All of a disabled user's sessions end at once: no operation reaches them any more. Nobody else's does.
pub async fn a7_4_2_all_sessions_of_a_revoked_subject_are_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let own: Vec<_> = (0..30).map(|n| session_of("user", n, T0)).collect();
    let others = [session_of("other", 100, T0), session(101, T0), session_of("User", 102, T0)];
    for record in own.iter().chain(&others) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    // Whatever a store remembers of what it has seen is of no use afterwards.
    for record in &own[..15] {
        assert_eq!(store.load(record.id, T0).await, Seen::found(record));
    }
    let now = T0 + minutes(1);
    store.revoke_all(&subject("user"), revocation(now, None), now).await;
    for record in &own {
        is_gone(&store, record.id).await;
        assert_eq!(store.replace(&changed(record), record.version, now).await, Written::Gone);
        assert_eq!(store.replace(&of(record, Some("other")), record.version, now).await, Written::Gone);
        assert_eq!(store.replace(&of(record, None), record.version, now).await, Written::Gone);
        assert_eq!(store.replace(&changed(record), version(), now).await, Written::Gone);
        assert_eq!(store.touch(record.id, now, now).await, Written::Gone);
        assert_eq!(store.end(tombstone(record.id, now), Some(record.version), now).await, Written::Gone);
        assert_eq!(store.end(tombstone(record.id, now), None, now).await, Written::Gone);
        is_gone(&store, record.id).await;
    }
    for record in &others {
        assert_eq!(store.load(record.id, now).await, Seen::found(record));
    }
}

/// After a change of password all but the current session end: at the first time and again, with changes to it and
/// logins of others in between. An exception saves neither what had ended before nor what isn't the subject's.
pub async fn a7_4_3_the_one_excepted_stays_through_several_revocations<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (user, other) = (subject("user"), session_of("other", 9, T0));
    let mut spared = session_of("user", 1, T0);
    let ended = session_of("user", 2, T0);
    for record in [&spared, &ended, &other] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    for round in 0..6 {
        let late = session_of("user", 10 + round, T0);
        assert_eq!(store.create(&late, T0).await, Written::Stored);
        store.revoke_all(&user, revocation(T0, Some(spared.id)), T0).await;
        assert_eq!(store.load(spared.id, T0).await, Seen::found(&spared));
        is_gone(&store, ended.id).await;
        is_gone(&store, late.id).await;
        if round % 2 == 0 {
            let next = changed(&spared);
            assert_eq!(store.replace(&next, spared.version, T0).await, Written::Stored);
            assert_eq!(store.touch(next.id, T0, T0).await, Written::Stored);
            spared = next;
        }
    }
    let second = session_of("user", 3, T0);
    assert_eq!(store.create(&second, T0).await, Written::Stored);
    store.revoke_all(&user, revocation(T0, Some(second.id)), T0).await;
    is_gone(&store, spared.id).await;
    assert_eq!(store.load(second.id, T0).await, Seen::found(&second));
    for saves_none in [ended.id, spared.id, other.id, fixture::id(77)] {
        store.revoke_all(&user, revocation(T0, Some(saves_none)), T0).await;
        for record in [&ended, &spared, &second] {
            is_gone(&store, record.id).await;
            assert_eq!(store.replace(&changed(record), record.version, T0).await, Written::Gone);
        }
    }
    assert_eq!(store.load(other.id, T0).await, Seen::found(&other));
}

/// A session ends with the subject it belongs to now, not with one it belonged to once.
pub async fn a_revocation_goes_by_the_present_subject<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (first, logged_in, logged_off) = (session_of("a", 1, T0), session(2, T0), session_of("a", 3, T0));
    for record in [&first, &logged_in, &logged_off] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let moved = of(&first, Some("b"));
    let (user, anonymous) = (of(&logged_in, Some("b")), of(&logged_off, None));
    for (before, after) in [(&first, &moved), (&logged_in, &user), (&logged_off, &anonymous)] {
        assert_eq!(store.replace(after, before.version, T0).await, Written::Stored);
    }
    store.revoke_all(&subject("a"), revocation(T0, None), T0).await;
    for record in [&moved, &user, &anonymous] {
        assert_eq!(store.load(record.id, T0).await, Seen::found(record));
    }
    store.revoke_all(&subject("b"), revocation(T0, None), T0).await;
    is_gone(&store, moved.id).await;
    is_gone(&store, user.id).await;
    assert_eq!(store.load(anonymous.id, T0).await, Seen::found(&anonymous));
}

/// A login after a revocation isn't meant: a new session, and an anonymous one from before that logs in.
pub async fn sessions_that_begin_after_a_revocation_live<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..5 {
        let now = T0 + seconds(round);
        let (anonymous, created) = (session(10 * round, now), session_of("user", 10 * round + 1, now));
        assert_eq!(store.create(&anonymous, now).await, Written::Stored);
        store.revoke_all(&subject("user"), revocation(now, None), now).await;
        assert_eq!(store.create(&created, now).await, Written::Stored);
        let logged_in = of(&anonymous, Some("user"));
        assert_eq!(store.replace(&logged_in, anonymous.version, now).await, Written::Stored);
        for record in [&created, &logged_in] {
            assert_eq!(store.load(record.id, now).await, Seen::found(record));
            let next = changed(record);
            assert_eq!(store.replace(&next, record.version, now).await, Written::Stored);
            assert_eq!(store.load(next.id, now).await, Seen::found(&next));
        }
    }
}

/// A revocation races with a login in progress, by `create` and by `replace`. Once the login has written, it is either
/// gone, or it finds the note: it can't slip through between the two.
pub async fn a7_4_2_no_login_gets_past_a_revocation<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..100 {
        let (user, at) = (format!("user-{round}"), T0 + seconds(round));
        let revocation = revocation(at, None);
        let logins = (0..4).map(|n| login(store.clone(), user.clone(), round * 10 + n, revocation));
        let revoke = {
            let (store, user) = (store.clone(), subject(&user));
            async move {
                race::waited(round % 20).await;
                store.revoke_all(&user, revocation, at).await;
            }
        };
        race::both(revoke, race::all(logins)).await.1.into_iter().for_each(drop);
        for n in 0..4 {
            is_caught(&store, &user, fixture::id(round * 10 + n), revocation).await;
        }
    }
}

/// The same, with the revocation held up at each of its awaits while the login goes through.
pub async fn a7_4_2_no_login_gets_past_a_revocation_held_up_at_any_await<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for way in 0..2 {
        held_up_at_every_await(async |polls| {
            let (user, at) = (format!("user-{polls}-{way}"), T0 + seconds(polls));
            let (n, revocation, name) = (10 * polls + way, revocation(at, None), subject(&user));
            let revoke = store.revoke_all(&name, revocation, at);
            let (_, (), is_done) =
                held_up(polls, revoke, login(store.clone(), user.clone(), n, revocation)).await;
            is_caught(&store, &user, fixture::id(n), revocation).await;
            is_done
        })
        .await;
    }
}

/// A login as the library does it: the record first, then a look for a note, which makes it withdraw. Odd ones log an
/// anonymous session in.
async fn login<S: Store>(store: Tested<S>, user: String, n: u64, revocation: Revocation) {
    let (record, at) = (session_of(&user, n, revocation.at), revocation.at);
    if n.is_multiple_of(2) {
        assert_eq!(store.create(&record, at).await, Written::Stored);
    } else {
        let anonymous = session(n, at);
        assert_eq!(store.create(&anonymous, at).await, Written::Stored);
        tokio::task::yield_now().await;
        assert_eq!(store.replace(&record, anonymous.version, at).await, Written::Stored);
    }
    if let Some(note) = store.last_revocation(&subject(&user), at).await {
        assert_eq!(note, revocation, "another note than the one that was made");
        store.end(tombstone(record.id, at), None, at).await;
    }
}

/// Whether it withdrew or was ended, the login is gone, and the revocation is noted.
async fn is_caught<S: Store>(store: &Tested<S>, user: &str, id: SessionId, revocation: Revocation) {
    let found = store.load(id, revocation.at).await;
    assert!(
        !matches!(found, Seen::Found(_)),
        "the login found no note, and the revocation didn't end it: {found:?}"
    );
    assert_eq!(store.last_revocation(&subject(user), revocation.at).await, Some(revocation));
}

/// Whatever writes and touches in progress are told, afterwards the session is over.
pub async fn r_revive_a_revocation_beats_writes_in_progress<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..60 {
        let name = format!("user-{round}");
        let record = session_of(&name, round, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let revoke = {
            let store = store.clone();
            async move {
                race::waited(round % 20).await;
                store.revoke_all(&subject(&name), revocation(T0, None), T0).await;
            }
        };
        let writes = race::all((0..4).map(|n| {
            let (store, record) = (store.clone(), record.clone());
            async move {
                if n % 2 == 0 {
                    store.replace(&changed(&record), record.version, T0).await
                } else {
                    store.touch(record.id, T0, T0).await
                }
            }
        }));
        race::both(revoke, writes).await;
        is_gone(&store, record.id).await;
        assert_eq!(store.touch(record.id, T0, T0).await, Written::Gone);
    }
}

/// A write is held up at any await while a revocation goes through, and the other way round: the session is over.
pub async fn r_revive_a_write_held_up_at_any_await_survives_no_revocation<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for way in 0..4 {
        held_up_at_every_await(async |polls| {
            let (name, n) = (format!("user-{polls}-{way}"), 10 * polls + way);
            let record = session_of(&name, n, T0);
            assert_eq!(store.create(&record, T0).await, Written::Stored);
            let write = written(store.clone(), record.clone(), way % 2 == 0);
            let revoke = {
                let store = store.clone();
                async move { store.revoke_all(&subject(&name), revocation(T0, None), T0).await }
            };
            let is_done = if way < 2 {
                held_up(polls, write, revoke).await.2
            } else {
                held_up(polls, revoke, write).await.2
            };
            is_gone(&store, record.id).await;
            assert_eq!(store.replace(&changed(&record), record.version, T0).await, Written::Gone);
            is_done
        })
        .await;
    }
}

async fn written<S: Store>(store: Tested<S>, record: Record, is_touch: bool) -> Written {
    if is_touch {
        store.touch(record.id, T0, T0).await
    } else {
        store.replace(&changed(&record), record.version, T0).await
    }
}

/// A dropped revocation is made or not, and harms nobody else; done again, it holds.
pub async fn a_revocation_dropped_at_any_await_can_be_done_again<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    at_every_await(async |point| {
        let (name, first) = (format!("user-{point:?}"), 100 * point.number());
        let own: Vec<_> = (first..first + 5).map(|n| session_of(&name, n, T0)).collect();
        let other = session_of("other", first + 10, T0);
        for record in own.iter().chain([&other]) {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let (once, again) = (revocation(T0, Some(own[0].id)), revocation(T0, Some(own[0].id)));
        let answer = point.applied_to(store.revoke().end_subject(&subject(&name), once, T0)).await;
        assert_eq!(store.load(own[0].id, T0).await, Seen::found(&own[0]), "{point:?}");
        store.revoke_all(&subject(&name), again, T0).await;
        for record in &own[1..] {
            is_gone(&store, record.id).await;
        }
        let noted = store.last_revocation(&subject(&name), T0).await;
        assert!([Some(once), Some(again)].contains(&noted), "{point:?} noted {noted:?}");
        assert_eq!(store.load(own[0].id, T0).await, Seen::found(&own[0]), "{point:?}");
        assert_eq!(store.load(other.id, T0).await, Seen::found(&other), "{point:?}");
        answer.is_some()
    })
    .await;
}

/// Several revocations at once: every session has ended, and the note is one of theirs, whole.
pub async fn of_racing_revocations_one_is_noted_and_all_hold<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..15 {
        let own: Vec<_> = (0..10).map(|n| session_of("user", round * 100 + n, T0)).collect();
        for record in &own {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let revocations: Vec<_> = (0..6).map(|_| revocation(T0, None)).collect();
        race::all(revocations.iter().map(|revocation| {
            let (store, revocation) = (store.clone(), *revocation);
            async move { store.revoke_all(&subject("user"), revocation, T0).await }
        }))
        .await;
        for record in &own {
            is_gone(&store, record.id).await;
        }
        let last = store.last_revocation(&subject("user"), T0).await;
        assert!(
            revocations.iter().any(|revocation| last == Some(*revocation)),
            "the note is a mixture: {last:?}"
        );
    }
}

/// A load doesn't find it; what it answers besides is the store's affair.
async fn is_gone<S: Store>(store: &Tested<S>, id: SessionId) {
    let seen = store.load(id, T0).await;
    assert!(!matches!(seen, Seen::Found(_)), "a session that was revoked is found: {seen:?}");
}
