//! What the server does with the rows.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Data, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, Loaded, Severity, Store as _, Times, Written},
};
use cloakroom_core::Secret;
use cloakroom_postgres::PostgresStore;
use engines::{Breakable as _, Engine as _, Postgres};
use tokio_postgres::Client;

use crate::fixture::{Database, connect, until};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const IDLE_S: u32 = 1_800;

pub(crate) fn record(number: u128) -> Arc<Record> {
    let times = Times {
        created: NOW,
        started: NOW,
        active: NOW,
        end: NOW + Duration::from_secs(86_400),
        idle_s: IDLE_S,
    };
    let id = SessionId::from_bytes(number.to_be_bytes());
    Arc::new(Record {
        id,
        version: Version::from_write_id(1),
        subject: Some(Subject::new(format!("user-{}", number % 100)).unwrap()),
        authority: Authority::new(Secret::from_bytes([7; 16]).verifier(&id)),
        times,
        client: None,
        data: Data::from_json(r#"{"cart":[1,2,3],"note":"a\u0000b","number":1e400}"#).unwrap(),
    })
}

async fn count(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Noting activity writes no index, and what a session is made of stays what it was to the byte.
#[tokio::test(flavor = "multi_thread")]
async fn touches_are_heap_only() {
    const SESSIONS: u128 = 20;
    const TOUCHES: u32 = 50;
    // A server of its own: what another test holds open, in another database even, keeps pages full.
    let engine = Postgres::start();
    let store = PostgresStore::connect(&engine.url()).await.unwrap();
    let admin = connect(&engine.url()).await;
    for number in 0..SESSIONS {
        assert_eq!(store.create(record(number), NOW).await.unwrap(), Written::Stored);
    }
    for round in 1..=TOUCHES {
        for number in 0..SESSIONS {
            let active = NOW + Duration::from_secs(60) * round;
            assert_eq!(store.touch(record(number).id, active, NOW).await.unwrap(), Written::Stored);
        }
    }
    let Loaded::Found(found) = store.load(record(3).id, NOW).await.unwrap() else { panic!("it was touched") };
    assert_eq!(found.data, record(3).data);
    let touches = i64::from(TOUCHES) * i64::try_from(SESSIONS).unwrap();
    let updates = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'cloakroom_session'";
    until(async || count(&admin, updates).await >= touches).await;
    let hot =
        count(&admin, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'cloakroom_session'")
            .await;
    println!("{hot} of {touches} touches wrote no index");
    assert!(hot * 100 >= touches * 75, "{hot} of {touches}");
}

/// A sweep of a large table goes on where the last one ended, looks at pages alone, and passes over rows that others hold.
#[tokio::test(flavor = "multi_thread")]
async fn sweeps_walk_the_pages_and_wait_for_nobody() {
    let database = Database::new();
    let (store, admin) = (database.store().await, database.admin().await);
    // 40,000 rows of 600 bytes and more: over 32 slices of a megabyte.
    admin
        .batch_execute(
            "INSERT INTO cloakroom_session
                (id, version, created_ms, started_ms, active_ms, end_ms, idle_s, epoch, authority, data)
            SELECT gen_random_uuid(), 1, 0, 0, CASE WHEN n % 100 = 0 THEN 1 ELSE 1800000000000 END, 1800086400000,
                1800, 0, '\\x00', json_build_object('filling', repeat('x', 900))
            FROM generate_series(1, 40000) AS n;
            ANALYZE cloakroom_session",
        )
        .await
        .unwrap();
    let locked = connect(&database.url()).await;
    locked
        .batch_execute(
            "BEGIN; SELECT FROM cloakroom_session WHERE active_ms = 1 ORDER BY id LIMIT 1 FOR UPDATE",
        )
        .await
        .unwrap();
    let (mut removed, mut calls) = (0, 0);
    loop {
        let swept =
            tokio::time::timeout(Duration::from_secs(5), store.sweep(NOW, 100)).await.unwrap().unwrap();
        removed += swept.expired.len();
        calls += 1;
        if !swept.is_more {
            break;
        }
    }
    assert_eq!(removed, 399, "all that had expired, but for the row that is locked");
    assert!((4..20).contains(&calls), "{calls} calls");
    locked.batch_execute("ROLLBACK").await.unwrap();
    let swept = store.sweep(NOW, 100).await.unwrap();
    assert!(swept.expired.is_empty() && !swept.is_more, "after a long walk it rests");
    let another = database.store().await;
    while removed < 400 {
        removed += another.sweep(NOW, 100).await.unwrap().expired.len();
        calls += 1;
        assert!(calls < 40, "the row that was locked isn't found again");
    }
    let statement = include_str!("../../src/sql/sweep.sql")
        .replace("$1", "'(0,0)'")
        .replace("$2", "'(128,0)'")
        .replace("$3", "5")
        .replace("$4", "9");
    let plan = admin.query(&format!("EXPLAIN {statement}"), &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Tid Range Scan") && plan.contains("Index Scan"), "{plan}");
}

/// Whatever was dropped on its way left no transaction open, and no lock.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_dropped_leave_nothing_open() {
    let database = Database::new();
    let (store, admin) = (Arc::new(database.store().await), database.admin().await);
    for number in 0..200 {
        let call = store.create(record(number), NOW);
        let _ = tokio::time::timeout(Duration::from_micros(300), call).await;
        let subject = record(number).subject.clone().unwrap();
        let list = store.index().unwrap().list(&subject, None, 10, NOW);
        let _ = tokio::time::timeout(Duration::from_micros(200), list).await;
    }
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    until(async || count(&admin, open).await == 0).await;
    // The server is shared, and others make their tables under such a lock.
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until(async || count(&admin, locks).await == 0).await;
    let connections = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'cloakroom'";
    assert!(count(&admin, connections).await <= 6);
}

/// Of two servers, the one that takes changes is used; of one that takes none, a person is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_changes_is_passed_over() {
    let (standby, primary) = (Postgres::start(), Postgres::start());
    drop(PostgresStore::connect(&standby.url()).await.unwrap());
    standby.run("cloakroom", "ALTER DATABASE cloakroom SET default_transaction_read_only = on");
    let error = PostgresStore::connect(&standby.url()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    let hosts = format!("{},{}", standby.address(), primary.address());
    let both = standby.url().replace(&standby.address().to_string(), &hosts);
    let store = PostgresStore::connect(&both).await.unwrap();
    assert_eq!(store.create(record(1), NOW).await.unwrap(), Written::Stored);
    primary.run("cloakroom", "SELECT 1 / count(*) FROM cloakroom_session");
}

/// The bug: the time to connect was that of all hosts, and a first one that said nothing took it up: the server that had
/// taken its place was never asked. The mend: each host has its share, and the one that answered last is asked first.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_passed_over() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let primary = Postgres::start();
    let hosts = format!("{},{}", silent.local_addr().unwrap(), primary.address());
    let both = primary.url().replace(&primary.address().to_string(), &hosts);
    let store = PostgresStore::connect(&both).await.unwrap();
    let begun = std::time::Instant::now();
    // The first change opens a connection of its own, and doesn't ask the silent one again.
    assert_eq!(store.create(record(1), NOW).await.unwrap(), Written::Stored);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_go_wrong_is_said() {
    let server = Postgres::with_settings(&["max_connections=30", "autovacuum=off", "synchronous_commit=off"]);
    let store = PostgresStore::connect(&server.url()).await.unwrap();
    let findings = store.diagnose(NOW).await.unwrap();
    let severity =
        |subject: &str| findings.iter().find(|finding| finding.subject == subject).unwrap().severity;
    for (subject, expected) in [
        ("version", Severity::Fine),
        ("clock", Severity::Fine),
        ("rights", Severity::Fine),
        ("durability", Severity::Warning),
        ("replication", Severity::Fine),
        ("connections", Severity::Warning),
        ("autovacuum", Severity::Problem),
        ("statements", Severity::Fine),
    ] {
        assert_eq!(severity(subject), expected, "{subject}: {findings:?}");
    }
    let by_socket = format!(
        "postgres://cloakroom@:{}/cloakroom?host={}",
        server.address().port(),
        server.folder().display()
    );
    assert!(PostgresStore::connect(&by_socket).await.unwrap().load(record(1).id, NOW).await.is_ok());
}
