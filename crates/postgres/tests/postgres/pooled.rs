//! A pooler between, which hands out servers for a transaction each.

use std::time::Duration;

use cloakroom::{
    SessionId, Timestamp,
    store::{Severity, Store as _},
};
use cloakroom_postgres::PostgresStore;
use cloakroom_store_test::{Harness, cases};
use engines::{Breakable as _, Engine as _, PgBouncer, Postgres, Proxy};
use tokio::time::timeout;

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

/// The bug: a listener heard its own word, for a pooler passes on what is told within a question of one's own; so it was
/// taken for live where no news ever came. The mend: the word is told by another connection.
#[tokio::test(flavor = "multi_thread")]
async fn news_that_a_pooler_keeps_to_itself_are_not_taken_for_live() {
    let pooled = Pooled::start();
    let store = pooled.open().await;
    let mut watch = store.watch(SessionId::from_bytes([7; 16])).unwrap();
    let is_live = timeout(Duration::from_secs(8), async {
        while !watch.is_live() {
            watch.changed().await;
        }
    });
    assert!(is_live.await.is_err(), "nothing is told behind this pooler");
}

async fn statements(store: &PostgresStore) -> Severity {
    let findings = store.diagnose(NOW).await.unwrap();
    findings.iter().find(|finding| finding.subject == "statements").unwrap().severity
}

/// The bug: PgBouncer says whatever it says with one code, so a pooler whose server was away when a program started was
/// reported as a mistake in the URL, and start-up scripts gave up. The cause: the code alone was looked at. The mend: so are
/// its words.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_without_its_server_is_an_outage_and_an_unknown_database_a_mistake() {
    let mut pooled = Pooled::start();
    let unknown = pooled.url().replace("/cloakroom", "/nobodys");
    // The second time, the pooler repeats what it was told the first time, in words of its own.
    for _ in 0..2 {
        let refused = PostgresStore::connect(&unknown).await.unwrap_err();
        assert!(refused.is_invalid(), "{refused:?}");
    }
    pooled.server.kill();
    // The first attempt waits for the server, and later ones are told that it failed.
    for _ in 0..3 {
        let away = PostgresStore::connect(&pooled.url()).await.unwrap_err();
        assert!(away.is_unavailable(), "{away:?}");
    }
}

/// The bug: a pooler in transaction mode gave parts of a call to another server, between the parts of somebody else's: calls
/// failed with "bind message supplies 14 parameters, but prepared statement requires 2". The cause: calls shared a
/// connection, and a pooler lets go of its server when it has answered one call, though the next is still on its way. The
/// mend: behind a pooler, a connection is asked one thing at a time.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_a_connection_is_asked_one_thing_at_a_time() {
    let pooled = Pooled::start();
    for (target, shares) in [(pooled.server.address(), true), (pooled.pooler.address(), false)] {
        let proxy = Proxy::start(target);
        let url = pooled.server.url_at(proxy.address()) + "?connections=1";
        let store = PostgresStore::connect(&url).await.unwrap();
        proxy.delay(Duration::from_millis(20));
        let before = proxy.turns();
        let touches = (0..8).map(|id| store.touch(SessionId::from_bytes([id; 16]), NOW, NOW));
        futures_util::future::try_join_all(touches).await.unwrap();
        let turns = proxy.turns() - before;
        assert_eq!(turns < 8, shares, "8 calls took {turns} turns");
    }
}
