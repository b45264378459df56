//! Loads of one moment, which are one statement.

use cloakroom::store::{Loaded, Store as _};
use futures_util::future;

use crate::{
    fixture::Database,
    storage::{NOW, record},
};

/// The server keeps one plan for all lengths, and it follows the primary key even in a table it knows nothing about yet. A
/// plan that reads the whole table would stay until the table is analyzed, while it fills.
#[tokio::test(flavor = "multi_thread")]
async fn several_are_looked_up_by_the_primary_key_in_a_table_that_is_new() {
    let database = Database::new();
    let (_store, admin) = (database.store().await, database.admin().await);
    let statement = include_str!("../../src/sql/load_several.sql");
    admin.batch_execute(&format!("PREPARE several (uuid[], bigint) AS {statement}")).await.unwrap();
    let id = "00000000-0000-0000-0000-000000000001";
    for length in [1, 2, 3, 5, 8, 13, 21, 34, 64] {
        let ids = vec![id; length].join(",");
        let explain = format!("EXPLAIN EXECUTE several ('{{{ids}}}', 5)");
        let plan = admin.query(&explain, &[]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan using cloakroom_session_pkey"), "{length}: {plan}");
        assert!(!plan.contains("Seq Scan on cloakroom_session"), "{length}: {plan}");
        // Running it counts towards the choice of a plan, as explaining it does not.
        admin.batch_execute(&format!("EXECUTE several ('{{{ids}}}', 5)")).await.unwrap();
    }
    let kept = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = 'several'";
    let row = admin.query_one(kept, &[]).await.unwrap();
    let (generic, custom): (i64, i64) = (row.get(0), row.get(1));
    assert!(generic > 0, "after {custom} plans it is planned anew each time");
}

/// A row that can't be read hides nobody else's, though they are loaded together: on one thread, what is called for in one
/// go is one batch.
#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other() {
    let database = Database::new();
    let (store, admin) = (database.store().await, database.admin().await);
    for number in 0..10 {
        store.create(record(number), NOW).await.unwrap();
    }
    let damage =
        "UPDATE cloakroom_session SET authority = 'x' WHERE id = '00000000-0000-0000-0000-000000000004'";
    assert_eq!(admin.execute(damage, &[]).await.unwrap(), 1);
    let loaded = future::join_all((0..10).map(|number| store.load(record(number).id, NOW))).await;
    for (number, loaded) in loaded.into_iter().enumerate() {
        match loaded {
            Ok(Loaded::Found(found)) => assert_eq!(found.id, record(number as u128).id),
            Err(error) => assert!(number == 4 && error.is_corrupt(), "{number}: {error}"),
            Ok(other) => panic!("{number}: {other:?}"),
        }
    }
}
