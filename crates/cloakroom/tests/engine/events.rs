//! What is told of a session's life.

use std::time::Duration;

use cloakroom::{
    Key, MemoryStore, Sessions,
    clock::ManualClock,
    event::{EventKind, Rejection},
    store::EndReason,
};

use crate::browser::{Browser, Recorder, subject};

const NOTE: Key<String> = Key::new("note");

#[tokio::test]
async fn a16_3_3_every_turn_of_a_sessions_life_is_told() {
    let (clock, recorder) = (ManualClock::default(), Recorder::default());
    let builder = Sessions::builder(MemoryStore::new()).clock(clock.clone()).subscribe(recorder.clone());
    let sessions = builder.build().unwrap();
    let mut browser = Browser::default();

    browser.visit(&sessions, |session| session.insert(NOTE, &"hunter2".to_owned()).unwrap()).await.unwrap();
    assert_eq!(recorder.kinds(), [EventKind::Created]);
    let anonymous = browser.clone();
    browser.visit(&sessions, |session| session.login(subject("ada")).unwrap()).await.unwrap();
    assert_eq!(recorder.kinds(), [EventKind::Authenticated]);
    browser.visit(&sessions, |session| session.remove(NOTE).unwrap()).await.unwrap();
    assert_eq!(recorder.kinds(), [EventKind::Changed]);
    anonymous.request(&sessions).await;
    assert_eq!(recorder.kinds(), [EventKind::Rejected(Rejection::Superseded)]);

    let rotated_out = browser.clone();
    browser.visit(&sessions, |session| session.rotate().unwrap()).await.unwrap();
    browser.visit(&sessions, |_| ()).await.unwrap();
    assert_eq!(recorder.kinds(), [EventKind::Rotated], "seeing a successor is no event");
    clock.advance(Duration::from_secs(61));
    rotated_out.request(&sessions).await;
    assert_eq!(
        recorder.kinds(),
        [EventKind::Rejected(Rejection::Reused), EventKind::Ended(EndReason::Reuse)]
    );
    browser.request(&sessions).await;
    assert_eq!(recorder.kinds(), [EventKind::Rejected(Rejection::Ended)]);

    browser.cookie = None;
    browser.login(&sessions, "ada").await;
    recorder.take();
    let (slow, session) = browser.request(&sessions).await;
    session.insert(NOTE, &"late".to_owned()).unwrap();
    browser.visit(&sessions, |session| session.logout().unwrap()).await.unwrap();
    slow.commit().await.unwrap_err();
    assert_eq!(recorder.kinds(), [EventKind::Ended(EndReason::Logout), EventKind::Lost]);

    browser.login(&sessions, "ada").await;
    recorder.take();
    clock.advance(Duration::from_secs(1_800));
    sessions.sweep(10).await.unwrap();
    let expired = recorder.take();
    assert_eq!((&expired[0].kind, &expired[0].subject), (&EventKind::Expired, &Some(subject("ada"))));
    browser.request(&sessions).await;
    assert_eq!(recorder.kinds(), [EventKind::Rejected(Rejection::Unknown)]);
    browser.cookie = Some("__Host-session=junk; __Host-session=".to_owned());
    browser.request(&sessions).await;
    assert_eq!(recorder.kinds(), [EventKind::Rejected(Rejection::Malformed)]);
}

#[tokio::test]
async fn a16_2_5_events_hold_no_token_and_no_value() {
    let recorder = Recorder::default();
    let sessions = Sessions::builder(MemoryStore::new()).subscribe(recorder.clone()).build().unwrap();
    let mut browser = Browser::default();
    browser.visit(&sessions, |session| session.insert(NOTE, &"hunter2".to_owned()).unwrap()).await.unwrap();
    let secret = browser.cookie.clone().unwrap().split_off("__Host-session=".len() + 22);
    browser.login(&sessions, "ada").await;
    let (exchange, session) = browser.request(&sessions).await;
    session.logout().unwrap();
    let shown =
        format!("{sessions:?} {exchange:?} {session:?} {:?} {:?}", exchange.commit().await, recorder.take());
    assert!(!shown.contains("hunter2") && !shown.contains(&secret), "{shown}");
}
