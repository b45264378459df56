//! A key ring in a store: sealed, changed by one node at a time, and never in the clear.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use cloakroom::{
    MemoryStore, Record, SessionId, Sessions, Timestamp,
    clock::{Clock, OsEntropy, SystemClock},
    keyring::{KeyRing, LiveRing, RingFile, RingSource, Schedule, State, Step, apply, fresh_key},
    store::{EndReason, Loaded, Store, Tombstone, Written},
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

async fn record(store: &SharedStore) -> Arc<Record> {
    let Loaded::Found(record) = store.load(ID, SystemClock.now()).await.unwrap() else { panic!("no ring") };
    record
}

async fn stored(store: &SharedStore) -> String {
    record(store).await.data.to_json()
}

/// Who can write the store does so.
async fn put_back(store: &SharedStore, earlier: &Arc<Record>) {
    let (now, there) = (SystemClock.now(), record(store).await);
    assert_eq!(store.replace(Arc::clone(earlier), there.version, now).await.unwrap(), Written::Stored);
}

/// One change: another key is published, and at once used.
async fn rotated(source: &SharedRing) -> KeyRing {
    let before = source.load().await.unwrap();
    let mut after = before.clone();
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    let now = SystemClock.now();
    after.remove_compromised(before.primary().id(), (id, material), now).unwrap();
    assert!(source.replace(&before, &after).await.unwrap());
    after
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
    let named = |name| shared(&store, &outer).named(name).unwrap();
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
        assert!(RingSource::replace(&source, &before, &ring).await.unwrap());
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

/// Bug: a key that was given away and removed opened cookies again, on every node that ran. Cause: nodes took whatever
/// ring the store held and the outer ring opened: an earlier state, one made anew, or what came of either. Mend: a
/// ring's states are numbered at random within the seal, and a node takes only one that came of the state it knows; an
/// earlier one it replaces.
#[tokio::test]
async fn a_node_never_goes_back_to_an_earlier_state() {
    let (store, outer) = (FaultyStore::new(MemoryStore::new()), ring());
    let operator = shared(&store, &outer);
    let given_away = operator.create().await.unwrap().primary().id();
    let first = record(&store).await;
    let node = LiveRing::open(shared(&store, &outer)).await.unwrap();
    let later = rotated(&operator).await;
    let second = record(&store).await;
    assert!(node.refresh().await.unwrap());

    let refused = async |why: &str| {
        let error = node.refresh().await.expect_err(why);
        assert!(error.to_string().contains("earlier state"), "{why}: {error}");
        assert!(node.now().is_same(&later) && node.now().key(given_away).is_none(), "{why}");
    };
    // What is lost or taken back is put in its place again.
    put_back(&store, &first).await;
    assert!(!node.refresh().await.unwrap());
    assert!(shared(&store, &outer).load().await.unwrap().is_same(&later), "the later one is there again");
    // Unless a node that starts takes it first, and changes it: what comes of that isn't of this node's line.
    put_back(&store, &first).await;
    let started = shared(&store, &outer);
    for _ in 0..3 {
        rotated(&started).await;
        refused("another way from an earlier state").await;
    }
    let now = SystemClock.now();
    let version = record(&store).await.version;
    let tombstone = Tombstone { id: ID, version, at: now, reason: EndReason::Revoked, expires: now };
    store.end(tombstone, None, now).await.unwrap();
    store.sweep(SystemClock.now() + HOUR, 100).await.unwrap();
    shared(&store, &outer).create_new().await.unwrap().expect("the ring was deleted");
    refused("another ring").await;
    let looking = shared(&store, &outer).read_only();
    looking.load().await.unwrap();
    put_back(&store, &second).await;
    assert!(looking.load().await.is_err(), "who only looks puts nothing back");
    assert_eq!(stored(&store).await, second.data.to_json());
    assert!(!node.refresh().await.unwrap(), "the state that it knows");
    let last = rotated(&shared(&store, &outer)).await;
    assert!(node.refresh().await.unwrap() && node.now().is_same(&last));
}

/// An outer ring of two keys. The newer one became the primary so long ago.
fn outer_rings(ago: Duration) -> (KeyRing, KeyRing, KeyRing) {
    let (second, a_while) = (Duration::from_secs(1), Duration::from_secs(5));
    let start = Timestamp::from_millis(SystemClock.now().as_millis() - (ago + a_while).as_millis() as u64);
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    let old = KeyRing::new(id, material, start).unwrap();
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    let mut published = old.clone();
    published.publish(id, material, start).unwrap();
    let mut promoted = published.clone();
    promoted.promote(id, start + a_while, &Schedule::new(10 * HOUR, second, HOUR).unwrap()).unwrap();
    (old, published, promoted)
}

/// Bug: after the outer ring was rotated, the ring in the store couldn't be read by anybody any more. Cause: it was sealed
/// anew by its next change alone, up to a month later, and the old outer key was removed before. Mend: whoever reads it
/// seals it anew, once the outer ring's primary has been another for ten minutes.
#[tokio::test]
async fn the_ring_is_sealed_anew_when_the_outer_ring_was_rotated() {
    let store = FaultyStore::new(MemoryStore::new());
    let (old, published, promoted) = outer_rings(Duration::from_secs(610));
    let made = shared(&store, &old).create().await.unwrap();
    let before = stored(&store).await;
    shared(&store, &published).load().await.unwrap();
    shared(&store, &promoted).read_only().load().await.unwrap();
    assert_eq!(stored(&store).await, before, "it isn't time yet, or somebody only looks");

    let node = shared(&store, &promoted);
    assert_eq!(node.sealed_under().await.unwrap(), old.primary().id());
    assert!(node.load().await.unwrap().is_same(&made));
    assert_eq!(node.sealed_under().await.unwrap(), promoted.primary().id());
    // One whose copy of the outer ring is behind reads it, and leaves it so: they would take turns for ever.
    let sealed = stored(&store).await;
    let behind = shared(&store, &published);
    assert!(behind.load().await.unwrap().is_same(&made) && node.load().await.unwrap().is_same(&made));
    assert_eq!(stored(&store).await, sealed);
    // The old key can go.
    let (mut outer, schedule) = (promoted.clone(), Schedule::new(10 * HOUR, HOUR / 60, HOUR).unwrap());
    outer.remove(old.primary().id(), SystemClock.now() + 2 * HOUR, &schedule).unwrap();
    assert!(shared(&store, &outer).load().await.unwrap().is_same(&made));
}

/// A key that each node has, but has had for a moment only.
#[tokio::test]
async fn the_seal_waits_until_every_node_has_the_outer_ring() {
    let store = FaultyStore::new(MemoryStore::new());
    let (old, _, promoted) = outer_rings(Duration::from_secs(500));
    shared(&store, &old).create().await.unwrap();
    let node = shared(&store, &promoted);
    node.load().await.unwrap();
    assert_eq!(node.sealed_under().await.unwrap(), old.primary().id());
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bug: for up to a minute after the outer ring had changed and the ring was sealed under its new key, a node couldn't read
/// the ring. Cause: it waited for its next look at the outer ring. Mend: it looks when it meets a key it doesn't know.
#[tokio::test]
async fn an_outer_key_that_isnt_known_is_asked_for() {
    let folder = Folder(std::env::temp_dir().join(format!("cloakroom-outer-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = RingFile::new(folder.0.join("outer.keys"));
    let old = file.create().unwrap();
    let outer = LiveRing::open(file.clone()).await.unwrap();
    let store = FaultyStore::new(MemoryStore::new());
    let node = SharedRing::new(Box::new(store.clone()), outer).unwrap();
    let mut changed = old.clone();
    changed
        .remove_compromised(old.primary().id(), fresh_key(&OsEntropy).unwrap(), SystemClock.now())
        .unwrap();
    let made = shared(&store, &changed).create().await.unwrap();
    assert!(node.load().await.is_err(), "the key is nowhere");
    assert!(file.replace(&old, &changed).unwrap());
    assert!(node.load().await.unwrap().is_same(&made));
}
