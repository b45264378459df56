//! A pooler between, which hands out servers for a transaction each.

use cloakroom::{
    Timestamp,
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
    // A pooler from before 1.21 doesn't know of them, and a later one does.
    assert_eq!(statements(&store).await == Severity::Fine, pooled.pooler.knows_statements());
    let direct = PostgresStore::connect(&pooled.server.url()).await.unwrap();
    assert_eq!(statements(&direct).await, Severity::Fine);
    let url = pooled.server.url() + "?prepared=false";
    assert_eq!(statements(&PostgresStore::connect(&url).await.unwrap()).await, Severity::Warning);
}

async fn statements(store: &PostgresStore) -> Severity {
    let findings = store.diagnose(NOW).await.unwrap();
    findings.iter().find(|finding| finding.subject == "statements").unwrap().severity
}
