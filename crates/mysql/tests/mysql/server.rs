//! A server that hangs, dies, or refuses.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    SessionId, Timestamp,
    store::{Loaded, Store},
};
use cloakroom_mysql::MySqlStore;
use engines::{Breakable as _, Engine as _, MariaDb};
use tokio::time::{sleep, timeout};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

async fn loads(store: &MySqlStore) -> bool {
    let id = SessionId::from_bytes([7; 16]);
    matches!(timeout(Duration::from_secs(1), store.load(id, NOW)).await, Ok(Ok(Loaded::Absent)))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_given_up_on_while_the_server_hangs_do_no_harm_afterwards() {
    let server = MariaDb::start();
    let store = Arc::new(MySqlStore::connect(&server.url()).await.unwrap());
    assert!(loads(&store).await);
    server.hang();
    for _ in 0..40 {
        assert!(
            timeout(Duration::from_millis(20), store.load(SessionId::from_bytes([1; 16]), NOW))
                .await
                .is_err()
        );
    }
    server.resume();
    sleep(Duration::from_millis(500)).await;
    assert!(loads(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_used_again_within_seconds_of_its_return() {
    let mut server = MariaDb::start_durable();
    let store = MySqlStore::connect(&server.url()).await.unwrap();
    assert!(loads(&store).await);
    server.kill();
    for _ in 0..10 {
        assert!(!loads(&store).await);
    }
    server.restart();
    let begun = tokio::time::Instant::now();
    while !loads(&store).await {
        assert!(begun.elapsed() < Duration::from_secs(5), "not in use again");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_refused_login_and_an_unknown_database_are_settings_to_mend() {
    let server = engines::shared::<MariaDb>();
    let url = server.replace("root@", "nobody:hunter2@");
    let error = MySqlStore::connect(&url).await.unwrap_err();
    assert!(error.is_invalid() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    let unknown = server.rsplit_once('/').unwrap().0.to_owned() + "/nowhere";
    assert!(MySqlStore::connect(&unknown).await.unwrap_err().is_invalid());
    let closed = format!("mysql://u:hunter2@127.0.0.1:{}/db", engines::free_port());
    let error = MySqlStore::connect(&closed).await.unwrap_err();
    assert!(error.is_unavailable() && !format!("{error:?}").contains("hunter2"), "{error:?}");
}
