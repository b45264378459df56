//! How many sessions a second the store reads, against a bare SELECT through the same client over as many connections.
//!
//! `cargo run --release -p cloakroom-postgres --example read_cost`: it starts a PostgreSQL server of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for a person who measures"
)]

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cloakroom::{
    Data, Record, SessionId, Timestamp, Version,
    store::{Authority, Loaded, Store as _, Times, Written},
};
use cloakroom_core::Secret;
use cloakroom_postgres::PostgresStore;
use engines::{Engine as _, Postgres};
use tokio_postgres::{Client, NoTls};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SESSIONS: u64 = 10_000;
const TASKS: u64 = 64;
const ROUND: Duration = Duration::from_secs(3);
/// What the store reads with, of the connections in its URL.
const READERS: usize = 4;

fn id(number: u64) -> SessionId {
    SessionId::from_bytes(
        (u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes(),
    )
}

fn record(number: u64) -> Arc<Record> {
    let end = NOW + Duration::from_secs(86_400);
    let times = Times { created: NOW, started: NOW, active: NOW, end, idle_s: 1_800 };
    let authority = Authority::new(Secret::from_bytes([7; 16]).verifier(&id(number)));
    let data = Data::from_json(&format!(r#"{{"cart":[1,2,3],"filling":"{}"}}"#, "x".repeat(150))).unwrap();
    let version = Version::from_write_id(1);
    Arc::new(Record { id: id(number), version, subject: None, authority, times, client: None, data })
}

#[tokio::main]
async fn main() {
    let server = Postgres::start();
    let store = Arc::new(PostgresStore::connect(&server.url()).await.unwrap());
    for number in 0..SESSIONS {
        assert_eq!(store.create(record(number), NOW).await.unwrap(), Written::Stored);
    }
    server.run("cloakroom", "VACUUM ANALYZE");
    let mut clients = Vec::new();
    for _ in 0..READERS {
        let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let query = "SELECT data::text FROM cloakroom_session WHERE id = $1::text::uuid";
        let statement = client.prepare(query).await.unwrap();
        clients.push(Arc::new((client, statement)));
    }
    let ids: Arc<Vec<String>> = Arc::new((0..SESSIONS).map(text).collect());
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let bare = per_second(|task| {
            let (client, ids) = (Arc::clone(&clients[task as usize % READERS]), Arc::clone(&ids));
            move |number| {
                let (client, ids) = (Arc::clone(&client), Arc::clone(&ids));
                async move { bare_select(&client.0, &client.1, &ids[number as usize]).await }
            }
        })
        .await;
        let stored = per_second(|_| {
            let store = Arc::clone(&store);
            move |number| {
                let store = Arc::clone(&store);
                async move {
                    match store.load(id(number), NOW).await.unwrap() {
                        Loaded::Found(record) => record.data.as_bytes().len(),
                        other => panic!("{other:?}"),
                    }
                }
            }
        })
        .await;
        ratios.push(stored / bare);
        println!("{bare:.0} bare SELECTs a second, {stored:.0} loads: {:.2}", stored / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2}", ratios[ratios.len() / 2]);
}

fn text(number: u64) -> String {
    id(number).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn bare_select(client: &Client, statement: &tokio_postgres::Statement, id: &str) -> usize {
    client.query_one(statement, &[&id]).await.unwrap().get::<_, &str>(0).len()
}

async fn per_second<F, R>(of_task: impl Fn(u64) -> F) -> f64
where
    F: Fn(u64) -> R + Send + 'static,
    R: Future<Output = usize> + Send,
{
    let (done, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (read, done) = (of_task(task), Arc::clone(&done));
            tokio::spawn(async move {
                let mut number = task * 97;
                while begun.elapsed() < ROUND {
                    number = (number + 7) % SESSIONS;
                    assert!(read(number).await > 0);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}
