//! The index heals itself: what leads to nothing leaves it, and what may yet lead to something stays.

use std::sync::Arc;

use cloakroom::store::{Store as _, Written};
use cloakroom_redis::RedisStore;
use engines::{Engine, Redis, RedisCluster, Valkey, shared};

use crate::fixture::{
    Behind, T0, anonymous, changed, create, id, is_alive, later, listed, open, run, session, subject,
    tombstone,
};

macro_rules! on_engines {
    ($($case:ident)*) => {
        mod on_redis { $(#[test] fn $case() { super::run(super::$case::<super::Redis>()); })* }
        mod on_valkey { $(#[test] fn $case() { super::run(super::$case::<super::Valkey>()); })* }
        mod on_cluster { $(#[test] fn $case() { super::run(super::$case::<super::RedisCluster>()); })* }
    };
}

on_engines! {
    records_that_expired_leave_the_index_when_no_record_can_be_on_its_way
    an_entry_whose_record_was_never_written_leads_nowhere
    ended_sessions_leave_the_index_at_the_next_listing
    a_subject_who_never_lists_leaves_no_garbage
    an_entry_written_anew_is_young_again
    the_entry_of_a_session_that_a_late_touch_keeps_alive_stays
    what_others_wrote_into_the_index_hides_nothing
}

/// Of this subject, whose sessions alone are in the index of this prefix.
const NAME: &str = "ada";

async fn records_that_expired_leave_the_index_when_no_record_can_be_on_its_way<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    let sessions = [session(1, NAME), session(2, NAME), session(3, NAME)];
    for record in &sessions {
        create(&store, record).await;
    }
    for record in &sessions[..2] {
        // As the engine does it at the end of a key's time to live.
        let key = session_key(&behind, record.id);
        assert_eq!(behind.ask::<u64>(redis::cmd("DEL").arg(key)).await, 1);
    }
    assert_eq!(listed(&store, NAME).await, [sessions[2].id]);
    assert_eq!(entries(&mut behind).await.len(), 3, "young entries stay");
    grow_old(&mut behind).await;
    assert_eq!(listed(&store, NAME).await, [sessions[2].id]);
    assert_eq!(
        ids(&mut behind).await,
        [sessions[2].id.as_bytes().to_vec()],
        "the living one stays, however old"
    );
}

/// A crash between entry and record: nothing to log in with, nothing to list, and nothing that stays for ever.
async fn an_entry_whose_record_was_never_written_leads_nowhere<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    let (living, crashed) = (session(1, NAME), session(2, NAME));
    create(&store, &living).await;
    let (index, entry) = (index_key(&behind), entry(id(2), now_ms(), now_ms() + 86_400_000));
    behind.ask::<u64>(redis::cmd("ZADD").arg(&index).arg(0).arg(entry)).await;
    assert!(!is_alive(&store, &crashed).await);
    assert_eq!(listed(&store, NAME).await, [living.id]);
    assert_eq!(entries(&mut behind).await.len(), 2, "its record may be on its way");
    // It was slow, and comes after all.
    create(&store, &crashed).await;
    assert_eq!(listed(&store, NAME).await.len(), 2);
    assert_eq!(entries(&mut behind).await.len(), 2, "one entry for each session");
    let key = session_key(&behind, crashed.id);
    behind.ask::<u64>(redis::cmd("DEL").arg(key)).await;
    grow_old(&mut behind).await;
    assert_eq!(listed(&store, NAME).await, [living.id]);
    assert_eq!(entries(&mut behind).await.len(), 1);
}

async fn ended_sessions_leave_the_index_at_the_next_listing<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    for n in 0..5 {
        create(&store, &session(n, NAME)).await;
    }
    for n in 0..4 {
        assert_eq!(store.end(tombstone(id(n)), None, T0).await.unwrap(), Written::Stored);
    }
    assert_eq!(listed(&store, NAME).await, [id(4)]);
    assert_eq!(entries(&mut behind).await.len(), 1);
}

/// Whoever logs in day after day and never asks for a list.
async fn a_subject_who_never_lists_leaves_no_garbage<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    let index = index_key(&behind);
    let past = now_ms() - 1;
    let mut add = redis::cmd("ZADD");
    add.arg(&index);
    for n in 1_000..1_100 {
        add.arg(0).arg(entry(id(n), past, past));
    }
    behind.ask::<u64>(&add).await;
    for n in 0..200 {
        create(&store, &session(n, NAME)).await;
    }
    assert!(entries(&mut behind).await.len() < 210, "{} entries", entries(&mut behind).await.len());
    assert_eq!(listed(&store, NAME).await.len(), 200);
}

/// A session that comes back to its subject: the entry it had there must not be healed away as old.
async fn an_entry_written_anew_is_young_again<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    let first = session(1, NAME);
    create(&store, &first).await;
    grow_old(&mut behind).await;
    let away = changed(&anonymous(1));
    assert_eq!(replace(&store, &away, &first).await, Written::Stored);
    let back = changed(&first);
    assert_eq!(replace(&store, &back, &away).await, Written::Stored);
    let away_again = changed(&anonymous(1));
    assert_eq!(replace(&store, &away_again, &back).await, Written::Stored);
    assert!(listed(&store, NAME).await.is_empty());
    assert_eq!(entries(&mut behind).await.len(), 1, "it was written a moment ago");
    grow_old(&mut behind).await;
    assert!(listed(&store, NAME).await.is_empty());
    assert!(entries(&mut behind).await.is_empty());
    assert!(is_alive(&store, &away_again).await);
    let index = store.index().unwrap();
    assert!(index.list(&subject(NAME), None, 10, later(1)).await.unwrap().is_empty());
}

/// The bug: a session that had expired by the lister's clock was taken for one that is gone, and its old entry removed. A
/// touch with an earlier time, of a request that was slow or of a clock that is behind, then kept the session alive, and
/// nobody found it by its subject until its absolute end: logging out everywhere missed it. The mend: what leads to a key
/// that is still there is left alone; keys go a minute after what they hold.
async fn the_entry_of_a_session_that_a_late_touch_keeps_alive_stays<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    let record = session(1, NAME);
    create(&store, &record).await;
    grow_old(&mut behind).await;
    let index = store.index().unwrap();
    assert!(index.list(&subject(NAME), None, 10, later(1_801)).await.unwrap().is_empty(), "its time is over");
    assert_eq!(store.touch(record.id, later(1_799), later(1_799)).await.unwrap(), Written::Stored);
    let found = index.list(&subject(NAME), None, 10, later(1_802)).await.unwrap();
    assert_eq!(found.len(), 1, "a living session has left the index");
}

/// The bug: one member of another form made listing and logging out everywhere fail for this user, for ever. The mend: it
/// is passed over, as damaged records are.
async fn what_others_wrote_into_the_index_hides_nothing<E: Engine>() {
    let (store, mut behind) = open(&shared::<E>()).await;
    for n in 0..40 {
        create(&store, &session(n, NAME)).await;
    }
    let index = index_key(&behind);
    for foreign in ["", "!", "a", "zzz", "\u{7f}\u{7f}"] {
        behind.ask::<u64>(redis::cmd("ZADD").arg(&index).arg(0).arg(foreign)).await;
    }
    assert_eq!(listed(&store, NAME).await.len(), 40);
    let revocation = crate::fixture::revocation();
    let ended = store.revoke().unwrap().end_subject(&subject(NAME), revocation, T0).await.unwrap().unwrap();
    assert_eq!(ended.len(), 40);
}

async fn replace(store: &RedisStore, new: &cloakroom::Record, old: &cloakroom::Record) -> Written {
    store.replace(Arc::new(new.clone()), old.version, T0).await.unwrap()
}

/// Makes every entry of the index an hour old.
async fn grow_old(behind: &mut Behind) {
    let index = index_key(behind);
    for entry in entries(behind).await {
        let mut old = entry.clone();
        old[16..24].copy_from_slice(&(now_ms() - 3_600_000).to_be_bytes());
        behind.ask::<u64>(redis::cmd("ZREM").arg(&index).arg(&entry)).await;
        behind.ask::<u64>(redis::cmd("ZADD").arg(&index).arg(0).arg(&old)).await;
    }
}

async fn ids(behind: &mut Behind) -> Vec<Vec<u8>> {
    entries(behind).await.into_iter().map(|entry| entry[..16].to_vec()).collect()
}

async fn entries(behind: &mut Behind) -> Vec<Vec<u8>> {
    let index = index_key(behind);
    behind.ask(redis::cmd("ZRANGE").arg(index).arg(0).arg(-1)).await
}

/// An entry as the store writes it: the id, when it was written, when it is garbage.
fn entry(id: cloakroom::SessionId, written_ms: u64, gone_ms: u64) -> Vec<u8> {
    [&id.as_bytes()[..], &written_ms.to_be_bytes(), &gone_ms.to_be_bytes()].concat()
}

fn session_key(behind: &Behind, id: cloakroom::SessionId) -> String {
    format!("{}{{{:02x}}}s:{id}", behind.prefix, id.as_bytes()[0])
}

fn index_key(behind: &Behind) -> String {
    // The shard that the subject's name falls into.
    format!("{}{{b7}}u:{NAME}", behind.prefix)
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}
