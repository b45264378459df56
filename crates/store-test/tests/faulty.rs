//! The fault-injecting store: it works like the one inside until it is told otherwise, and then does what it was told.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod reference;

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Error,
    store::{EndReason, Loaded, Revocation, Store, Tombstone, Written},
};
use cloakroom_core::{
    Data, Lifetime, Record, Secret, SessionId, Subject, Timestamp, Version, lifetime::Times,
    record::Authority,
};
use cloakroom_store_test::{Fault, FaultyStore, Op};
use reference::Reference;

cloakroom_store_test::suite!(|| async { FaultyStore::new(Reference::default()) });

const NOW: Timestamp = Timestamp::from_millis(1_767_225_845_678);
const ID: SessionId = SessionId::from_bytes([1; 16]);
const V1: Version = Version::from_write_id(1);
const V2: Version = Version::from_write_id(2);

fn subject() -> Subject {
    Subject::new("user").unwrap()
}

fn record(version: Version) -> Arc<Record> {
    Arc::new(Record {
        id: ID,
        version,
        subject: Some(subject()),
        authority: Authority::new(Secret::from_bytes([2; 16]).verifier(&ID)),
        times: Times::start(Lifetime::default(), NOW, NOW),
        client: None,
        data: Data::new(),
    })
}

fn tombstone() -> Tombstone {
    Tombstone {
        id: ID,
        version: V2,
        at: NOW,
        reason: EndReason::Logout,
        expires: NOW + Duration::from_secs(60),
    }
}

fn revocation() -> Revocation {
    Revocation { at: NOW, except: None, reason: EndReason::Revoked, version: V2, tombstones_expire: NOW }
}

/// A faulty store that holds one session.
async fn store() -> FaultyStore<Reference> {
    let store = FaultyStore::new(Reference::default());
    assert_eq!(store.inner().create(record(V1), NOW).await.unwrap(), Written::Stored);
    store
}

/// Calls the operation, with arguments that a healthy store accepts.
async fn call(store: &FaultyStore<Reference>, op: Op) -> Result<(), Error> {
    let index = store.index().unwrap();
    match op {
        Op::Load => store.load(ID, NOW).await.map(drop),
        Op::Create => store.create(record(V1), NOW).await.map(drop),
        Op::Replace => store.replace(record(V2), V1, NOW).await.map(drop),
        Op::Touch => store.touch(ID, NOW, NOW).await.map(drop),
        Op::End => store.end(tombstone(), None, NOW).await.map(drop),
        Op::Sweep => store.sweep(NOW, 1).await.map(drop),
        Op::List => index.list(&subject(), None, 1, NOW).await.map(drop),
        Op::EndSubject => index.end_subject(&subject(), revocation(), NOW).await.map(drop),
        Op::LastRevocation => index.last_revocation(&subject(), NOW).await.map(drop),
        Op::EndStartedBefore => index.end_started_before(NOW, NOW).await,
        Op::Close => store.close().await,
    }
}

async fn version(store: &FaultyStore<Reference>) -> Option<Version> {
    match store.inner().load(ID, NOW).await.unwrap() {
        Loaded::Found(record) => Some(record.version),
        Loaded::Absent | Loaded::Ended(_) => None,
    }
}

#[tokio::test]
async fn each_operation_has_its_own_faults_and_its_own_count() {
    for op in Op::ALL {
        let store = store().await;
        store.fail_next(op, Fault::Refused);
        let others = || Op::ALL.into_iter().filter(move |other| ![op, Op::Close].contains(other));
        for other in others() {
            call(&store, other).await.unwrap();
        }
        let count = others().count() as u64;
        assert_eq!((store.calls(op), store.calls_total()), (0, count));
        assert!(call(&store, op).await.unwrap_err().is_unavailable(), "{op:?}");
        call(&store, op).await.unwrap();
        assert_eq!((store.calls(op), store.calls_total()), (2, count + 2));
        store.reset_calls();
        assert_eq!((store.calls(op), store.calls_total()), (0, 0));
    }
}

#[tokio::test]
async fn a_refused_call_does_nothing_and_one_whose_answer_is_lost_is_done() {
    let store = store().await;
    store.fail_next(Op::Replace, Fault::Refused);
    assert!(call(&store, Op::Replace).await.unwrap_err().is_unavailable());
    assert_eq!(version(&store).await, Some(V1));
    store.fail_next(Op::Replace, Fault::AnswerLost);
    assert!(call(&store, Op::Replace).await.unwrap_err().is_unavailable());
    assert_eq!(version(&store).await, Some(V2));
    store.fail_next(Op::End, Fault::Corrupt);
    assert!(call(&store, Op::End).await.unwrap_err().is_corrupt());
    assert_eq!(version(&store).await, Some(V2));
}

#[tokio::test]
async fn faults_come_in_the_order_they_were_asked_for() {
    let store = store().await;
    store.pass_next(Op::Load, 2);
    store.fail_next(Op::Load, Fault::Corrupt);
    store.pass_next(Op::Load, 1);
    store.fail_always(Op::Load, Fault::Refused);
    let mut seen = String::new();
    for _ in 0..6 {
        seen.push(match call(&store, Op::Load).await {
            Ok(()) => '.',
            Err(error) if error.is_corrupt() => 'c',
            Err(_) => 'r',
        });
    }
    assert_eq!(seen, "..c.rr");
    store.heal();
    call(&store, Op::Load).await.unwrap();
}

#[tokio::test]
async fn everything_can_fail_and_heal() {
    let store = store().await;
    store.fail_everything(Fault::Refused);
    for op in Op::ALL {
        assert!(call(&store, op).await.is_err(), "{op:?}");
    }
    store.heal();
    for op in Op::ALL {
        call(&store, op).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_hangs_before_is_done_when_released_and_never_if_dropped() {
    let store = store().await;
    store.fail_next(Op::Replace, Fault::HangBefore);
    let dropped = tokio::time::timeout(Duration::from_millis(1), call(&store, Op::Replace)).await;
    assert!(dropped.is_err());
    assert_eq!(store.hanging(), 0, "what is dropped hangs no longer");
    store.release();
    assert_eq!(version(&store).await, Some(V1));

    store.fail_next(Op::Replace, Fault::HangBefore);
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { call(&store, Op::Replace).await }
    });
    store.until_hanging(1).await;
    assert_eq!(version(&store).await, Some(V1));
    store.release();
    hanging.await.unwrap().unwrap();
    assert_eq!((version(&store).await, store.hanging()), (Some(V2), 0));
}

#[tokio::test]
async fn a_call_that_hangs_after_is_done_at_once_and_answered_when_released() {
    let store = store().await;
    store.fail_always(Op::Replace, Fault::HangAfter);
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { call(&store, Op::Replace).await }
    });
    store.until_hanging(1).await;
    assert_eq!(version(&store).await, Some(V2));
    assert!(!hanging.is_finished());
    store.heal();
    hanging.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_is_done_after_its_delay() {
    let store = store().await;
    let delay = Duration::from_millis(250);
    store.fail_next(Op::Replace, Fault::Delay(delay));
    let start = tokio::time::Instant::now();
    call(&store, Op::Replace).await.unwrap();
    assert_eq!((start.elapsed(), version(&store).await), (delay, Some(V2)));
}

#[tokio::test]
async fn debug_tells_the_calls_and_no_records() {
    let store = store().await;
    call(&store, Op::Load).await.unwrap();
    let shown = format!("{store:?}");
    assert!(shown.contains("Load: 1") && shown.contains("hanging: 0"), "{shown}");
}
