//! What comes too late: changes after the response's head, and activity after the end.

use std::time::Duration;

use cloakroom::{Key, MemoryStore, Sessions, clock::ManualClock};
use cloakroom_store_test::{Fault, FaultyStore, Op};

use crate::browser::Browser;

const NOTE: Key<u32> = Key::new("note");

/// A body's stream, or a task, asks for the session when the response's head is on its way.
///
/// Bug: it was given one that took changes, and nobody stored them. Cause: a commit left no trace where the session
/// hadn't been asked for, or was degraded. Mend: whichever comes first, the commit or the asking, is kept.
#[tokio::test]
async fn a_session_asked_for_after_the_commit_takes_no_changes() {
    let store = FaultyStore::new(MemoryStore::new());
    let sessions = Sessions::builder(store.clone()).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;

    let untouched = sessions.begin();
    assert!(!untouched.commit().await.unwrap().was_loaded);
    let session = browser.load(&untouched).await.unwrap();
    assert!(session.subject().is_some(), "reading is free");
    assert!(session.insert(NOTE, &1).unwrap_err().is_committed());

    store.fail_everything(Fault::Refused);
    let degraded = sessions.begin();
    let cookie = browser.cookie.clone().unwrap();
    assert!(degraded.session_or_degraded(std::iter::once(cookie.as_bytes()), None).await.is_degraded());
    degraded.commit().await.unwrap();
    store.heal();
    let session = browser.load(&degraded).await.unwrap();
    assert!(session.subject().is_some() && !session.is_degraded());
    assert!(session.insert(NOTE, &1).unwrap_err().is_committed());
}

/// A middleware and a handler load one request's session at once; the store answers one of them in time.
///
/// Bug: the handler's change was answered 503, though the store could take it. Cause: whoever had no answer put a degraded
/// session over the one that the other had opened. Mend: what was opened stays.
#[tokio::test]
async fn a_load_that_fails_takes_no_session_from_another_that_did_not() {
    let store = FaultyStore::new(MemoryStore::new());
    let sessions = Sessions::builder(store.clone()).deadline(Duration::from_millis(50)).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;
    let (exchange, cookie) = (sessions.begin(), browser.cookie.clone().unwrap());
    store.fail_next(Op::Load, Fault::HangBefore);
    let late = exchange.session_or_degraded(std::iter::once(cookie.as_bytes()), None);
    tokio::pin!(late);
    tokio::select! {
        biased;
        _ = &mut late => panic!("the store hangs"),
        () = store.until_hanging(1) => {}
    }
    browser.load(&exchange).await.unwrap().insert(NOTE, &1).unwrap();
    assert!(!late.await.is_degraded());
    exchange.commit().await.unwrap();
    assert_eq!(browser.request(&sessions).await.1.get(NOTE).unwrap(), Some(1));
}

/// A session expires while a request that only reads is at work, and others read as anonymous.
///
/// Bug: it lived again for half an hour. Cause: the reader's activity was stored with the time at which it had loaded
/// the session, to which it wasn't expired. Mend: it is stored with the time at the end of the request.
#[tokio::test]
async fn a7_3_1_a_slow_reader_brings_no_expired_session_back() {
    let clock = ManualClock::default();
    let sessions = Sessions::builder(MemoryStore::new()).clock(clock.clone()).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;
    clock.advance(Duration::from_secs(1_795));
    let (slow, session) = browser.request(&sessions).await;
    assert!(session.subject().is_some());
    clock.advance(Duration::from_secs(10));
    assert_eq!(browser.subject(&sessions).await, None);
    slow.commit().await.unwrap();
    assert_eq!(browser.subject(&sessions).await, None);
}
