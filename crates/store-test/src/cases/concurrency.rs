//! Many writers of one session: compare-and-swap loses nothing and lets nobody win twice.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cloakroom::store::{Store, Tombstone, Written};
use cloakroom_core::{Record, Version};
use tokio::task::JoinHandle;

use crate::{
    Harness,
    drops::{held_up, held_up_at_every_await},
    fixture::{MS, Random, T0, before, changed, data, id, session, session_of, tombstone, version},
    race,
    tested::{Seen, Tested},
};

/// Of racing creates of one id exactly one is stored, and it is the one that is found.
pub async fn of_racing_creates_exactly_one_is_stored<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..40 {
        let rivals: Vec<_> = (0..8).map(|n| session_of(&format!("user-{n}"), round, T0)).collect();
        let answers = race::all(rivals.iter().cloned().map(|record| {
            let store = store.clone();
            async move { store.create(&record, T0).await }
        }))
        .await;
        let winner = the_one(&rivals, &answers, Written::Conflict);
        assert_eq!(store.load(winner.id, T0).await, Seen::found(winner));
    }
}

/// Of racing replaces that expect the same version exactly one is stored; the others are told Conflict.
pub async fn of_racing_replaces_exactly_one_is_stored<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let mut stored = session(1, T0);
    assert_eq!(store.create(&stored, T0).await, Written::Stored);
    for _ in 0..60 {
        let rivals: Vec<_> = (0..10).map(|_| changed(&stored)).collect();
        let answers = race::all(rivals.iter().cloned().map(|record| {
            let (store, expected) = (store.clone(), stored.version);
            async move { store.replace(&record, expected, T0).await }
        }))
        .await;
        let winner = the_one(&rivals, &answers, Written::Conflict).clone();
        assert_eq!(store.load(winner.id, T0).await, Seen::found(&winner));
        stored = winner;
    }
}

/// Of racing ends exactly one is stored, and its tombstone is the one that is found; the others are told Gone.
pub async fn of_racing_ends_exactly_one_is_stored<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..40 {
        let record = session(round, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let rivals: Vec<_> = (0..8).map(|_| tombstone(record.id, T0)).collect();
        let answers = race::all(rivals.iter().copied().enumerate().map(|(n, tombstone)| {
            let (store, expected) = (store.clone(), (n % 2 == 0).then_some(record.version));
            async move { store.end(tombstone, expected, T0).await }
        }))
        .await;
        let winner = *the_one(&rivals, &answers, Written::Gone);
        assert_eq!(store.load(record.id, T0).await, Seen::Ended(winner));
    }
}

/// Two hundred increments by eight writers, each a load and a compare-and-swap that is tried again on Conflict: the
/// count is two hundred.
pub async fn no_update_is_lost<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = Record { data: data(r#"{"count":0}"#), ..session(1, T0) };
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    race::all((0..8).map(|_| increments(store.clone(), record.clone(), 25))).await;
    let found = store.load(record.id, T0).await.record().map(|record| record.data);
    assert_eq!(found, Some(data(r#"{"count":200}"#)));
}

pub(super) async fn increments<S: Store>(store: Tested<S>, record: Record, times: u32) {
    for _ in 0..times {
        loop {
            let Some(stored) = store.load(record.id, T0).await.record() else {
                panic!("the session is gone")
            };
            // Lets others write in between, so that Conflict comes about on the quickest store too.
            race::waited(1).await;
            let next = Record { version: version(), data: incremented(&stored), ..stored.clone() };
            match store.replace(&next, stored.version, T0).await {
                Written::Stored => break,
                Written::Conflict => tokio::task::yield_now().await,
                Written::Gone => panic!("the session is gone"),
            }
        }
    }
}

fn incremented(record: &Record) -> cloakroom_core::Data {
    let count = record.data.get("count").and_then(|count| str::from_utf8(count).ok()?.parse::<u32>().ok());
    data(&format!(r#"{{"count":{}}}"#, count.unwrap_or(0) + 1))
}

/// A logout meets writes and touches in progress. It is stored all the same, and whatever the others were told, the
/// session is over.
pub async fn r_revive_an_end_beats_writes_in_progress<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..60 {
        let record = session_of("user", round, T0);
        let tombstone = tombstone(record.id, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let end = {
            let store = store.clone();
            async move {
                race::waited(round % 20).await;
                store.end(tombstone, None, T0).await
            }
        };
        let writes = race::all((0..6).map(|n| {
            let (store, record) = (store.clone(), record.clone());
            async move {
                if n % 2 == 0 {
                    store.replace(&changed(&record), record.version, T0).await
                } else {
                    store.touch(record.id, T0, T0).await
                }
            }
        }));
        let (ended, written) = race::both(end, writes).await;
        assert_eq!(ended, Written::Stored);
        assert!(written.iter().step_by(2).filter(|answer| **answer == Written::Stored).count() <= 1);
        assert!(written.iter().skip(1).step_by(2).all(|answer| *answer != Written::Conflict));
        assert_eq!(store.load(record.id, T0).await, Seen::Ended(tombstone));
    }
}

/// A conditional end races with a replace: exactly one of them is stored, and it is what is found.
pub async fn a_conditional_end_and_a_replace_exclude_each_other<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for round in 0..60 {
        let record = session(round, T0);
        let (next, tombstone) = (changed(&record), tombstone(record.id, T0));
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let end = {
            let (store, expected) = (store.clone(), Some(record.version));
            async move {
                race::waited(round % 10).await;
                store.end(tombstone, expected, T0).await
            }
        };
        let replace = {
            let (store, next, expected) = (store.clone(), next.clone(), record.version);
            async move { store.replace(&next, expected, T0).await }
        };
        let found = match race::both(end, replace).await {
            (Written::Stored, Written::Gone) => Seen::Ended(tombstone),
            (Written::Conflict, Written::Stored) => Seen::found(&next),
            both => panic!("end and replace were answered {both:?}"),
        };
        assert_eq!(store.load(record.id, T0).await, found);
    }
}

/// Touches and replaces of one session at once: the writers are never told Conflict because of a touch, and no touch
/// undoes a write.
pub async fn touches_never_disturb_a_writer<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let (is_over, touched) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let touches = (0..4).map(|_| {
        let (store, id) = (store.clone(), record.id);
        let (is_over, touched) = (Arc::clone(&is_over), Arc::clone(&touched));
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(store.touch(id, T0, T0).await, Written::Stored);
                touched.fetch_add(1, Ordering::SeqCst);
                race::waited(1).await;
            }
        })
    });
    let touches: Vec<_> = touches.collect();
    let mut last = record.clone();
    for _ in 0..80 {
        let next = changed(&last);
        assert_eq!(store.replace(&next, last.version, T0).await, Written::Stored);
        last = next;
        // However the scheduler treats them, some touches lie between two writes.
        let seen = touched.load(Ordering::SeqCst);
        while touched.load(Ordering::SeqCst) < seen + 2 && !touches.iter().any(JoinHandle::is_finished) {
            race::waited(1).await;
        }
    }
    is_over.store(true, Ordering::SeqCst);
    for task in touches {
        race::joined(task).await;
    }
    assert_eq!(store.load(record.id, T0).await, Seen::found(&last));
}

/// Of two writes that exclude each other exactly one is stored, at whichever await the first is held up while the
/// other goes through.
pub async fn of_two_writes_one_is_stored_wherever_the_first_is_held_up<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for (n, (first, second)) in (0..).zip([
        (Write::Create, Write::Create),
        (Write::Replace, Write::Replace),
        (Write::Replace, Write::End),
        (Write::End, Write::Replace),
        (Write::End, Write::End),
    ]) {
        held_up_at_every_await(async |polls| {
            let record = session(100 * n + polls, T0);
            if first != Write::Create {
                assert_eq!(store.create(&record, T0).await, Written::Stored);
            }
            let (first, second) = (first.of(&record), second.of(&record));
            let (a, b) = (first.clone().made(store.clone()), second.clone().made(store.clone()));
            let (a, b, is_done) = held_up(polls, a, b).await;
            let (is_a, is_b) = (a == Written::Stored, b == Written::Stored);
            assert!(
                is_a != is_b,
                "held up after {polls} polls: {first:?} was answered {a:?}, {second:?} {b:?}"
            );
            let winner = if is_a { &first } else { &second };
            assert_eq!(store.load(record.id, T0).await, winner.left(), "{winner:?} was answered Stored");
            is_done
        })
        .await;
    }
}

/// An end goes through while a write is held up, at whichever await: the session is over, and stays it.
pub async fn r_revive_an_end_beats_a_write_held_up_at_any_await<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for (n, write) in (0..).zip([Write::Replace, Write::Touch]) {
        held_up_at_every_await(async |polls| {
            let record = session_of("user", 100 * n + polls, T0);
            let tombstone = tombstone(record.id, T0);
            assert_eq!(store.create(&record, T0).await, Written::Stored);
            let end = {
                let store = store.clone();
                async move { store.end(tombstone, None, T0).await }
            };
            let (_, ended, is_done) = held_up(polls, write.of(&record).made(store.clone()), end).await;
            assert_eq!(ended, Written::Stored);
            assert_eq!(
                store.load(record.id, T0).await,
                Seen::Ended(tombstone),
                "held up after {polls} polls"
            );
            is_done
        })
        .await;
    }
}

/// A write goes through while a touch is held up, at whichever await, and the touch undoes nothing of it.
pub async fn a_touch_held_up_at_any_await_undoes_no_write<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    held_up_at_every_await(async |polls| {
        let record = session(polls, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        let replace = Write::Replace.of(&record);
        let touch = Write::Touch.of(&record).made(store.clone());
        let (touched, replaced, is_done) = held_up(polls, touch, replace.clone().made(store.clone())).await;
        assert_eq!((touched, replaced), (Written::Stored, Written::Stored), "held up after {polls} polls");
        assert_eq!(store.load(record.id, T0).await, replace.left(), "held up after {polls} polls");
        is_done
    })
    .await;
}

/// Five hundred sessions created, changed, read and ended at once: each goes its own way.
pub async fn many_sessions_at_once_never_mix<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    race::all((0..500).map(|n| {
        let store = store.clone();
        async move {
            let record = session_of(&format!("user-{}", n % 7), n, T0);
            assert_eq!(store.create(&record, T0).await, Written::Stored);
            assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
            let next = changed(&record);
            assert_eq!(store.replace(&next, record.version, T0).await, Written::Stored);
            assert_eq!(store.load(record.id, T0).await, Seen::found(&next));
            let tombstone = tombstone(record.id, T0);
            assert_eq!(store.end(tombstone, Some(next.version), T0).await, Written::Stored);
            assert_eq!(store.load(record.id, T0).await, Seen::Ended(tombstone));
        }
    }))
    .await;
}

/// Loads of one moment may be made together: of living sessions, ended ones and unknown ones, of one session twice, and by
/// clocks that differ.
pub async fn loads_of_one_moment_are_each_answered_for_themselves<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (living, ended): (Vec<_>, Vec<_>) = (0..120).map(|n| session(n, T0)).partition(|one| one.id < id(0));
    for record in living.iter().chain(&ended) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let mut expected = Vec::new();
    for record in &ended {
        let tombstone = tombstone(record.id, T0);
        assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
        expected.push((record.id, T0, Seen::Ended(tombstone)));
        expected.push((record.id, tombstone.expires, Seen::Absent));
    }
    for record in &living {
        expected.push((record.id, T0, Seen::found(record)));
        expected.push((record.id, before(record.expires(), MS), Seen::found(record)));
        expected.push((record.id, record.expires(), Seen::Absent));
    }
    expected.extend((1_000..1_040).map(|n| (id(n), T0, Seen::Absent)));
    let mut random = Random::seeded(0x10ad);
    for _ in 0..8 {
        let asked: Vec<_> = (0..100).map(|_| random.pick(&expected).clone()).collect();
        let answers = race::all(asked.iter().map(|(id, now, _)| {
            let (store, id, now) = (store.clone(), *id, *now);
            async move { store.load(id, now).await }
        }))
        .await;
        for ((id, now, expected), answer) in asked.into_iter().zip(answers) {
            assert_eq!(answer, expected, "{id} at {now:?}");
        }
    }
}

/// A kind of change.
#[derive(Clone, Copy, PartialEq)]
enum Write {
    Create,
    Replace,
    Touch,
    End,
}

impl Write {
    /// Such a change of a session that is as it was created.
    fn of(self, record: &Record) -> Change {
        match self {
            Self::Create => Change::Create(changed(record)),
            Self::Replace => Change::Replace(changed(record), record.version),
            Self::Touch => Change::Touch(record.clone()),
            Self::End => Change::End(tombstone(record.id, T0), record.version),
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Create(Record),
    Replace(Record, Version),
    Touch(Record),
    End(Tombstone, Version),
}

impl Change {
    async fn made<S: Store>(self, store: Tested<S>) -> Written {
        match self {
            Self::Create(record) => store.create(&record, T0).await,
            Self::Replace(record, expected) => store.replace(&record, expected, T0).await,
            Self::Touch(record) => store.touch(record.id, T0, T0).await,
            Self::End(tombstone, expected) => store.end(tombstone, Some(expected), T0).await,
        }
    }

    /// What is found when it was stored.
    fn left(&self) -> Seen {
        match self {
            Self::Create(record) | Self::Replace(record, _) | Self::Touch(record) => Seen::found(record),
            Self::End(tombstone, _) => Seen::Ended(*tombstone),
        }
    }
}

/// The one of several rivals that was told Stored, when all others were told `otherwise`.
fn the_one<'a, T>(rivals: &'a [T], answers: &[Written], otherwise: Written) -> &'a T {
    let stored: Vec<_> =
        rivals.iter().zip(answers).filter(|(_, answer)| **answer == Written::Stored).collect();
    let [(winner, _)] = stored[..] else { panic!("not exactly one is stored: {answers:?}") };
    let others = answers.iter().filter(|answer| **answer == otherwise).count();
    assert_eq!(others, rivals.len() - 1, "not all others are told {otherwise:?}: {answers:?}");
    winner
}
