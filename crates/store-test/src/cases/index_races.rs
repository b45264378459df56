//! The index while much happens at once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use cloakroom::store::{Revocation, Store, Summary, Written};
use cloakroom_core::{Record, SessionId, Timestamp};

use super::listing::{ids, is_listed, of};
use crate::{
    Harness,
    drops::{held_up, held_up_at_every_await},
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
    let (is_over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let comers =
        (1..=3).map(|n| tokio::spawn(comes_and_goes(store.clone(), n * 100_000, Arc::clone(&is_over))));
    let comers: Vec<_> = comers.collect();
    let writer =
        tokio::spawn(writes_all(store.clone(), lasting.clone(), Arc::clone(&is_over), Arc::clone(&written)));
    let mut limits = [3, 7, 20].into_iter().cycle().take(30);
    while let Some(limit) = limits.next().or((written.load(Ordering::SeqCst) < 150).then_some(5)) {
        let listed = paged(&store, limit).await;
        let missing: Vec<_> = lasting.iter().filter(|record| !listed.contains(&record.id)).collect();
        assert!(missing.is_empty(), "not listed, though alive: {missing:?}");
        race::waited(1).await;
    }
    is_over.store(true, Ordering::SeqCst);
    for task in comers.into_iter().chain([writer]) {
        race::joined(task).await;
    }
    assert_eq!(paged(&store, 8).await.into_iter().collect::<Vec<_>>(), ids(&lasting));
}

/// The same in slow motion: between two pages sessions begin and end on both sides of the place where the next page
/// begins, so that positions shift.
pub async fn pages_go_on_where_they_left_off_whatever_shifts<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let lasting: Vec<_> = (0..40).map(|n| session_of("user", n, T0)).collect();
    let mut passing: Vec<_> = (100..140).map(|n| session_of("user", n, T0)).collect();
    for record in lasting.iter().chain(&passing) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    passing.sort_by_key(|record| record.id);
    let (mut listed, mut last, mut next) = (Vec::new(), None, 1_000);
    loop {
        let page = store.page(&subject("user"), last, 6, T0).await;
        let Some(end) = page.last() else { break };
        assert!(last < Some(end.id), "a page ends where the one before it did");
        last = Some(end.id);
        listed.extend(page.iter().map(|summary| summary.id));
        // More end before this place than begin there, and so positions behind it shift forward.
        for gone in [0, 0, passing.len().saturating_sub(5)] {
            if gone < passing.len() {
                let gone = passing.remove(gone);
                assert_eq!(store.end(tombstone(gone.id, T0), None, T0).await, Written::Stored);
            }
        }
        assert_eq!(store.create(&session_of("user", next, T0), T0).await, Written::Stored);
        next += 1;
    }
    assert!(listed.is_sorted_by(|a, b| a < b), "a session is listed twice");
    let missing: Vec<_> = lasting.iter().filter(|record| !listed.contains(&record.id)).collect();
    assert!(missing.is_empty(), "not listed, though alive: {missing:?}");
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

async fn comes_and_goes<S: Store>(store: Tested<S>, first: u64, is_over: Arc<AtomicBool>) {
    for n in first.. {
        let (name, other) = if n % 2 == 0 { ("user", "other") } else { ("other", "user") };
        let record = session_of(name, n, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        race::waited(2).await;
        assert_eq!(store.replace(&of(&record, Some(other)), record.version, T0).await, Written::Stored);
        race::waited(2).await;
        assert_eq!(store.end(tombstone(record.id, T0), None, T0).await, Written::Stored);
        if is_over.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// Changes record after record, again and again.
async fn writes_all<S: Store>(
    store: Tested<S>,
    mut records: Vec<Record>,
    is_over: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
) {
    for n in (0..records.len()).cycle() {
        let next = fixture::changed(&records[n]);
        assert_eq!(store.replace(&next, records[n].version, T0).await, Written::Stored);
        assert_eq!(store.touch(next.id, T0 + MS, T0).await, Written::Stored);
        records[n] = next;
        written.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if is_over.load(Ordering::SeqCst) {
            return;
        }
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
    for way in 0..2 {
        held_up_at_every_await(async |polls| {
            let (user, at) = (format!("user-{polls}-{way}"), T0 + seconds(polls));
            let (n, revocation, name) = (10 * polls + way, revocation(at, None), subject(&user));
            let revoke = store.end_subject(&name, revocation, at);
            let (_, note, is_done) = held_up(polls, revoke, login(store.clone(), user, n, at)).await;
            is_caught(&store, fixture::id(n), note, revocation).await;
            is_done
        })
        .await;
    }
}

/// A login as the library does it: the record first, then a look for a note. Odd ones log an anonymous session in.
async fn login<S: Store>(store: Tested<S>, user: String, n: u64, at: Timestamp) -> Option<Revocation> {
    let (record, arrived) = (session_of(&user, n, at), at);
    if n.is_multiple_of(2) {
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

/// The same, with the revocation held up at each of its awaits while a session changes hands.
pub async fn end_subject_held_up_at_any_await_spares_what_has_changed_hands<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    held_up_at_every_await(async |polls| {
        let own: Vec<_> = (0..3).map(|n| session_of("former", 10 * polls + n, T0)).collect();
        for record in &own {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let last = own.iter().max_by_key(|record| record.id).unwrap_or(&own[0]);
        let moved = of(last, Some("new"));
        let replace = {
            let (store, moved, expected) = (store.clone(), moved.clone(), last.version);
            async move { store.replace(&moved, expected, T0).await }
        };
        let name = subject("former");
        let revoke = store.end_subject(&name, revocation(T0, None), T0);
        let (ended, written, is_done) = held_up(polls, revoke, replace).await;
        let is_moved = written == Written::Stored;
        assert_eq!(ended.contains(&moved.id), !is_moved, "the replace was answered {written:?}");
        assert_eq!(store.load(moved.id, T0).await == Seen::found(&moved), is_moved);
        is_done
    })
    .await;
}

/// A session is listed once, while a write to it is held up at any await.
pub async fn a_session_is_listed_while_a_write_to_it_is_held_up_at_any_await<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    held_up_at_every_await(async |polls| {
        let (name, record) = (format!("user-{polls}"), session_of(&format!("user-{polls}"), polls, T0));
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let next = fixture::changed(&record);
        let list = {
            let (store, name) = (store.clone(), subject(&name));
            async move { store.list(&name, T0).await }
        };
        let (written, listed, is_done) = held_up(polls, store.replace(&next, record.version, T0), list).await;
        assert_eq!(written, Written::Stored);
        assert_eq!(listed, [Summary::of(&record)], "held up after {polls} polls");
        is_done
    })
    .await;
}

/// Whatever a storm of writes leaves, the index says the same as the records: each living session is listed under its
/// subject, and nowhere else.
pub async fn after_a_storm_the_index_agrees_with_the_records<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let sessions: Vec<_> = (0..5).map(|n| session(n, T0)).collect();
    for record in &sessions {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    for round in 0..15 {
        race::all((0..6).map(|n| storm(store.clone(), sessions.clone(), 10 * round + n))).await;
        let mut found = Vec::new();
        for record in &sessions {
            found.extend(store.load(record.id, T0).await.record());
        }
        for name in SUBJECTS {
            let is_its = |record: &&Record| record.subject == Some(subject(name));
            let own: Vec<_> = found.iter().filter(is_its).cloned().collect();
            is_listed(&store, name, &own, T0).await;
        }
    }
}

const SUBJECTS: [&str; 3] = ["a", "b", "c"];

/// Writes that move sessions from subject to subject; in the last rounds, an end now and then.
async fn storm<S: Store>(store: Tested<S>, sessions: Vec<Record>, seed: u64) {
    let mut random = Random::seeded(seed);
    for _ in 0..10 {
        let id = random.pick(&sessions).id;
        let Some(record) = store.load(id, T0).await.record() else { continue };
        let name = *random.pick(&[Some("a"), Some("b"), Some("c"), None]);
        race::waited(random.below(2)).await;
        if seed >= 120 && random.below(50) == 0 {
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
