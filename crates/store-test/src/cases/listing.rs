//! The index by subject: a listing tells exactly the subject's living sessions, after every kind of change.

use cloakroom::store::{Store, Summary, Tombstone, Written};
use cloakroom_core::{Record, SessionId, Timestamp};

use super::touch::active;
use crate::{
    Harness,
    fixture::{IDLE, MS, T0, before, changed, minutes, revocation, session, session_of, subject, tombstone},
    tested::{Seen, Tested},
};

/// A store declared `without: index` answers that it has none, and that it can't revoke either.
pub async fn a_store_declared_without_an_index_has_none<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    assert!(store.bare().index().is_none(), "the store has an index: remove `without: index`");
    assert!(store.bare().revoke().is_none(), "the store can revoke: declare `without: listing` instead");
}

/// A user lists the sessions of her own, and no others: neither another user's nor anonymous ones. A summary tells
/// the session's public handle, its times and its client.
pub async fn a7_5_2_a_subject_lists_its_own_sessions<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let alice = [
        session_of("alice", 1, T0),
        Record { client: None, ..session_of("alice", 2, T0 + MS) },
        Record { client: Some("🦊 on \"Linux\"".into()), ..session_of("alice", 3, T0) },
    ];
    let bob = [session_of("bob", 4, T0)];
    for record in alice.iter().chain(&bob).chain([&session(5, T0)]) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    is_listed(&store, "alice", &alice, T0).await;
    is_listed(&store, "bob", &bob, T0).await;
    is_listed(&store, "carol", &[], T0).await;
}

/// Pages follow each other by id, each as long as it may be, whatever the length; a page may begin behind any id.
pub async fn a_listing_is_ordered_and_paged_by_id<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let mut records: Vec<_> = (0..57).map(|n| session_of("user", n, T0)).collect();
    for record in records.iter().chain(&(100..120).map(|n| session_of("other", n, T0)).collect::<Vec<_>>()) {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    records.sort_by_key(|record| record.id);
    let summaries: Vec<_> = records.iter().map(Summary::of).collect();
    for limit in [1, 2, 7, 56, 57, 58, 1_000] {
        let (mut after, mut expected) = (None, summaries.chunks(limit));
        loop {
            let page = store.page(&subject("user"), after, limit, T0).await;
            assert_eq!(
                page,
                expected.next().unwrap_or_default(),
                "a page of at most {limit} behind {after:?}"
            );
            let Some(last) = page.last() else { break };
            after = Some(last.id);
        }
    }
    let between = successor(records[20].id);
    assert_eq!(store.page(&subject("user"), Some(between), 3, T0).await, summaries[21..24]);
    let lowest = SessionId::from_bytes([0; 16]);
    assert_eq!(store.page(&subject("user"), Some(lowest), 3, T0).await, summaries[..3]);
    let highest = SessionId::from_bytes([0xff; 16]);
    assert_eq!(store.page(&subject("user"), Some(highest), 3, T0).await, []);
}

/// Sessions that have expired or ended take no room on a page.
pub async fn a_page_is_filled_with_living_sessions<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let mut living = Vec::new();
    for n in 0..60 {
        let record = session_of("user", n, if n % 3 == 0 { T0 + MS } else { T0 });
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        if n % 6 == 3 {
            assert_eq!(store.end(tombstone(record.id, T0), None, T0).await, Written::Stored);
        } else if n % 3 == 0 {
            living.push(record);
        }
    }
    living.sort_by_key(|record| record.id);
    let summaries: Vec<_> = living.iter().map(Summary::of).collect();
    let now = T0 + IDLE;
    assert_eq!(store.page(&subject("user"), None, 4, now).await, summaries[..4]);
    assert_eq!(store.page(&subject("user"), Some(living[3].id), 6, now).await, summaries[4..]);
    assert_eq!(summaries.len(), 10);
}

/// A login makes the session findable by its subject.
pub async fn a_login_lists_the_session<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let anonymous = session(1, T0);
    assert_eq!(store.create(&anonymous, T0).await, Written::Stored);
    is_listed(&store, "user", &[], T0).await;
    let user = of(&anonymous, Some("user"));
    assert_eq!(store.replace(&user, anonymous.version, T0).await, Written::Stored);
    is_listed(&store, "user", &[user], T0).await;
}

/// The index follows a session from subject to subject, and to none; staying with one, it is listed once.
pub async fn the_index_follows_a_change_of_subject<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let mut record = session_of("a", 1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    for next in [Some("a"), Some("b"), None, Some("b"), Some("a"), Some("a"), Some("c"), None] {
        let changed = of(&record, next);
        assert_eq!(store.replace(&changed, record.version, T0).await, Written::Stored);
        record = changed;
        for name in ["a", "b", "c"] {
            let expected = if next == Some(name) { std::slice::from_ref(&record) } else { &[] };
            is_listed(&store, name, expected, T0).await;
        }
    }
}

/// What was refused leaves no trace in the index.
pub async fn a_refused_write_lists_nothing<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (living, ended, expired) =
        (session_of("user", 1, T0 + MS), session_of("user", 2, T0), session_of("user", 3, T0));
    for record in [&living, &ended, &expired] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let now = T0 + IDLE;
    let tombstone = Tombstone { expires: now + IDLE, ..tombstone(ended.id, T0) };
    assert_eq!(store.end(tombstone, None, T0).await, Written::Stored);
    let thief = |record: &Record| Record { times: session(0, now).times, ..of(record, Some("thief")) };
    assert_eq!(store.create(&thief(&living), now).await, Written::Conflict);
    assert_eq!(store.create(&thief(&ended), now).await, Written::Conflict);
    assert_eq!(store.replace(&thief(&living), ended.version, now).await, Written::Conflict);
    assert_eq!(store.replace(&thief(&ended), ended.version, now).await, Written::Gone);
    assert_eq!(store.replace(&thief(&expired), expired.version, now).await, Written::Gone);
    assert_eq!(store.replace(&thief(&session(9, now)), living.version, now).await, Written::Gone);
    is_listed(&store, "thief", &[], now).await;
    is_listed(&store, "user", &[living], now).await;
}

/// Neither an ended session nor an expired one is listed, from the very instant on, swept or not.
pub async fn a_session_that_is_gone_is_not_listed<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let (living, ended, expired) =
        (session_of("user", 1, T0 + MS), session_of("user", 2, T0), session_of("user", 3, T0));
    for record in [&living, &ended, &expired] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    assert_eq!(store.end(tombstone(ended.id, T0), Some(ended.version), T0).await, Written::Stored);
    is_listed(&store, "user", &[living.clone(), expired.clone()], before(T0 + IDLE, MS)).await;
    is_listed(&store, "user", std::slice::from_ref(&living), T0 + IDLE).await;
    store.sweep_all(T0 + IDLE).await;
    is_listed(&store, "user", &[living], T0 + IDLE).await;
    store.sweep_all(T0 + IDLE + MS).await;
    is_listed(&store, "user", &[], T0 + IDLE + MS).await;
}

/// A listing shows the last activity, and a session that lives on by it.
pub async fn a_listing_shows_activity<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session_of("user", 1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let now = T0 + minutes(20);
    assert_eq!(store.touch(record.id, now, now).await, Written::Stored);
    is_listed(&store, "user", &[active(&record, now)], T0 + IDLE).await;
    is_listed(&store, "user", &[], now + IDLE).await;
}

/// Names that a database, a pattern or a person takes for the same are different subjects, in every operation.
pub async fn subjects_that_look_alike_never_mix<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let long = "s".repeat(254);
    let names: Vec<String> = [
        "a",
        "A",
        "á",
        "a\u{301}",
        "ａ",
        "aa",
        "a ",
        " a",
        "a  ",
        "a:",
        "a:1",
        "a/1",
        "a\\",
        "a\\\\",
        "a'",
        "a''",
        "\"a\"",
        "%",
        "_",
        "a%",
        "a_",
        "*",
        "a*",
        "?",
        "a?",
        "[a]",
        "{a}",
        "a,b",
        "a|b",
        "$1",
        "0",
        "00",
        "1",
        "1.0",
        "null",
        "ß",
        "ss",
        "ẞ",
        "ı",
        "i",
        "İ",
        "I",
        "你好",
        "🧥",
        "\u{feff}a",
        "a\u{200b}",
        "\u{10ffff}",
        "\u{ffff}",
    ]
    .into_iter()
    .map(String::from)
    .chain([format!("{long}a"), format!("{long}b"), long])
    .collect();
    let sessions: Vec<[Record; 2]> = (0..)
        .zip(&names)
        .map(|(n, name)| [session_of(name, 2 * n, T0), session_of(name, 2 * n + 1, T0)])
        .collect();
    for record in sessions.iter().flatten() {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    for (name, own) in names.iter().zip(&sessions) {
        is_listed(&store, name, own, T0).await;
    }
    for (name, own) in names.iter().zip(&sessions).step_by(2) {
        let ended = store.end_subject(&subject(name), revocation(T0, None), T0).await;
        assert_eq!(ended, ids(own), "the sessions of {name:?}");
    }
    for (n, (name, own)) in names.iter().zip(&sessions).enumerate() {
        let is_revoked = n % 2 == 0;
        is_listed(&store, name, if is_revoked { &[] } else { own }, T0).await;
        assert_eq!(store.last_revocation(&subject(name), T0).await.is_some(), is_revoked, "{name:?}");
        for record in own {
            assert_eq!(store.load(record.id, T0).await == Seen::found(record), !is_revoked, "{name:?}");
        }
    }
}

/// Asserts that exactly these sessions are listed, in order.
pub(super) async fn is_listed<S: Store>(store: &Tested<S>, name: &str, records: &[Record], now: Timestamp) {
    let mut summaries: Vec<_> = records.iter().map(Summary::of).collect();
    summaries.sort_by_key(|summary| summary.id);
    assert_eq!(store.list(&subject(name), now).await, summaries, "the sessions of {name:?}");
}

/// The record, changed, with this subject.
pub(super) fn of(record: &Record, name: Option<&str>) -> Record {
    Record { subject: name.map(subject), ..changed(record) }
}

pub(super) fn ids(records: &[Record]) -> Vec<SessionId> {
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    ids.sort_unstable();
    ids
}

fn successor(id: SessionId) -> SessionId {
    SessionId::from_bytes((u128::from_be_bytes(*id.as_bytes()) + 1).to_be_bytes())
}
