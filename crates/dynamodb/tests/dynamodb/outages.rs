//! An engine that hangs, dies, or whose answers are lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cloakroom::{
    Error, Record,
    store::{Loaded, Store, Written},
};
use engines::{Breakable as _, DynamoDb, Engine as _, Proxy};

use crate::fixture::{
    Place, T0, create, data, endpoint, id, session, session_of, subject, tombstone, version, with_data,
};

const DEADLINE: Duration = Duration::from_millis(300);

/// Calls end by their deadline, however many hang, and hold nothing afterwards.
#[tokio::test]
async fn a_hung_engine_holds_nothing_up_once_it_goes_on() {
    let engine = DynamoDb::start();
    let place = Place::at(&format!("{}&connections=8", engine.url()));
    let store = Arc::new(place.open().await);
    for n in 0..20 {
        create(&store, &session(n)).await;
    }
    engine.hang();
    let calls = (0..40).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { tokio::time::timeout(DEADLINE, store.load(id(n % 20), T0)).await.is_err() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap(), "a hung engine answered");
    }
    engine.resume();
    let resumed = Instant::now();
    for n in 0..20 {
        assert_eq!(data(&store, id(n)).await, Some(format!(r#"{{"n":{n}}}"#)));
        let next = with_data(&session(n), "{}");
        let written = store.replace(next.into(), version(), T0).await.unwrap();
        assert_eq!(written, Written::Conflict, "it works, and knows that the version is another");
    }
    assert!(resumed.elapsed() < Duration::from_secs(5), "{:?}", resumed.elapsed());
}

#[tokio::test]
async fn a_killed_engine_is_found_again_with_what_it_had() {
    let mut engine = DynamoDb::durable();
    let store = Place::at(&engine.url()).open().await;
    for n in 0..10 {
        create(&store, &session_of("user", n)).await;
    }
    // The emulator answers a write before it is in its file: unlike the service, it loses the last ones.
    tokio::time::sleep(Duration::from_secs(2)).await;
    engine.kill();
    let begun = Instant::now();
    let error = store.load(id(0), T0).await.unwrap_err();
    assert!(error.is_unavailable() && begun.elapsed() < Duration::from_secs(2), "{error:?}");
    assert!(store.create(session(50).into(), T0).await.is_err_and(|error| error.is_unavailable()));
    engine.restart();
    let back = Instant::now();
    while store.load(id(0), T0).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5), "it isn't found again");
    }
    for n in 0..10 {
        assert!(data(&store, id(n)).await.is_some(), "session {n}");
    }
    assert_eq!(store.index().unwrap().list(&subject("user"), None, 100, T0).await.unwrap().len(), 10);
    create(&store, &session(60)).await;
}

/// A reading whose answer is lost is made again.
#[tokio::test]
async fn a_load_survives_lost_answers() {
    let (proxy, store) = behind_a_proxy().await;
    create(&store, &session_of("user", 1)).await;
    for _ in 0..5 {
        proxy.lose_answers(1);
        assert!(data(&store, id(1)).await.is_some());
        proxy.lose_answers(1);
        assert_eq!(store.index().unwrap().list(&subject("user"), None, 9, T0).await.unwrap().len(), 1);
    }
    assert_eq!(proxy.lost(), 10);
}

/// A change whose answer is lost isn't made again behind the caller's back, for it would meet its own condition and be
/// answered Conflict, or Gone; the failure is told, and the stamp tells the rest.
#[tokio::test]
async fn a_change_whose_answer_is_lost_is_never_called_refused() {
    let (proxy, store) = behind_a_proxy().await;
    let record = session(1);
    create(&store, &record).await;
    let lost = |error: Error| assert!(error.is_unavailable(), "{error:?}");

    proxy.lose_answers(1);
    lost(store.create(session(2).into(), T0).await.unwrap_err());
    assert!(data(&store, id(2)).await.is_some());

    let next = with_data(&record, r#"{"next":1}"#);
    warm(&store).await;
    proxy.lose_answers(1);
    lost(store.replace(Arc::new(next.clone()), record.version, T0).await.unwrap_err());
    let Loaded::Found(stored) = store.load(id(1), T0).await.unwrap() else { panic!("it was there") };
    assert_eq!(stored.version, next.version);

    warm(&store).await;
    proxy.lose_answers(1);
    lost(store.end(tombstone(id(1)), Some(next.version), T0).await.unwrap_err());
    assert!(matches!(store.load(id(1), T0).await.unwrap(), Loaded::Ended(_)));
    assert_eq!(proxy.lost(), 3);
}

/// A transaction bears a token, by which the service knows it again: it is made again, and answered as what it was.
#[tokio::test]
async fn a_login_whose_answer_is_lost_is_stored_once() {
    let (proxy, store) = behind_a_proxy().await;
    let record = session(1);
    create(&store, &record).await;
    warm(&store).await;
    proxy.lose_answers(1);
    let login = Record { version: version(), subject: Some(subject("user")), ..record.clone() };
    assert_eq!(store.replace(Arc::new(login.clone()), record.version, T0).await.unwrap(), Written::Stored);
    warm(&store).await;
    proxy.lose_answers(1);
    let ended = store.end(tombstone(id(1)), Some(login.version), T0).await.unwrap();
    assert_eq!((ended, proxy.lost()), (Written::Stored, 2));
    assert!(store.index().unwrap().list(&subject("user"), None, 9, T0).await.unwrap().is_empty());
}

/// Connections are bounded, and calls beyond the bound wait their turn.
#[tokio::test]
async fn there_are_no_more_connections_than_the_url_says() {
    let proxy = Proxy::start(address(&engines::shared::<DynamoDb>()));
    let place = Place::at(&format!("{}&connections=3", through(&proxy)));
    let store = Arc::new(place.open().await);
    create(&store, &session(1)).await;
    let loads = (0..60).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { data(&store, id(1)).await.is_some() })
    });
    for load in loads.collect::<Vec<_>>() {
        assert!(load.await.unwrap());
    }
    assert!(proxy.connections() <= 3, "{} connections", proxy.connections());
}

async fn behind_a_proxy() -> (Proxy, cloakroom_dynamodb::DynamoDbStore) {
    let proxy = Proxy::start(address(&engines::shared::<DynamoDb>()));
    let store = Place::at(&through(&proxy)).open().await;
    (proxy, store)
}

/// So that the next call asks for nothing but its own matter.
pub(crate) async fn warm(store: &cloakroom_dynamodb::DynamoDbStore) {
    assert!(matches!(store.load(id(999_999), T0).await.unwrap(), Loaded::Absent));
}

pub(crate) fn through(proxy: &Proxy) -> String {
    format!("dynamodb://cloakroom?endpoint=http://{}&create=true", proxy.address())
}

pub(crate) fn address(url: &str) -> std::net::SocketAddr {
    endpoint(url).trim_start_matches("http://").parse().unwrap()
}
