//! A key ring in a store: sealed, changed by one node at a time, and never in the clear.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::time::Duration;

use cloakroom::{
    MemoryStore, SessionId, Sessions, Timestamp,
    clock::{Clock, OsEntropy, SystemClock},
    keyring::{KeyRing, LiveRing, Schedule, State, Step, apply, fresh_key},
    store::{Loaded, Store},
};
use cloakroom_sealed::SharedRing;
use cloakroom_store_test::FaultyStore;

type SharedStore = FaultyStore<MemoryStore>;

const ID: SessionId = SessionId::from_bytes(*b"cloakroom.keyrng");
const HOUR: Duration = Duration::from_secs(3_600);

fn ring() -> KeyRing {
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    KeyRing::new(id, material, SystemClock.now()).unwrap()
}

fn shared(store: &SharedStore, outer: &KeyRing) -> SharedRing {
    SharedRing::new(Box::new(store.clone()), outer.clone()).unwrap()
}

async fn stored(store: &SharedStore) -> String {
    let Loaded::Found(record) = store.load(ID, SystemClock.now()).await.unwrap() else { panic!("no ring") };
    record.data.to_json()
}

#[tokio::test]
async fn a_fleet_shares_one_ring_and_rotates_together() {
    let (store, outer) = (FaultyStore::new(MemoryStore::new()), ring());
    let missing = LiveRing::open(shared(&store, &outer)).await.unwrap_err();
    assert!(missing.is_invalid() && missing.to_string().contains("SharedRing::create"), "{missing}");
    let (one, two) = tokio::join!(async { shared(&store, &outer).create().await.unwrap() }, async {
        shared(&store, &outer).create().await.unwrap()
    });
    assert!(one.is_same(&two), "whoever is second has the first one's");

    let nodes = [
        LiveRing::open(shared(&store, &outer)).await.unwrap(),
        LiveRing::open(shared(&store, &outer)).await.unwrap(),
    ];
    let schedule = Schedule::for_lifetime(24 * HOUR).unwrap();
    let start = one.primary().since();
    let mut steps = Vec::new();
    for hour in 0..24 * 33 {
        let now = start + hour * HOUR;
        let (first, second) = tokio::join!(
            apply(&nodes[0], &schedule, now, &OsEntropy),
            apply(&nodes[1], &schedule, now, &OsEntropy)
        );
        steps.extend(first.unwrap());
        steps.extend(second.unwrap());
    }
    let first = one.primary().id();
    assert!(
        matches!(steps[..], [Step::Publish, Step::Promote(_), Step::Remove(id)] if id == first),
        "{steps:?}"
    );
    for node in &nodes {
        node.refresh().await.unwrap();
    }
    assert!(nodes[0].now().is_same(&nodes[1].now()));
    assert_eq!(nodes[0].now().keys().filter(|key| key.state() == State::Primary).count(), 1);
}

#[tokio::test]
async fn no_key_is_in_the_store_in_the_clear() {
    let (store, outer) = (FaultyStore::new(MemoryStore::new()), ring());
    let ring = shared(&store, &outer).create().await.unwrap();
    let kept = stored(&store).await;
    for line in ring.expose().lines().skip(2) {
        let key = line.split_whitespace().last().unwrap();
        assert_eq!(key.len(), 43);
        assert!(!kept.contains(key) && !kept.contains(&key[..16]), "{kept}");
    }
}

#[tokio::test]
async fn another_outer_ring_opens_nothing_and_says_so() {
    let (store, outer) = (FaultyStore::new(MemoryStore::new()), ring());
    shared(&store, &outer).create().await.unwrap();
    let error = LiveRing::open(shared(&store, &ring())).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains(&outer.primary().id().to_string()), "{error}");
}

/// Two applications, one store: neither has the other's ring, and who can write the store can't put one into the other's
/// place.
#[tokio::test]
async fn rings_of_several_names_are_kept_apart() {
    let (store, outer) = (FaultyStore::new(MemoryStore::new()), ring());
    let named = |name| shared(&store, &outer).named(name);
    let shop = named("shop").create_new().await.unwrap().unwrap();
    assert!(named("shop").exists().await.unwrap() && !named("blog").exists().await.unwrap());
    assert!(named("shop").create_new().await.unwrap().is_none(), "there is one");
    assert!(LiveRing::open(named("blog")).await.unwrap_err().to_string().contains("holds no key ring"));
    let blog = named("blog").create().await.unwrap();
    assert!(!shop.is_same(&blog) && named("shop").create().await.unwrap().is_same(&shop));

    let now = SystemClock.now();
    let id_of = |name: &str| {
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!("cloakroom/key-ring/1/{name}").as_bytes(),
        );
        SessionId::from_bytes(digest.as_ref()[..16].try_into().unwrap())
    };
    let Loaded::Found(blogs) = store.load(id_of("blog"), now).await.unwrap() else { panic!("no ring") };
    let Loaded::Found(shops) = store.load(id_of("shop"), now).await.unwrap() else { panic!("no ring") };
    let mut swapped = (*shops).clone();
    swapped.data = blogs.data.clone();
    store.replace(swapped.into(), shops.version, now).await.unwrap();
    let error = LiveRing::open(named("shop")).await.unwrap_err();
    assert!(error.to_string().contains("isn't as it was written"), "{error}");
}

/// A full ring is longer than a cookie may be.
#[tokio::test]
async fn a_full_ring_fits() {
    let (store, outer) = (FaultyStore::new(MemoryStore::new()), ring());
    let source = shared(&store, &outer);
    let mut ring = source.create().await.unwrap();
    let schedule = Schedule::new(10 * HOUR, Duration::from_secs(1), 200 * HOUR).unwrap();
    let mut now = ring.primary().since();
    while ring.keys().len() < KeyRing::KEYS_MAX {
        let (id, material) = fresh_key(&OsEntropy).unwrap();
        let before = ring.clone();
        ring.publish(id, material, now).unwrap();
        now = now + Duration::from_secs(10);
        ring.promote(id, now, &schedule).unwrap();
        assert!(cloakroom::keyring::RingSource::replace(&source, &before, &ring).await.unwrap());
    }
    assert!(LiveRing::open(source).await.unwrap().now().is_same(&ring));
}

/// Ending every session that was started before now must not take the keys along.
#[tokio::test]
async fn ending_all_sessions_leaves_the_ring() {
    let (store, outer) = (FaultyStore::new(MemoryStore::new()), ring());
    let source = shared(&store, &outer);
    source.create().await.unwrap();
    let sessions = Sessions::builder(store.clone()).build().unwrap();
    let later = SystemClock.now() + HOUR;
    sessions.subjects().unwrap().end_started_before(later).await.unwrap();
    sessions.sweep(1_000).await.unwrap();
    let far = Timestamp::ZERO + SystemClock.now().since(Timestamp::ZERO) + 24 * 365 * HOUR;
    assert!(matches!(store.load(ID, far).await.unwrap(), Loaded::Found(_)));
    LiveRing::open(source).await.unwrap();
}
