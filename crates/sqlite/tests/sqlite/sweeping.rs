//! Sweeping walks over the rows in slices, and goes on where it left off.

use std::time::Duration;

use cloakroom::store::{EndReason, Revocation, Store, Written};
use cloakroom::{Subject, Version};
use cloakroom_sqlite::SqliteStore;

use crate::fixture::{Folder, T0, create, id, session, tombstone};

/// More rows than one sweep looks at, of which the first and the last two have expired.
#[tokio::test]
async fn a_sweep_looks_at_some_rows_and_the_next_one_at_those_behind() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    let copies = "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 45000)
        INSERT INTO session (id, id_bytes, version, created_ms, started_ms, active_ms, end_ms, idle_s, authority, data)
        SELECT printf('%022d', n), id_bytes, version, created_ms, started_ms, active_ms + 1, end_ms, idle_s, authority,
               data
        FROM session, number";
    folder.connect().execute_batch(copies).unwrap();
    create(&store, &session(2, "user")).await;
    create(&store, &session(3, "other")).await;

    let now = session(1, "user").expires();
    let mut sweeps = Vec::new();
    for _ in 0..3 {
        let swept = store.sweep(now, 100).await.unwrap();
        let mut ids: Vec<_> =
            swept.expired.iter().map(|(id, subject)| (*id, subject.clone().unwrap())).collect();
        ids.sort_unstable();
        sweeps.push((ids, swept.is_more));
    }
    let of = |n: u64, name: &str| (id(n), Subject::new(name).unwrap());
    let mut last = vec![of(2, "user"), of(3, "other")];
    last.sort_unstable();
    assert_eq!(sweeps, [(vec![of(1, "user")], true), (vec![], true), (last, false)]);
    assert_eq!(count(&folder, "session"), 45_000);
}

#[tokio::test]
async fn a_sweep_forgets_revocations_and_tombstones() {
    const DAY: Duration = Duration::from_secs(86_400);
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, &session(1, "user")).await;
    assert_eq!(store.end(tombstone(id(1)), None, T0).await.unwrap(), Written::Stored);
    let index = store.index().unwrap();
    for (n, at) in [(0, T0), (1, T0 + Duration::from_millis(1))] {
        let revocation = Revocation {
            at,
            except: None,
            reason: EndReason::Revoked,
            version: Version::from_write_id(n),
            tombstones_expire: at + DAY,
        };
        index.end_subject(&Subject::new(format!("user-{n}")).unwrap(), revocation, at).await.unwrap();
    }
    let swept = store.sweep(T0 + Duration::from_secs(59), 100).await.unwrap();
    assert!(swept.expired.is_empty() && !swept.is_more);
    assert_eq!((count(&folder, "session"), count(&folder, "revocation")), (1, 2));

    let swept = store.sweep(T0 + DAY, 100).await.unwrap();
    assert!(swept.expired.is_empty(), "a tombstone is no session that expired");
    assert_eq!((count(&folder, "session"), count(&folder, "revocation")), (0, 1));
}

fn count(folder: &Folder, table: &str) -> i64 {
    folder.connect().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}
