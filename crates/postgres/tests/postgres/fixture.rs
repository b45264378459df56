//! A database of its own for each test.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use cloakroom_postgres::PostgresStore;
use cloakroom_store_test::Harness;
use engines::Postgres;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// A database on the server that all tests share.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let shared = engines::shared::<Postgres>();
        let server = shared.rsplit_once('/').unwrap().0.to_owned();
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// Its URL for another login: a name, or a name and a password.
    pub(crate) fn url_of(&self, login: &str) -> String {
        self.url().replace("cloakroom:secret", login)
    }

    /// A connection with all rights, in this database.
    pub(crate) async fn admin(&self) -> Client {
        let client = connect(&format!("{}/postgres", self.server)).await;
        let name = &self.name;
        let is_there = client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[name]).await.unwrap();
        if is_there.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        }
        connect(&self.url()).await
    }

    pub(crate) async fn store(&self) -> PostgresStore {
        drop(self.admin().await);
        // Cases run side by side, and the server has so many connections and no more.
        PostgresStore::connect(&format!("{}?connections=6", self.url())).await.unwrap()
    }
}

impl Harness for Database {
    type Store = PostgresStore;

    async fn open(&self) -> PostgresStore {
        self.store().await
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Asks until the answer is yes: what a server counts, it tells a little later.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "it didn't come to be");
        sleep(Duration::from_millis(50)).await;
    }
}
