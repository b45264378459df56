//! A database of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use cloakroom_mysql::MySqlStore;
use cloakroom_store_test::Harness;
use mysql_async::{Conn, Opts, prelude::Queryable as _};

/// A database on the server that all tests share.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let shared = engines::shared::<crate::Server>();
        let server = shared.rsplit_once('/').unwrap().0.to_owned();
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// A connection with all rights, in this database.
    pub(crate) async fn admin(&self) -> Conn {
        let mut db =
            Conn::new(Opts::from_url(&format!("{}/mysql?prefer_socket=false", self.server)).unwrap())
                .await
                .unwrap();
        db.query_drop(format!("CREATE DATABASE IF NOT EXISTS {}", self.name)).await.unwrap();
        db.query_drop(format!("USE {}", self.name)).await.unwrap();
        db
    }

    pub(crate) async fn store(&self) -> MySqlStore {
        drop(self.admin().await);
        // Cases run side by side, and the server has so many connections and no more.
        MySqlStore::connect(&format!("{}?connections=8", self.url())).await.unwrap()
    }
}

impl Harness for Database {
    type Store = MySqlStore;

    async fn open(&self) -> MySqlStore {
        self.store().await
    }
}
