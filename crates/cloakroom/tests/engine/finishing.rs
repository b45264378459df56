//! The end of a request whose adapter lets go of it: alone, or while somebody still has its session.

use cloakroom::{
    Error, Key, MemoryStore, Sessions,
    exchange::{Finished, Outcome},
};

use crate::browser::Browser;

const NOTE: Key<u32> = Key::new("note");

async fn committed(finished: Finished) -> Result<Outcome, Error> {
    match finished {
        Finished::Committing(commit) => commit.await,
        other => panic!("there was something to commit: {other:?}"),
    }
}

#[tokio::test]
async fn what_a_request_did_with_its_session_is_told_apart() {
    let sessions = Sessions::builder(MemoryStore::new()).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;

    assert!(matches!(sessions.begin().finish(), Finished::Untouched));

    let (reading, session) = browser.request(&sessions).await;
    assert_eq!(session.get(NOTE).unwrap(), None);
    drop(session);
    assert!(matches!(reading.finish(), Finished::Unchanged));

    let (writing, session) = browser.request(&sessions).await;
    session.insert(NOTE, &1).unwrap();
    drop(session);
    let outcome = committed(writing.finish()).await.unwrap();
    assert!(outcome.was_loaded && outcome.set_cookie.is_none());
    assert_eq!(browser.request(&sessions).await.1.get(NOTE).unwrap(), Some(1));
}

/// A handler may leave its session to a task. What it changed before the head is stored, and what comes after is refused.
#[tokio::test]
async fn a_session_that_outlives_its_request_takes_no_more_changes() {
    let sessions = Sessions::builder(MemoryStore::new()).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;

    let (reading, session) = browser.request(&sessions).await;
    assert!(matches!(reading.finish(), Finished::Unchanged));
    assert!(session.insert(NOTE, &1).unwrap_err().is_committed());
    assert_eq!(session.get(NOTE).unwrap(), None);

    let (writing, session) = browser.request(&sessions).await;
    session.insert(NOTE, &2).unwrap();
    let task = session.clone();
    drop(session);
    committed(writing.finish()).await.unwrap();
    assert!(task.insert(NOTE, &3).unwrap_err().is_committed());
    assert_eq!(browser.request(&sessions).await.1.get(NOTE).unwrap(), Some(2));

    let late = sessions.begin();
    assert!(matches!(late.clone().finish(), Finished::Untouched));
    let session = browser.load(&late).await.unwrap();
    assert_eq!(session.get(NOTE).unwrap(), Some(2), "reading is free");
    assert!(session.insert(NOTE, &4).unwrap_err().is_committed());
}

/// Reading takes no lock until something is changed; whoever changed something sees it in every handle.
#[tokio::test]
async fn a_change_is_seen_by_every_handle_at_once() {
    let sessions = Sessions::builder(MemoryStore::new()).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;
    let (exchange, session) = browser.request(&sessions).await;
    let (other, id) = (session.clone(), session.id());
    assert_eq!(other.get(NOTE).unwrap(), None);
    let writer = tokio::task::spawn_blocking(move || session.update(NOTE, |note| *note += 1).unwrap());
    writer.await.unwrap();
    assert_eq!((other.get(NOTE).unwrap(), other.id()), (Some(1), id));
    other.logout().unwrap();
    assert_eq!((other.get(NOTE).unwrap(), other.id(), other.subject()), (None, None, None));
    let cookie = committed(exchange.finish()).await.unwrap().set_cookie.unwrap();
    assert!(cookie.expose().contains("Max-Age=0"));
}

/// The bug: a panic in an `update` whose function held the session itself hung its thread for ever. The cause: the session's
/// end, noticing the panic, waited for the lock that `update` still held. The mend: that is noted without the lock.
#[tokio::test]
async fn a_panic_under_the_lock_ends_and_discards() {
    let sessions = Sessions::builder(MemoryStore::new()).build().unwrap();
    let mut browser = Browser::default();
    browser.visit(&sessions, |session| session.insert(NOTE, &1).unwrap()).await.unwrap();
    let (exchange, session) = browser.request(&sessions).await;
    session.insert(NOTE, &2).unwrap();
    let handler = std::thread::spawn(move || {
        let held = session.clone();
        let update = move |_: &mut u32| {
            let _held = &held;
            panic!("as it was told to");
        };
        session.update(NOTE, update).unwrap();
    });
    assert!(handler.join().is_err());
    assert!(matches!(exchange.finish(), Finished::Unchanged));
    assert_eq!(browser.request(&sessions).await.1.get(NOTE).unwrap(), Some(1));
}
