//! The end of all of a subject's sessions, however many, and whatever a clock says.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Data, Lifetime, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Revocation, Revoke as _, Store as _, Times, Written},
};
use cloakroom_core::Secret;
use cloakroom_mysql::MySqlStore;
use engines::Proxy;

use super::fixture::Database;

pub(crate) const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);

pub(crate) fn session(n: u64) -> Record {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    let id = SessionId::from_bytes(bytes);
    Record {
        id,
        version: Version::from_write_id(n + 1),
        subject: Some(ada()),
        authority: Authority::new(Secret::from_bytes([7; 16]).verifier(&id)),
        times: Times::start(Lifetime::default(), T0, T0),
        client: None,
        data: Data::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap(),
    }
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

fn ada() -> Subject {
    Subject::new("ada").unwrap()
}

fn revocation(except: Option<SessionId>) -> Revocation {
    let (version, tombstones_expire) = (Version::from_write_id(1 << 40), later(10_000));
    Revocation { at: T0, except, reason: EndReason::Revoked, version, tombstones_expire }
}

pub(crate) async fn create(store: &MySqlStore, record: &Record) {
    assert_eq!(store.create(Arc::new(record.clone()), T0).await.unwrap(), Written::Stored);
}

/// The bug: logging out everywhere passed over a session whose time was over by the revoker's clock; a touch with an
/// earlier time came after it, and the session lived on. The mend: it ends, and isn't reported.
#[tokio::test]
async fn what_has_expired_by_the_revokers_clock_ends_too() {
    let store = Database::new().store().await;
    let record = session(1);
    create(&store, &record).await;
    let ended = store.end_subject(&ada(), revocation(None), later(1_801)).await.unwrap();
    assert_eq!(ended, Some(Vec::new()));
    assert_eq!(store.touch(record.id, later(1_799), later(1_799)).await.unwrap(), Written::Gone);
    assert!(matches!(store.load(record.id, later(1_799)).await.unwrap(), Loaded::Absent));
}

/// The bug: each session was ended by a statement of its own, in turn, so that a robot's ten thousand took longer than any
/// deadline, each time anew. The mend: a page at a time. Round trips are counted and not seconds, of which a busy machine
/// takes any number.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_of_one_subject_end_by_pages() {
    let database = Database::new();
    drop(database.admin().await);
    let url = database.url();
    let address = url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0;
    let proxy = Proxy::start(address.parse().unwrap());
    let store = MySqlStore::connect(&url.replace(address, &proxy.address().to_string())).await.unwrap();
    create(&store, &session(0)).await;
    let mut db = database.admin().await;
    // As many others like it.
    let copy = "INSERT INTO cloakroom_session (id, version, subject, created_ms, started_ms, active_ms, end_ms, idle_s, \
                epoch, authority, data) \
                WITH digit AS (SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9), \
                number AS (SELECT 1000 * a.n + 100 * b.n + 10 * c.n + d.n AS n FROM digit a, digit b, digit c, digit d) \
                SELECT CONCAT(UNHEX(LPAD(HEX(number.n), 16, '0')), REPEAT(CHAR(7), 8)), version, \
                subject, created_ms, started_ms, active_ms, end_ms, idle_s, epoch, authority, data \
                FROM cloakroom_session, number WHERE number.n > 0";
    mysql_async::prelude::Queryable::query_drop(&mut db, copy).await.unwrap();
    let spared = session(77).id;
    let (turns, begun) = (proxy.turns(), std::time::Instant::now());
    let ended = store.end_subject(&ada(), revocation(Some(spared)), T0).await.unwrap().unwrap();
    let turns = proxy.turns() - turns;
    println!("ten thousand sessions ended in {turns} round trips and {:?}", begun.elapsed());
    assert!(ended.len() == 9_999 && !ended.contains(&spared), "{}", ended.len());
    assert!(turns < 500, "{turns} round trips");
    assert!(matches!(store.load(spared, T0).await.unwrap(), Loaded::Found(_)));
    assert!(matches!(store.load(session(9_000).id, T0).await.unwrap(), Loaded::Ended(_)));
}
