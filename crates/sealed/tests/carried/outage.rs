//! A revocation list that is out of reach, or lost.

use std::sync::Arc;

use cloakroom::{
    MemoryStore, Record, SessionId, Timestamp, Version,
    store::{Answer, Loaded, Store, Tombstone, Written},
};
use cloakroom_store_test::{Fault, Op};

use crate::fixture::{Browser, COUNT, Fleet, faulty};

#[tokio::test]
async fn reading_and_changing_wait_for_no_store() {
    let (store, fleet) = faulty();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    store.fail_everything(Fault::HangBefore);
    for turn in 1..=20 {
        node.visit(&mut browser, |session| session.update(COUNT, |count| *count += 1)).await.unwrap();
        let seen = node.request(&browser).await.unwrap().session.get(COUNT).unwrap();
        assert_eq!(seen, Some(turn));
    }
    store.release();
}

#[tokio::test]
async fn a_node_out_of_touch_for_longer_than_stated_fails_closed_and_recovers() {
    for fault in [Fault::HangBefore, Fault::Refused] {
        let (store, fleet) = faulty();
        let node = fleet.node().await;
        let mut browser = Browser::default();
        node.log_in(&mut browser, "ada").await;
        store.fail_everything(fault);
        tokio::time::sleep(fleet.settings.stale_after / 4).await;
        assert_eq!(node.user(&browser).await.as_deref(), Some("ada"), "not yet");
        tokio::time::sleep(fleet.settings.stale_after).await;
        assert!(node.request(&browser).await.err().unwrap().is_unavailable());
        // Who has no session needs no list.
        assert!(node.request(&Browser::default()).await.is_ok());
        store.heal();
        store.release();
        tokio::time::sleep(fleet.settings.stale_after).await;
        assert_eq!(node.user(&browser).await.as_deref(), Some("ada"), "nobody was logged out");
    }
}

#[tokio::test]
async fn a_logout_that_cant_be_noted_is_an_error_and_leaves_the_cookie() {
    let (store, fleet) = faulty();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let before = browser.clone();
    store.fail_always(Op::Replace, Fault::Refused);
    let error = node.visit(&mut browser, |session| session.logout()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert_eq!(browser.value, before.value);
    store.heal();
    assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    assert_eq!(node.user(&before).await, None);
}

#[tokio::test]
async fn a_lost_list_ends_what_was_issued_under_it_and_revives_nothing() {
    let (store, mut fleet) = faulty();
    let node = fleet.node().await;
    let (mut browser, mut other) = (Browser::default(), Browser::default());
    node.log_in(&mut browser, "ada").await;
    node.log_in(&mut other, "bob").await;
    let copy = browser.clone();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    drop(store);
    // The store restarts without its data.
    fleet.store = Arc::new(MemoryStore::new());
    let restarted = fleet.node().await;
    assert_eq!((restarted.user(&copy).await, restarted.user(&other).await), (None, None));
    restarted.log_in(&mut other, "bob").await;
    assert_eq!(restarted.user(&other).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_store_that_may_forget_is_refused_at_start() {
    let fleet = Fleet::new();
    let forgetful = Box::new(Forgetful(MemoryStore::new()));
    let settings = fleet.settings;
    let error =
        cloakroom_sealed::SealedSessions::with_list(fleet.ring, forgetful, settings).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}

/// A store that can't enumerate.
struct Forgetful(MemoryStore);

impl Store for Forgetful {
    fn kind(&self) -> &'static str {
        "forgetful"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        self.0.load(id, now)
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        self.0.create(record, now)
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        self.0.replace(record, expected, now)
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        self.0.touch(id, active, now)
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        self.0.end(tombstone, expected, now)
    }
}
