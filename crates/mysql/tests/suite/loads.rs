//! Loads of one moment, which are one statement.

use cloakroom::{
    Error,
    store::{Loaded, Store as _},
};
use futures_util::future;
use mysql_async::{Row, prelude::Queryable as _};

use super::{
    fixture::Database,
    revoking::{T0, create, session},
};

/// The server looks them up by the primary key, however many there are, in a table it knows nothing about yet.
#[tokio::test]
async fn several_are_looked_up_by_the_primary_key() {
    let database = Database::new();
    let store = database.store().await;
    for number in 0..100 {
        create(&store, &session(number)).await;
    }
    let mut admin = database.admin().await;
    for size in [4, 16, 64] {
        let places = vec!["UNHEX('000000000000000000000000000000AA')"; size - 1].join(", ");
        let statement = include_str!("../../src/sql/load_several.sql")
            .replacen('?', &format!("{places}, UNHEX('000000000000000000000000000000AB')"), 1)
            .replace('?', "5");
        let plan: Vec<Row> = admin.query(format!("EXPLAIN FORMAT = TRADITIONAL {statement}")).await.unwrap();
        let on_sessions =
            plan.iter().find(|row| row.get::<String, _>("table").as_deref() == Some("cloakroom_session"));
        let on_sessions = on_sessions.unwrap_or_else(|| panic!("{size}: {plan:?}"));
        let told = |column| on_sessions.get::<Option<String>, _>(column).flatten();
        assert_eq!(
            (told("type").as_deref(), told("key").as_deref()),
            (Some("range"), Some("PRIMARY")),
            "{size}: {plan:?}"
        );
    }
}

/// A row that can't be read hides nobody else's, though they are loaded together: on one thread, what is called for in one
/// go is one batch.
#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other() {
    let database = Database::new();
    let store = database.store().await;
    for number in 0..10 {
        create(&store, &session(number)).await;
    }
    let mut admin = database.admin().await;
    let damage = "UPDATE cloakroom_session SET authority = 'x' ORDER BY id LIMIT 1";
    admin.query_drop(damage).await.unwrap();
    let loaded = future::join_all((0..10).map(|number| store.load(session(number).id, T0))).await;
    let is_found = |loaded: &&Result<Loaded, _>| matches!(loaded, Ok(Loaded::Found(_)));
    let is_corrupt = |loaded: &&Result<Loaded, Error>| loaded.as_ref().is_err_and(|error| error.is_corrupt());
    assert_eq!(
        (loaded.iter().filter(is_found).count(), loaded.iter().filter(is_corrupt).count()),
        (9, 1),
        "{loaded:?}"
    );
}
