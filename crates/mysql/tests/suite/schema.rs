//! How the tables come to be, and what people see of them.

use cloakroom::{
    Key, Sessions, Subject,
    store::{Severity, Store as _},
};
use cloakroom_mysql::MySqlStore;
use mysql_async::prelude::Queryable as _;

use super::fixture::Database;

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_start_at_once_one_makes_the_tables() {
    let database = Database::new();
    drop(database.admin().await);
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let url = database.url();
            tokio::spawn(async move { MySqlStore::connect(&url).await.map(|_| ()) })
        })
        .collect();
    for start in starting {
        start.await.unwrap().unwrap();
    }
    let mut db = database.admin().await;
    let versions: Vec<u32> = db.query("SELECT version FROM cloakroom_migration").await.unwrap();
    assert_eq!(versions, [1]);
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused_and_left_alone() {
    let database = Database::new();
    drop(database.store().await);
    let mut db = database.admin().await;
    db.query_drop("INSERT INTO cloakroom_migration VALUES (7)").await.unwrap();
    for options in ["", "?migrate=false"] {
        let error = MySqlStore::connect(&format!("{}{options}", database.url())).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("newer"), "{error}");
    }
}

/// The bug: what `migrations` gave made neither the table of versions nor an entry in it, so that who had run all of it was
/// told, for ever, to run it; the test ran the store's own migration before. The mend: each step is whole.
#[tokio::test]
async fn the_printed_statements_and_the_documented_rights_suffice() {
    let database = Database::new();
    let mut db = database.admin().await;
    let (name, user) =
        (database.url().rsplit_once('/').unwrap().1.to_owned(), format!("u{}", std::process::id()));
    let login = |path: &str| database.url().replace("root", &format!("{user}:secret")) + path;
    db.query_drop(format!("DROP USER IF EXISTS '{user}'")).await.unwrap();
    db.query_drop(format!("CREATE USER '{user}' IDENTIFIED BY 'secret'")).await.unwrap();
    db.query_drop(format!("GRANT SELECT ON {name}.* TO '{user}'")).await.unwrap();
    let refused = MySqlStore::connect(&login("?migrate=false")).await.unwrap_err();
    assert!(refused.is_invalid() && refused.to_string().contains("cloakroom migrations"), "{refused:?}");
    let inspected = MySqlStore::inspect(&login("")).await.unwrap();
    let findings = inspected.diagnose(cloakroom::Timestamp::ZERO).await.unwrap();
    let tables = findings.iter().find(|finding| finding.subject == "tables").unwrap();
    assert_eq!(tables.severity, Severity::Problem, "{findings:?}");
    assert!(db.query::<String, _>("SHOW TABLES").await.unwrap().is_empty(), "looking made tables");

    for step in MySqlStore::migrations() {
        // As the command line sends it: statement by statement, without comments.
        let code: String =
            step.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        for statement in code.split(';').filter(|statement| !statement.trim().is_empty()) {
            db.query_drop(statement).await.unwrap();
        }
    }
    db.query_drop(format!("REVOKE SELECT ON {name}.* FROM '{user}'")).await.unwrap();
    for grant in [
        "SELECT, INSERT, UPDATE, DELETE ON X.cloakroom_session",
        "SELECT, INSERT, UPDATE, DELETE ON X.cloakroom_revocation",
        "SELECT, UPDATE ON X.cloakroom_setting",
        "SELECT ON X.cloakroom_migration",
    ] {
        db.query_drop(format!("GRANT {} TO '{user}'", grant.replace('X', &name))).await.unwrap();
    }
    let store = MySqlStore::connect(&login("?migrate=false")).await.unwrap();
    let findings = store.diagnose(cloakroom::Timestamp::ZERO).await.unwrap();
    assert!(findings.iter().all(|finding| finding.severity < Severity::Problem), "{findings:?}");
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

    // The bug: a right that was taken while the program ran was the application's mistake, HTTP's 500. It is an outage.
    db.query_drop(format!("REVOKE SELECT ON {name}.cloakroom_session FROM '{user}'")).await.unwrap();
    let error =
        sessions.store().load(cloakroom::SessionId::from_bytes([1; 16]), sessions.now()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    db.query_drop(format!("DROP USER '{user}'")).await.unwrap();
}

/// The bug: without its one row of settings every session seemed to have ended, and everybody was logged out in silence;
/// and sweeping panicked. The mend: it is an outage until the row is back.
#[tokio::test]
async fn a_lost_row_of_settings_is_an_outage_and_logs_nobody_out() {
    let database = Database::new();
    let sessions = Sessions::builder(database.store().await).build().unwrap();
    let exchange = sessions.begin();
    let session = exchange.session(std::iter::empty(), None).await.unwrap();
    session.login(Subject::new("ada").unwrap()).unwrap();
    exchange.commit().await.unwrap();
    let mut db = database.admin().await;
    let id: Vec<u8> = db.query_first("SELECT id FROM cloakroom_session").await.unwrap().unwrap();
    let id = cloakroom::SessionId::from_bytes(id.try_into().unwrap());
    db.query_drop("DELETE FROM cloakroom_setting").await.unwrap();
    let error = sessions.store().load(id, sessions.now()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    sessions.sweep(100).await.unwrap();
    db.query_drop("INSERT INTO cloakroom_setting VALUES (1, 0)").await.unwrap();
    let found = sessions.store().load(id, sessions.now()).await.unwrap();
    assert!(matches!(found, cloakroom::store::Loaded::Found(_)), "{found:?}");
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
    let mut db = database.admin().await;
    let query =
        "SELECT id, state, subject, JSON_UNQUOTE(JSON_EXTRACT(data, '$.cart[0]')) FROM cloakroom_sessions";
    let row: (String, String, String, String) = db.query_first(query).await.unwrap().unwrap();
    assert_eq!(
        (row.0.len(), row.1.as_str(), row.2.as_str(), row.3.as_str()),
        (22, "alive", "ada", "umbrella ☂")
    );
}
