//! How the tables come to be, and what people see of them.

use cloakroom::{
    Key, Sessions, Subject, Timestamp,
    store::{Loaded, Severity, Store as _},
};
use cloakroom_postgres::PostgresStore;

use crate::fixture::Database;

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_start_at_once_one_makes_the_tables() {
    let database = Database::new();
    drop(database.admin().await);
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let url = database.url();
            tokio::spawn(async move { PostgresStore::connect(&url).await.map(|_| ()) })
        })
        .collect();
    for start in starting {
        start.await.unwrap().unwrap();
    }
    let versions =
        database.admin().await.query("SELECT version FROM cloakroom_migration", &[]).await.unwrap();
    assert_eq!(versions.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1]);
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused_and_left_alone() {
    let database = Database::new();
    drop(database.store().await);
    database.admin().await.batch_execute("INSERT INTO cloakroom_migration VALUES (7)").await.unwrap();
    for options in ["", "?migrate=false"] {
        let error = PostgresStore::connect(&format!("{}{options}", database.url())).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("newer"), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_cant_hold_every_text_is_refused() {
    let database = Database::new();
    let admin = database.admin().await;
    let name = format!("latin_{}", std::process::id());
    admin
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"))
        .await
        .unwrap();
    let url = database.url().rsplit_once('/').unwrap().0.to_owned() + "/" + &name;
    let error = PostgresStore::connect(&url).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("LATIN1"), "{error}");
}

#[tokio::test]
async fn an_owner_can_make_the_tables_and_the_documented_rights_suffice() {
    let database = Database::new();
    let admin = database.admin().await;
    let user = format!("shop_{}", std::process::id());
    admin.batch_execute(&format!("CREATE ROLE {user} LOGIN PASSWORD 'hunter2'")).await.unwrap();
    let login = format!("{user}:hunter2");
    let url = database.url_of(&login) + "?migrate=false";
    let refused = PostgresStore::connect(&url).await.unwrap_err();
    assert!(refused.is_invalid() && refused.to_string().contains("aren't there"), "{refused:?}");
    let refused = PostgresStore::connect(&database.url_of(&login)).await.unwrap_err();
    assert!(refused.is_invalid() && !format!("{refused:?}").contains("hunter2"), "{refused:?}");

    for step in PostgresStore::migrations() {
        admin.batch_execute(step).await.unwrap();
    }
    let refused = PostgresStore::connect(&url).await.unwrap_err();
    assert!(refused.is_invalid() && refused.to_string().contains("permission denied"), "{refused:?}");
    let rights = |rights: &str| rights.replace("shop", &user);
    admin.batch_execute(&rights("GRANT SELECT ON cloakroom_migration TO shop")).await.unwrap();
    let store = PostgresStore::connect(&url).await.unwrap();
    let findings = store.diagnose(Timestamp::ZERO).await.unwrap();
    assert!(findings.iter().any(|finding| finding.message.contains("DELETE ON cloakroom_session")));
    let rest = "GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_session, cloakroom_revocation TO shop;
        GRANT SELECT, UPDATE ON cloakroom_setting TO shop;";
    admin.batch_execute(&rights(rest)).await.unwrap();

    // Nothing is to be made, so this needs no right to.
    let store = PostgresStore::connect(&database.url_of(&login)).await.unwrap();
    let findings = store.diagnose(Timestamp::ZERO).await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity < Severity::Problem || finding.subject == "durability"),
        "{findings:?}"
    );
    let sessions = Sessions::builder(store).build().unwrap();
    let ada = Subject::new("ada").unwrap();
    let exchange = sessions.begin();
    exchange.session(std::iter::empty(), None).await.unwrap().login(ada.clone()).unwrap();
    exchange.commit().await.unwrap();
    let subjects = sessions.subjects().unwrap();
    assert_eq!(subjects.list(&ada, None, 9).await.unwrap().len(), 1);
    subjects.end(&ada, None).await.unwrap();
    subjects.end_started_before(sessions.now()).await.unwrap();
    sessions.sweep(100).await.unwrap();
}

/// The bug: without its one row of settings every session seemed to have ended, and everybody was logged out in silence.
/// The mend: it is an outage until the row is back.
#[tokio::test]
async fn a_lost_row_of_settings_is_an_outage_and_logs_nobody_out() {
    let database = Database::new();
    let sessions = Sessions::builder(database.store().await).build().unwrap();
    let exchange = sessions.begin();
    let session = exchange.session(std::iter::empty(), None).await.unwrap();
    session.login(Subject::new("ada").unwrap()).unwrap();
    exchange.commit().await.unwrap();
    let store = sessions.store();
    let ada = Subject::new("ada").unwrap();
    let id = store.index().unwrap().list(&ada, None, 9, sessions.now()).await.unwrap()[0].id;
    let admin = database.admin().await;
    admin.batch_execute("DELETE FROM cloakroom_setting").await.unwrap();
    let error = store.load(id, sessions.now()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    let error = sessions.subjects().unwrap().end_started_before(sessions.now()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    sessions.sweep(100).await.unwrap();
    admin.batch_execute("INSERT INTO cloakroom_setting VALUES (1, 0)").await.unwrap();
    let found = store.load(id, sessions.now()).await.unwrap();
    assert!(matches!(found, Loaded::Found(_)), "{found:?}");
}

#[tokio::test]
async fn people_can_read_sessions() {
    let database = Database::new();
    let sessions = Sessions::builder(database.store().await).build().unwrap();
    let exchange = sessions.begin();
    let session = exchange.session(std::iter::empty(), None).await.unwrap();
    session.insert(Key::new("cart"), &vec!["umbrella ☂".to_owned()]).unwrap();
    session.login(Subject::new("ada").unwrap()).unwrap();
    exchange.commit().await.unwrap();
    let query = "SELECT id, state, subject, data -> 'cart' ->> 0, expires > now() FROM cloakroom_sessions";
    let row = database.admin().await.query_one(query, &[]).await.unwrap();
    let (id, state, subject, cart): (String, String, String, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!((id.len(), &*state, &*subject, &*cart, row.get(4)), (22, "alive", "ada", "umbrella ☂", true));
}
