//! A server that hangs, dies, or refuses.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Record, SessionId, Timestamp,
    store::{Loaded, Store},
};
use cloakroom_mysql::MySqlStore;
use engines::{Breakable as _, Engine as _, Proxy};
use mysql_async::{Conn, Opts, prelude::Queryable as _};
use tokio::time::{Instant, sleep, timeout};

use super::revoking::{T0, create, session};
use crate::Server;

const NOW: Timestamp = T0;

async fn loads(store: &MySqlStore) -> bool {
    let id = SessionId::from_bytes([9; 16]);
    matches!(timeout(Duration::from_secs(1), store.load(id, NOW)).await, Ok(Ok(Loaded::Absent)))
}

async fn is_found(store: &MySqlStore, record: &Record) -> bool {
    matches!(store.load(record.id, NOW).await, Ok(Loaded::Found(found)) if found.id == record.id && found.version == record.version)
}

/// Of two sessions in turn, so that an answer to another call would be seen.
#[tokio::test(flavor = "multi_thread")]
async fn calls_given_up_on_while_the_server_hangs_do_no_harm_afterwards() {
    let server = Server::start();
    let store = Arc::new(MySqlStore::connect(&server.url()).await.unwrap());
    let (one, other) = (session(1), session(2));
    create(&store, &one).await;
    create(&store, &other).await;
    server.hang();
    for _ in 0..40 {
        assert!(timeout(Duration::from_millis(20), store.load(one.id, NOW)).await.is_err());
    }
    server.resume();
    let begun = Instant::now();
    while !is_found(&store, &other).await {
        assert!(begun.elapsed() < Duration::from_secs(5), "not in use again");
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..100 {
        assert!(is_found(&store, &other).await && is_found(&store, &one).await);
    }
}

/// The bug: a connection that the server had closed while nobody used it cost the next reader an error, after each quiet
/// spell. The mend: a reading is made once more on a new connection.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_closed_while_idle_cost_no_reader_an_error() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = MySqlStore::connect(&server.url_at(proxy.address())).await.unwrap();
    let record = session(1);
    create(&store, &record).await;
    for _ in 0..5 {
        proxy.cut();
        sleep(Duration::from_millis(20)).await;
        assert!(is_found(&store, &record).await);
    }
}

/// The bug: with the server's host gone and nobody to say so, calls kept their connections for half a minute, and when all
/// were taken nobody got one, though the server was long back. The mend: a call that its caller gave up is given up two
/// seconds later, and takes the other connections of that time with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_holds_connections_for_two_seconds_and_no_longer() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = Arc::new(
        MySqlStore::connect(&format!("{}?connections=4", server.url_at(proxy.address()))).await.unwrap(),
    );
    let record = session(1);
    create(&store, &record).await;
    proxy.hang();
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let (store, id) = (Arc::clone(&store), record.id);
            tokio::spawn(
                async move { timeout(Duration::from_millis(300), store.load(id, NOW)).await.is_err() },
            )
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    // What was under way stays in the hole; who comes now reaches the server by another way.
    proxy.swallow();
    proxy.resume();
    let begun = Instant::now();
    while !timeout(Duration::from_millis(300), is_found(&store, &record)).await.unwrap_or(false) {
        assert!(begun.elapsed() < Duration::from_secs(4), "still in the hole");
    }
    println!("back {:?} after the hole", begun.elapsed());
}

/// The bug: `close` took what was free, and answered while changes were under way. The mend: it waits for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_what_was_accepted() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let store = Arc::new(MySqlStore::connect(&server.url_at(proxy.address())).await.unwrap());
    create(&store, &session(0)).await;
    proxy.delay(Duration::from_millis(100));
    let writes: Vec<_> = (1..5)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { create(&store, &session(n)).await })
        })
        .collect();
    sleep(Duration::from_millis(50)).await;
    store.close().await.unwrap();
    proxy.resume();
    let other = MySqlStore::connect(&server.url()).await.unwrap();
    for n in 0..5 {
        assert!(is_found(&other, &session(n)).await, "session {n} wasn't stored when the store was closed");
    }
    for write in writes {
        write.await.unwrap();
    }
    assert!(store.load(session(1).id, NOW).await.unwrap_err().is_unavailable());
}

/// The bug: a primary that was made a replica, with its connections open, was written to for ever, in vain, and read from: a
/// logout that was made at the new primary was never seen. The mend: the first refused change gives up all connections, and
/// none is made to a server that takes no changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_made_a_replica_is_left() {
    let server = Server::start();
    drop(MySqlStore::connect(&server.url()).await.unwrap());
    let mut admin =
        Conn::new(Opts::from_url(&format!("{}?prefer_socket=false", server.url())).unwrap()).await.unwrap();
    admin.query_drop("CREATE USER shop IDENTIFIED BY 'secret'").await.unwrap();
    admin.query_drop("GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom.* TO shop").await.unwrap();
    let url = server.url().replace("root@", "shop:secret@") + "?migrate=false";
    let store = MySqlStore::connect(&url).await.unwrap();
    let record = session(1);
    create(&store, &record).await;
    admin.query_drop("SET GLOBAL read_only = 1").await.unwrap();
    let refused = store.create(Arc::new(session(2)), NOW).await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused:?}");
    let read = store.load(record.id, NOW).await;
    assert!(read.as_ref().is_err_and(cloakroom::Error::is_unavailable), "read from a replica: {read:?}");
    let opened = MySqlStore::connect(&url).await.unwrap_err();
    assert!(opened.is_invalid() && opened.to_string().contains("replica"), "{opened:?}");
    admin.query_drop("SET GLOBAL read_only = 0").await.unwrap();
    let begun = Instant::now();
    while !is_found(&store, &record).await {
        assert!(begun.elapsed() < Duration::from_secs(5), "not in use again");
        sleep(Duration::from_millis(20)).await;
    }
    create(&store, &session(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_used_again_within_seconds_of_its_return() {
    let mut server = Server::start_durable();
    let store = MySqlStore::connect(&server.url()).await.unwrap();
    assert!(loads(&store).await);
    server.kill();
    for _ in 0..10 {
        assert!(!loads(&store).await);
    }
    server.restart();
    let begun = Instant::now();
    while !loads(&store).await {
        assert!(begun.elapsed() < Duration::from_secs(5), "not in use again");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_refused_login_and_an_unknown_database_are_settings_to_mend() {
    let server = engines::shared::<Server>();
    // The bug: MySQL wants the login of a user that it doesn't know by this method or that, and where the driver doesn't
    // have the method, the server was said to be out of reach. The mend: it is told what to check.
    for n in 0..16 {
        let url = server.replace("root@", &format!("nobody-{n}:hunter2@"));
        let error = MySqlStore::connect(&url).await.unwrap_err();
        assert!(error.is_invalid() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let unknown = server.rsplit_once('/').unwrap().0.to_owned() + "/nowhere";
    assert!(MySqlStore::connect(&unknown).await.unwrap_err().is_invalid());
    let closed = format!("mysql://u:hunter2@127.0.0.1:{}/db", engines::free_port());
    let error = MySqlStore::connect(&closed).await.unwrap_err();
    assert!(error.is_unavailable() && !format!("{error:?}").contains("hunter2"), "{error:?}");
}
