//! The index while much happens at once.

use std::{collections::BTreeSet, future::Future, pin::pin, time::Duration};

use cloakroom::store::{Revocation, Store, Summary, Written};
use cloakroom_core::{Record, SessionId, Timestamp};

use super::listing::{ids, is_listed, of};
use crate::{
    Harness,
    fixture::{self, MS, Random, T0, before, revocation, seconds, session, session_of, subject, tombstone},
    race,
    tested::{Seen, Tested},
};

/// Over several pages, a session that lives all the while is listed exactly once, and none is listed twice, while
/// others come, go and change hands.
pub async fn pages_list_each_lasting_session_exactly_once<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let lasting: Vec<_> = (0..50).map(|n| session_of("user", n, T0)).collect();
    for record in &lasting {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let churn = (1..=4).map(|n| tokio::spawn(comes_and_goes(store.clone(), n * 10_000))).collect::<Vec<_>>();
    let writer = tokio::spawn(writes_all(store.clone(), lasting.clone()));
    for limit in [3, 7, 20].into_iter().cycle().take(30) {
        let listed = paged(&store, limit).await;
        let missing: Vec<_> = lasting.iter().filter(|record| !listed.contains(&record.id)).collect();
        assert!(missing.is_empty(), "not listed, though alive: {missing:?}");
    }
    for task in churn.into_iter().chain([writer]) {
        race::joined(task).await;
    }
    assert_eq!(paged(&store, 8).await.into_iter().collect::<Vec<_>>(), ids(&lasting));
}

/// All pages of a listing. Ids rise from one to the next, so none is listed twice.
async fn paged<S: Store>(store: &Tested<S>, limit: usize) -> BTreeSet<SessionId> {
    let (mut listed, mut last) = (BTreeSet::new(), None);
    loop {
        let page = store.page(&subject("user"), last, limit, T0).await;
        assert!(page.len() <= limit);
        for Summary { id, .. } in &page {
            assert!(last.is_none_or(|last| *id > last), "{id} is listed behind {last:?}");
            last = Some(*id);
            listed.insert(*id);
        }
        if page.is_empty() {
            return listed;
        }
    }
}

async fn comes_and_goes<S: Store>(store: Tested<S>, first: u64) {
    for n in first..first + 60 {
        let record = session_of(if n % 2 == 0 { "user" } else { "other" }, n, T0);
        let moved = of(&record, Some(if n % 2 == 0 { "other" } else { "user" }));
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        tokio::task::yield_now().await;
        assert_eq!(store.replace(&moved, record.version, T0).await, Written::Stored);
        tokio::task::yield_now().await;
        assert_eq!(store.end(tombstone(record.id, T0), None, T0).await, Written::Stored);
    }
}

/// Changes every record twice, and puts it back as it was but for its version.
async fn writes_all<S: Store>(store: Tested<S>, records: Vec<Record>) {
    for record in records {
        let next = fixture::changed(&record);
        assert_eq!(store.replace(&next, record.version, T0).await, Written::Stored);
        assert_eq!(store.touch(record.id, T0 + MS, T0).await, Written::Stored);
        let again = fixture::changed(&next);
        assert_eq!(store.replace(&again, next.version, T0).await, Written::Stored);
    }
}

/// A revocation races with a login in progress, by `create` and by `replace`. Once the login has written, it is either
/// ended, or it finds the note: it can't slip through between the two.
pub async fn a7_4_2_no_login_slips_past_a_revocation<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..150 {
        let (user, at) = (format!("user-{round}"), T0 + seconds(round));
        let revocation = revocation(at, None);
        let logins = (0..4).map(|n| login(store.clone(), user.clone(), round * 10 + n, at));
        let revoke = {
            let (store, user) = (store.clone(), subject(&user));
            async move {
                race::waited(round % 20).await;
                store.end_subject(&user, revocation, at).await
            }
        };
        let (_, caught) = race::both(revoke, race::all(logins)).await;
        for (n, note) in (0..).zip(caught) {
            is_caught(&store, fixture::id(round * 10 + n), note, revocation).await;
        }
    }
}

/// The same, with the revocation held up at each of its awaits while the login goes through.
pub async fn a7_4_2_no_login_slips_past_a_revocation_held_up_at_any_await<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for polls in 0..40 {
        for way in 0..2 {
            let (user, at) = (format!("user-{polls}-{way}"), T0 + seconds(polls));
            let (n, revocation, name) = (polls * 10 + way, revocation(at, None), subject(&user));
            let mut revoke = pin!(store.end_subject(&name, revocation, at));
            let is_done = advanced(&mut revoke, polls).await;
            // A store may make the login wait for the revocation; then the two don't interleave here.
            let mut login = tokio::spawn(login(store.clone(), user, n, at));
            let waited = tokio::time::timeout(Duration::from_millis(100), &mut login).await;
            if !is_done {
                revoke.await;
            }
            let note = match waited {
                Ok(note) => note.unwrap_or_else(|error| panic!("the login failed: {error}")),
                Err(_) => race::joined(login).await,
            };
            is_caught(&store, fixture::id(n), note, revocation).await;
            if is_done && polls > 0 && way == 1 {
                return;
            }
        }
    }
}

/// Polls so many times, waiting in between until it can go on. Whether it has come to its end.
async fn advanced<F: Future + Unpin>(future: &mut F, polls: u64) -> bool {
    for _ in 0..polls {
        if tokio::time::timeout(Duration::ZERO, &mut *future).await.is_ok() {
            return true;
        }
        tokio::time::sleep(MS).await;
    }
    false
}

/// A login as the library does it: the record first, then a look for a note. Odd ones log an anonymous session in.
async fn login<S: Store>(store: Tested<S>, user: String, n: u64, at: Timestamp) -> Option<Revocation> {
    let (record, arrived) = (session_of(&user, n, at), at);
    if n % 2 == 0 {
        assert_eq!(store.create(&record, arrived).await, Written::Stored);
    } else {
        let anonymous = session(n, at);
        assert_eq!(store.create(&anonymous, arrived).await, Written::Stored);
        tokio::task::yield_now().await;
        assert_eq!(store.replace(&record, anonymous.version, arrived).await, Written::Stored);
    }
    store.last_revocation(&subject(&user), arrived).await
}

async fn is_caught<S: Store>(
    store: &Tested<S>,
    id: SessionId,
    note: Option<Revocation>,
    revocation: Revocation,
) {
    let found = store.load(id, revocation.at).await;
    match note {
        Some(note) => assert_eq!(note, revocation, "another note than the one that was made"),
        None => assert!(
            matches!(found, Seen::Ended(tombstone) if tombstone.version == revocation.version),
            "the login found no note, and the revocation didn't find the login: {found:?}"
        ),
    }
}

/// Several revocations at once: each session is ended by exactly one of them, and its tombstone says which.
pub async fn of_racing_revocations_each_session_is_ended_by_one<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..15 {
        let own: Vec<_> = (0..20).map(|n| session_of("user", round * 100 + n, T0)).collect();
        for record in &own {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let revocations: Vec<_> = (0..6).map(|_| revocation(T0, None)).collect();
        let ended = race::all(revocations.iter().map(|revocation| {
            let (store, revocation) = (store.clone(), *revocation);
            async move { store.end_subject(&subject("user"), revocation, T0).await }
        }))
        .await;
        let mut all: Vec<_> = ended.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, ids(&own), "each is reported once");
        for (revocation, ids) in revocations.iter().zip(&ended) {
            for id in ids {
                let seen = store.load(*id, T0).await;
                let is_its = matches!(seen, Seen::Ended(left) if left.version == revocation.version);
                assert!(is_its, "reported by another revocation than its tombstone tells: {seen:?}");
            }
        }
        let last = store.last_revocation(&subject("user"), T0).await;
        assert!(
            revocations.iter().any(|revocation| last == Some(*revocation)),
            "the note is a mixture: {last:?}"
        );
    }
}

/// A session that changes hands while its former subject's sessions are ended is either ended before, or stays: what
/// the new subject was told is stored is never ended by the other's revocation.
pub async fn end_subject_never_ends_a_session_that_has_changed_hands<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..100 {
        let own: Vec<_> = (0..6).map(|n| session_of("former", round * 10 + n, T0)).collect();
        for record in &own {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let revoke = {
            let store = store.clone();
            async move {
                race::waited(round % 20).await;
                store.end_subject(&subject("former"), revocation(T0, None), T0).await
            }
        };
        let moves = race::all(own.iter().rev().map(|record| {
            let (store, record) = (store.clone(), record.clone());
            async move {
                let moved = of(&record, Some("new"));
                let written = store.replace(&moved, record.version, T0).await;
                (moved, written)
            }
        }));
        let (ended, moves) = race::both(revoke, moves).await;
        for (moved, written) in moves {
            let is_moved = written == Written::Stored;
            assert!(is_moved || written == Written::Gone, "{written:?}");
            assert_eq!(ended.contains(&moved.id), !is_moved, "the replace was answered {written:?}");
            assert_eq!(store.load(moved.id, T0).await == Seen::found(&moved), is_moved);
        }
    }
}

/// Whatever a storm of writes leaves, the index says the same as the records: each living session is listed under its
/// subject, and nowhere else.
pub async fn after_a_storm_the_index_agrees_with_the_records<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let sessions: Vec<_> = (0..12).map(|n| session(n, T0)).collect();
    for record in &sessions {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    race::all((0..8).map(|seed| storm(store.clone(), sessions.clone(), seed))).await;
    let (mut living, mut anonymous) = (Vec::new(), 0);
    for record in &sessions {
        match store.load(record.id, T0).await.record() {
            Some(record) if record.subject.is_none() => anonymous += 1,
            Some(record) => living.push(record),
            None => {}
        }
    }
    assert!(living.len() + anonymous >= 6, "the storm left too little to compare");
    for name in SUBJECTS {
        let own: Vec<_> =
            living.iter().filter(|record| record.subject == Some(subject(name))).cloned().collect();
        is_listed(&store, name, &own, T0).await;
    }
}

const SUBJECTS: [&str; 3] = ["a", "b", "c"];

/// Writes that move sessions from subject to subject, and a few ends.
async fn storm<S: Store>(store: Tested<S>, sessions: Vec<Record>, seed: u64) {
    let mut random = Random::seeded(seed);
    for step in 0..60 {
        let id = random.pick(&sessions).id;
        let Some(record) = store.load(id, T0).await.record() else { continue };
        let name = *random.pick(&[Some("a"), Some("b"), Some("c"), None]);
        if seed == 0 && step % 10 == 9 {
            store.end(tombstone(id, T0), None, T0).await;
        } else {
            store.replace(&of(&record, name), record.version, T0).await;
        }
    }
}

/// Logins that are under way while everything that started before an instant is ended: none is there afterwards.
pub async fn a7_4_5_no_login_slips_past_the_end_of_all<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..50 {
        let instant = T0 + seconds(round);
        let logins = race::all((0..4).map(|n| {
            let (store, record) = (store.clone(), session_of("user", round * 10 + n, before(instant, MS)));
            async move { store.create(&record, instant).await }
        }));
        let cut = {
            let store = store.clone();
            async move {
                race::waited(round % 10).await;
                store.end_started_before(instant, instant).await;
            }
        };
        race::both(cut, logins).await;
        for n in 0..4 {
            assert_eq!(store.load(fixture::id(round * 10 + n), instant).await, Seen::Absent);
        }
        is_listed(&store, "user", &[], instant).await;
    }
}
