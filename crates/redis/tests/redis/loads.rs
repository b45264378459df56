//! Loads that are called for at one moment share a command, and nothing else.

use cloakroom::{
    Record,
    store::{Loaded, Store as _},
};
use cloakroom_redis::RedisStore;
use engines::{Engine as _, Redis};
use futures_util::future;
use tokio::runtime;

use crate::fake;
use crate::fixture::{Behind, T0, anonymous, create, id, open};

/// On one thread nobody comes in between: what is called for in one go is one batch.
fn alone(test: impl Future<Output = ()>) {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// How many times the server was asked for values.
async fn asked(behind: &mut Behind) -> u64 {
    let told: String = behind.ask(redis::cmd("INFO").arg("commandstats")).await;
    let line = told.lines().find_map(|line| line.strip_prefix("cmdstat_mget:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

async fn filled(store: &RedisStore, count: u64) -> Vec<Record> {
    let records: Vec<_> = (0..count).map(anonymous).collect();
    for record in &records {
        create(store, record).await;
    }
    records
}

fn is(loaded: &Loaded, record: &Record) -> bool {
    matches!(loaded, Loaded::Found(found) if found.version == record.version && found.id == record.id)
}

#[test]
fn loads_of_one_moment_are_one_command_and_each_gets_its_own() {
    alone(async {
        let redis = Redis::start();
        let (store, mut behind) = open(&redis.url()).await;
        let records = filled(&store, 40).await;
        let before = asked(&mut behind).await;
        // Those that aren't there stand among those that are.
        let loads = (0..60).map(|n| store.load(id(n * 2 % 60), T0));
        let loaded = future::try_join_all(loads).await.unwrap();
        for (n, loaded) in loaded.iter().enumerate() {
            match records.get(n * 2 % 60) {
                Some(record) => assert!(is(loaded, record), "{n}: {loaded:?}"),
                None => assert!(matches!(loaded, Loaded::Absent), "{n}: {loaded:?}"),
            }
        }
        assert_eq!(asked(&mut behind).await - before, 1);
    });
}

#[test]
fn more_loads_than_a_command_may_ask_for_are_several() {
    alone(async {
        let redis = Redis::start();
        let (store, mut behind) = open(&redis.url()).await;
        let records = filled(&store, 120).await;
        let before = asked(&mut behind).await;
        let loaded = future::try_join_all(records.iter().map(|record| store.load(record.id, T0))).await;
        for (loaded, record) in loaded.unwrap().iter().zip(&records) {
            assert!(is(loaded, record), "{loaded:?}");
        }
        assert_eq!(asked(&mut behind).await - before, 2);
    });
}

/// A server of a cluster that was taken for one that is alone, since it doesn't tell: its keys lie together two by two.
#[test]
fn where_keys_lie_apart_each_load_goes_alone() {
    alone(async {
        let (listener, address) = fake::listener();
        fake::serve(listener, |words| match &*words[0] {
            "INFO" => Some(fake::info("7.2.0", false)),
            "MGET" if words.len() > 3 => {
                Some("-CROSSSLOT Keys in request don't hash to the same slot\r\n".into())
            }
            "MGET" => Some("*2\r\n$-1\r\n$-1\r\n".into()),
            _ => Some("+OK\r\n".into()),
        });
        let store = RedisStore::open(&format!("redis://{address}")).await.unwrap();
        for _ in 0..2 {
            let loaded = future::try_join_all((0..9).map(|n| store.load(id(n), T0))).await.unwrap();
            assert!(loaded.iter().all(|loaded| matches!(loaded, Loaded::Absent)), "{loaded:?}");
        }
    });
}

/// What isn't an answer is no absence: nobody is logged out for it.
#[test]
fn what_makes_no_sense_is_no_absence() {
    alone(async {
        for answer in ["*2\r\n:1\r\n:2\r\n", "*1\r\n$-1\r\n", "+OK\r\n"] {
            let (listener, address) = fake::listener();
            fake::serve(listener, |words| match &*words[0] {
                "INFO" => Some(fake::info("7.2.0", false)),
                "MGET" => Some(answer.to_owned()),
                _ => Some("+OK\r\n".into()),
            });
            let store = RedisStore::open(&format!("redis://{address}")).await.unwrap();
            let error = store.load(id(1), T0).await.unwrap_err();
            assert!(error.is_corrupt(), "{answer}: {error:?}");
        }
    });
}
