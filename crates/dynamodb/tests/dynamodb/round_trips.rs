//! How many round trips operations take, counted at the wire.

use std::time::{Duration, Instant};

use cloakroom::{
    Record,
    store::{EndReason, Revocation, Store, Written},
};
use cloakroom_dynamodb::DynamoDbStore;
use engines::{DynamoDb, Proxy};

use crate::{
    fixture::{
        Place, T0, create, data, id, session, session_of, subject, tombstone, unique, version, with_data,
    },
    outages::{address, through, warm},
};

#[tokio::test]
async fn a_load_is_one() {
    let (proxy, store) = counted().await;
    create(&store, &session_of("user", 1)).await;
    warm(&store).await;
    let (before, begun) = (proxy.turns(), Instant::now());
    for _ in 0..100 {
        assert!(data(&store, id(1)).await.is_some());
    }
    // The end of all is asked for anew twice a lease, beside a load.
    let renewals = begun.elapsed().as_millis() as u64 / 125 + 2;
    let turns = proxy.turns() - before;
    assert!((100..=100 + renewals).contains(&turns), "{turns} round trips, {renewals} renewals");
}

#[tokio::test]
async fn a_change_is_one_also_where_the_index_follows() {
    let (proxy, store) = counted().await;
    let store = &store;
    let created = least(&proxy, store, async |n| create(store, &session(n)).await, async |_| {}).await;
    assert_eq!(created, 1, "create");
    let create_of = async |n| create(store, &session_of("user", n)).await;
    assert_eq!(least(&proxy, store, create_of, async |_| {}).await, 1, "create of a subject's");

    let replace = async |n| {
        let next = with_data(&session(n), "{}");
        let record = loaded(store, n).await;
        let next = Record { subject: record.subject.clone(), ..next };
        assert_eq!(store.replace(next.into(), record.version, T0).await.unwrap(), Written::Stored);
    };
    // A replace is told the version by a load, which is one as well.
    let replaced = least(&proxy, store, replace, create_of).await;
    assert_eq!(replaced, 1 + 1, "load and replace");

    let login = async |n| {
        let record = loaded(store, n).await;
        let next = Record { version: version(), subject: Some(subject("user")), ..record.clone() };
        assert_eq!(store.replace(next.into(), record.version, T0).await.unwrap(), Written::Stored);
        assert_eq!(store.index().unwrap().last_revocation(&subject("user"), T0).await.unwrap(), None);
    };
    let logged_in = least(&proxy, store, login, async |n| create(store, &session(n)).await).await;
    assert_eq!(logged_in, 1 + 2, "load, then login: the change and the question for a revocation");

    let touch = async |n| {
        let later = T0 + Duration::from_secs(90);
        assert_eq!(store.touch(id(n), later, later).await.unwrap(), Written::Stored);
    };
    assert_eq!(least(&proxy, store, touch, create_of).await, 1, "touch");
    let end = async |n| assert_eq!(store.end(tombstone(id(n)), None, T0).await.unwrap(), Written::Stored);
    assert_eq!(least(&proxy, store, end, create_of).await, 1, "end");
}

/// A process that hasn't seen the session guesses wrong once.
#[tokio::test]
async fn a_change_to_a_session_that_was_not_seen_is_two() {
    let (proxy, store) = counted().await;
    let place = Place::at(&through(&proxy));
    let (writer, other) = (place.open().await, place.open().await);
    let other = &other;
    let make = async |n| create(&writer, &session_of("user", n)).await;
    let end = async |n| assert_eq!(other.end(tombstone(id(n)), None, T0).await.unwrap(), Written::Stored);
    assert_eq!(least(&proxy, other, end, make).await, 2, "end");
    drop(store);
}

#[tokio::test]
async fn a_listing_is_two_for_each_hundred() {
    let (proxy, store) = counted().await;
    let store = &store;
    for n in 0..30 {
        create(store, &session_of("many", n)).await;
    }
    let list = async |_| {
        let listed = store.index().unwrap().list(&subject("many"), None, 100, T0).await.unwrap();
        assert_eq!(listed.len(), 30);
    };
    assert_eq!(least(&proxy, store, list, async |_| {}).await, 2, "list");
    let list_none = async |_| {
        assert!(store.index().unwrap().list(&subject("nobody"), None, 100, T0).await.unwrap().is_empty());
    };
    assert_eq!(least(&proxy, store, list_none, async |_| {}).await, 1, "list of nothing");
    let revocation = Revocation {
        at: T0,
        except: None,
        reason: EndReason::Revoked,
        version: version(),
        tombstones_expire: T0,
    };
    let end_none = async |_| {
        let ended = store.index().unwrap().end_subject(&subject("nobody"), revocation, T0).await.unwrap();
        assert_eq!(ended, Some(Vec::new()));
    };
    assert_eq!(
        least(&proxy, store, end_none, async |_| {}).await,
        2,
        "end_subject: the note and the listing"
    );
}

async fn counted() -> (Proxy, DynamoDbStore) {
    let proxy = Proxy::start(address(&engines::shared::<DynamoDb>()));
    let store = Place::at(&through(&proxy)).open().await;
    (proxy, store)
}

async fn loaded(store: &DynamoDbStore, n: u64) -> Record {
    match store.load(id(n), T0).await.unwrap() {
        cloakroom::store::Loaded::Found(record) => Record::clone(&record),
        other => panic!("session {n}: {other:?}"),
    }
}

/// The least round trips of some attempts, each on a session of its own: on a busy machine the lease of the end of all
/// may run out in the middle of one, which adds to it.
async fn least(
    proxy: &Proxy,
    store: &DynamoDbStore,
    call: impl AsyncFn(u64),
    before: impl AsyncFn(u64),
) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..5 {
        let n = 1_000 + unique();
        before(n).await;
        warm(store).await;
        let turns = proxy.turns();
        call(n).await;
        least = least.min(proxy.turns() - turns);
    }
    least
}
