//! The items themselves, as another client sees them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom::{
    Record, SessionId, Timestamp,
    store::{EndReason, Revocation, Store, Times, Written},
};
use cloakroom_dynamodb::DynamoDbStore;

use crate::fixture::{
    Place, T0, client, create, data, endpoint, id, session, session_of, subject, tombstone, version,
    with_data,
};

type Item = HashMap<String, AttributeValue>;

/// DynamoDB removes by its own clock, and the tests' times lie in the past: an attribute made from them would have
/// sessions removed at once.
#[tokio::test]
async fn all_items_are_removed_some_day_and_none_before_its_time() {
    let place = Place::shared();
    let store = place.open().await;
    let records: Vec<_> = (1..=4).map(|n| session_of("user", n)).collect();
    for record in records.iter().chain([&session(5)]) {
        create(&store, record).await;
    }
    let later = T0 + Duration::from_secs(60);
    assert_eq!(store.touch(records[0].id, later, later).await.unwrap(), Written::Stored);
    let next = with_data(&records[1], "{}");
    assert_eq!(store.replace(next.into(), records[1].version, T0).await.unwrap(), Written::Stored);
    assert_eq!(store.end(tombstone(records[2].id), None, T0).await.unwrap(), Written::Stored);
    store.index().unwrap().end_subject(&subject("other"), revocation(None), T0).await.unwrap();
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let items = items(&place).await;
    assert_eq!(items.len(), 5 + 3 + 1, "{items:#?}");
    for item in items {
        let ttl: u64 = item["ttl"].as_n().unwrap().parse().unwrap();
        let (least, most) = match kind(&item) {
            "s" if item.contains_key("ended_ms") => (60, 60),
            "s" => (1_800, 1_800),
            _ => (86_400, 86_400),
        };
        // An hour more than is needed, for clocks differ.
        let left = ttl - real;
        assert!((least + 3_590..=most + 3_660).contains(&left), "{left} s are left for {item:?}");
    }
}

/// A cut is for ever: sessions that it ended must not come back.
#[tokio::test]
async fn the_end_of_all_is_never_removed() {
    let place = Place::shared();
    let store = place.open().await;
    store.index().unwrap().end_started_before(T0, T0).await.unwrap();
    let items = items(&place).await;
    assert_eq!((items.len(), kind(&items[0]), items[0].get("ttl")), (1, "cut", None));
}

#[tokio::test]
async fn a_person_can_read_a_session_and_finds_no_secret() {
    let place = Place::shared();
    let store = place.open().await;
    create(&store, &session_of("user", 7)).await;
    let items = items(&place).await;
    let item = items.iter().find(|item| kind(item) == "s").unwrap();
    assert_eq!(item["pk"].as_s().unwrap(), &format!("{}#s#{}", place.prefix, id(7)));
    assert_eq!(item["subject"].as_s().unwrap(), "user");
    assert_eq!(item["data"].as_s().unwrap(), r#"{"n":7}"#);
    assert_eq!(item["started_ms"].as_n().unwrap(), &T0.as_millis().to_string());
    let shown = format!("{items:?}");
    assert!(!shown.contains(&"\\x07".repeat(16)) && !shown.contains("7, 7, 7, 7, 7, 7, 7, 7"), "{shown}");
}

/// Writes that are dropped anywhere leave each authenticated session with its one entry, and no entry without it.
#[tokio::test]
async fn entries_and_sessions_agree_after_writes_that_were_dropped() {
    let place = Place::shared();
    let store = Arc::new(place.open().await);
    let mut tasks = Vec::new();
    for n in 0..8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            create(&store, &session(n)).await;
            for round in 0..25_u64 {
                let cloakroom::store::Loaded::Found(stored) = store.load(id(n), T0).await.unwrap() else {
                    return;
                };
                let name = ["a", "b"][(round % 2) as usize];
                let next =
                    Record { version: version(), subject: Some(subject(name)), ..Record::clone(&stored) };
                let replace = store.replace(next.into(), stored.version, T0);
                let _ = tokio::time::timeout(Duration::from_micros(round * n * 100), replace).await;
            }
            if n % 4 == 3 {
                let end = store.end(tombstone(id(n)), None, T0);
                let _ = tokio::time::timeout(Duration::from_micros(n * 200), end).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // What was dropped may still be on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let items = items(&place).await;
    let owned = |item: &&Item| item.contains_key("subject");
    let sessions: BTreeSet<_> = items
        .iter()
        .filter(owned)
        .map(|item| (text(item, "subject"), text(item, "pk").rsplit('#').next().unwrap().to_owned()))
        .collect();
    let entries: BTreeSet<_> = items
        .iter()
        .filter(|item| kind(item) == "u")
        .map(|item| (text(item, "pk").rsplit('#').next().unwrap().to_owned(), text(item, "id")))
        .collect();
    assert!(!sessions.is_empty());
    assert_eq!(sessions, entries);
}

/// Entries of sessions that expired stay until no clock could let them live; then a listing takes them along.
#[tokio::test]
async fn a_listing_removes_entries_of_sessions_that_are_gone_for_good() {
    let place = Place::shared();
    let store = place.open().await;
    for n in 1..=3 {
        create(&store, &session_of("user", n)).await;
    }
    let lasting = Times { idle_s: 86_400, ..session(4).times };
    create(&store, &Record { times: lasting, ..session_of("user", 4) }).await;
    let idle = Duration::from_secs(1_800);
    for (now, entries) in [(T0 + idle, 4), (T0 + 2 * idle, 4), (T0 + 3 * idle, 1)] {
        assert_eq!(listed(&store, now).await, [id(4)]);
        let items = items(&place).await;
        assert_eq!(items.iter().filter(|item| kind(item) == "u").count(), entries, "at {now:?}");
    }
    store.index().unwrap().end_started_before(T0 + idle, T0 + idle).await.unwrap();
    assert_eq!(listed(&store, T0 + idle).await, []);
    assert_eq!(items(&place).await.iter().filter(|item| kind(item) == "u").count(), 0);
}

/// An item that somebody else changed fails for its own session, and for no other.
#[tokio::test]
async fn a_damaged_item_fails_its_own_session_alone() {
    for (name, value) in [
        ("data", AttributeValue::S(r#"{"card": "4111"#.to_owned())),
        ("data", AttributeValue::N("1".to_owned())),
        ("authority", AttributeValue::S("x".to_owned())),
        ("version", AttributeValue::N("-1".to_owned())),
        ("subject", AttributeValue::S("\u{7}".to_owned())),
        ("end_ms", AttributeValue::S("soon".to_owned())),
        ("client", AttributeValue::Bool(true)),
    ] {
        let place = Place::shared();
        let store = place.open().await;
        create(&store, &session_of("user", 1)).await;
        create(&store, &session_of("user", 2)).await;
        let mut items = items(&place).await;
        let pk = format!("{}#s#{}", place.prefix, id(1));
        let mut item = items.swap_remove(items.iter().position(|item| text(item, "pk") == pk).unwrap());
        item.insert(name.to_owned(), value);
        let put = client(endpoint(&place.url())).put_item().table_name("cloakroom").set_item(Some(item));
        put.send().await.unwrap();

        let error = store.load(id(1), T0).await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(error.is_corrupt() && told.contains(&id(1).to_string()) && !told.contains("4111"), "{told}");
        assert!(data(&store, id(2)).await.is_some(), "{name}");
        assert!(listed(&store, T0).await.contains(&id(2)), "{name}");
    }
}

/// Applications that share a table see nothing of each other.
#[tokio::test]
async fn prefixes_keep_applications_apart() {
    let (one, other) = (Place::shared(), Place::shared());
    let (first, second) = (one.open().await, other.open().await);
    create(&first, &session_of("user", 1)).await;
    assert_eq!(data(&second, id(1)).await, None);
    assert_eq!(listed(&second, T0).await, []);
    create(&second, &session_of("user", 1)).await;
    assert_eq!(second.end(tombstone(id(1)), None, T0).await.unwrap(), Written::Stored);
    assert!(data(&first, id(1)).await.is_some());
}

async fn listed(store: &DynamoDbStore, now: Timestamp) -> Vec<SessionId> {
    let listed = store.index().unwrap().list(&subject("user"), None, 100, now).await.unwrap();
    listed.iter().map(|summary| summary.id).collect()
}

fn revocation(except: Option<SessionId>) -> Revocation {
    Revocation { at: T0, except, reason: EndReason::Revoked, version: version(), tombstones_expire: T0 }
}

/// All items of a place.
async fn items(place: &Place) -> Vec<Item> {
    let scan = client(endpoint(&place.url())).scan().table_name("cloakroom").consistent_read(true);
    let scan = scan
        .filter_expression("begins_with(pk, :prefix)")
        .expression_attribute_values(":prefix", AttributeValue::S(format!("{}#", place.prefix)));
    scan.into_paginator().items().send().try_collect().await.unwrap()
}

/// The part of the key behind the prefix.
fn kind(item: &Item) -> &str {
    item["pk"].as_s().unwrap().split('#').nth(1).unwrap()
}

fn text(item: &Item, name: &str) -> String {
    item[name].as_s().unwrap().clone()
}

/// The bug: logging out everywhere passed over a session whose time was over by the revoker's clock; a touch with an
/// earlier time came after it, and the session lived on. The mend: it ends, and isn't reported.
#[tokio::test]
async fn what_has_expired_by_the_revokers_clock_ends_too() {
    let store = Place::shared().open().await;
    let (record, at) = (session_of("ada", 1), |seconds| T0 + Duration::from_secs(seconds));
    create(&store, &record).await;
    let index = store.index().unwrap();
    let ended = index.end_subject(&subject("ada"), revocation(None), at(1_801)).await.unwrap();
    assert_eq!(ended, Some(Vec::new()));
    assert_eq!(store.touch(record.id, at(1_799), at(1_799)).await.unwrap(), Written::Gone);
    assert_eq!(data(&store, record.id).await, None);
}

/// The bug: one entry of another form made listing and logging out everywhere fail for this user, for ever. The mend: it is
/// passed over.
#[tokio::test]
async fn what_others_wrote_into_the_index_hides_nothing() {
    let place = Place::shared();
    let store = place.open().await;
    for n in 1..=3 {
        create(&store, &session_of("ada", n)).await;
    }
    let entry = items(&place).await.into_iter().find(|item| kind(item) != "s").unwrap();
    let client = client(endpoint(&place.url()));
    for foreign in ["!", "zzz"] {
        let mut item = entry.clone();
        item.insert("sk".into(), AttributeValue::S(foreign.to_owned()));
        client.put_item().table_name("cloakroom").set_item(Some(item)).send().await.unwrap();
    }
    let index = store.index().unwrap();
    assert_eq!(index.list(&subject("ada"), None, 10, T0).await.unwrap().len(), 3);
    let ended = index.end_subject(&subject("ada"), revocation(None), T0).await.unwrap().unwrap();
    assert_eq!(ended.len(), 3);
}

/// The bug: what DynamoDB has no room for was taken for an outage, tried again, and answered as one. The mend: it is counted
/// before, and said to whom it concerns.
#[tokio::test]
async fn a_session_without_room_is_too_large_and_no_outage() {
    let store = Place::shared().open().await;
    let large = |bytes| with_data(&session_of("ada", 1), &format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes)));
    let error = store.create(large(400 * 1024).into(), T0).await.unwrap_err();
    assert!(error.is_too_large(), "{error:?}");
    create(&store, &large(390 * 1024)).await;
}
