//! A pooler between, which hands out servers for a transaction each.

use std::sync::Arc;

use cloakroom::{
    SessionId, Timestamp,
    store::{Severity, Store as _},
};
use cloakroom_postgres::PostgresStore;
use cloakroom_store_test::{Harness, cases};
use engines::{Breakable as _, Engine as _, PgBouncer, Postgres};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A pooler of its own, with its server.
struct Pooled {
    server: Postgres,
    pooler: PgBouncer,
}

impl Pooled {
    fn start() -> Self {
        let server = Postgres::start();
        let pooler = PgBouncer::start(&server);
        Self { server, pooler }
    }

    fn url(&self) -> String {
        self.server.url_at(self.pooler.address())
    }
}

impl Harness for Pooled {
    type Store = PostgresStore;

    async fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.url()).await.unwrap()
    }
}

#[test]
fn no_update_is_lost_by_a_pooler() {
    cloakroom_store_test::run(async { cases::concurrency::no_update_is_lost(Pooled::start()).await });
}

#[test]
fn many_sessions_at_once_never_mix_in_a_pooler() {
    cloakroom_store_test::run(async {
        cases::concurrency::many_sessions_at_once_never_mix(Pooled::start()).await;
    });
}

#[test]
fn random_operations_agree_with_a_model_over_a_pooler() {
    cloakroom_store_test::run(async {
        cases::model::random_operations_with_the_index_agree_with_a_model(Pooled::start()).await;
    });
}

#[test]
fn no_load_sees_the_answer_to_another_that_was_dropped_before_a_pooler() {
    cloakroom_store_test::run(async {
        cases::cancellation::no_load_sees_the_answer_to_another_that_was_dropped(Pooled::start()).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_statements_can_be_prepared_is_found_out() {
    let pooled = Pooled::start();
    let store = pooled.open().await;
    let findings = store.diagnose(NOW).await.unwrap();
    let statements = findings.iter().find(|finding| finding.subject == "statements").unwrap();
    // Debian's has no knowledge of them; a newer one has.
    println!("{statements:?}");
    let store = PostgresStore::connect(&pooled.server.url()).await.unwrap();
    let findings = store.diagnose(NOW).await.unwrap();
    let statements = findings.iter().find(|finding| finding.subject == "statements").unwrap();
    assert_eq!(statements.severity, Severity::Fine, "without a pooler they can");
}

/// Told that they can, a store finds out that they can't when a server doesn't know one, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_statement_is_no_outage() {
    let pooled = Pooled::start();
    drop(pooled.open().await);
    let server = PostgresStore::connect(&pooled.server.url()).await.unwrap();
    let store = Arc::new(PostgresStore::connect(&(pooled.url() + "?prepared=false")).await.unwrap());
    let calls = (0..200_u8).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.load(SessionId::from_bytes([n; 16]), NOW).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    drop(server);
}
