//! Loads that are called for at one moment share a command, and nothing else.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Record,
    store::{Loaded, Store as _},
};
use cloakroom_redis::RedisStore;
use engines::{Engine as _, Redis};
use futures_util::{FutureExt as _, future};
use tokio::{
    runtime::{self, Runtime},
    time::timeout,
};

use crate::fixture::{Behind, T0, anonymous, create, id, open};

/// On one thread nobody comes in between: what is called for in one go is one batch.
fn alone(test: impl Future<Output = ()>) {
    runtime().block_on(test);
}

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
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

#[test]
fn a_caller_who_goes_takes_nobody_along() {
    alone(async {
        let redis = Redis::start();
        let (store, _) = open(&redis.url()).await;
        let records = filled(&store, 3).await;
        let mut loads: Vec<_> = records.iter().map(|record| store.load(record.id, T0)).collect();
        for load in &mut loads {
            assert!(load.now_or_never().is_none(), "nothing was sent yet");
        }
        // The one that began the batch, and the one that joined it last.
        drop(loads.remove(0));
        drop(loads.pop());
        assert!(is(&loads.remove(0).await.unwrap(), &records[1]));
        // And when all of them have gone, the next one finds its way.
        let mut gone = store.load(records[0].id, T0);
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        assert!(is(&store.load(records[2].id, T0).await.unwrap(), &records[2]));
    });
}

/// A server for several runtimes has one store for all. The task of a batch runs on the runtime of whoever began it: if
/// that is shut down first, those of other runtimes who joined must not wait for it for ever.
#[test]
fn a_runtime_that_shuts_down_takes_nobody_along() {
    let (stays, goes) = (runtime(), runtime());
    let redis = Redis::start();
    let store = Arc::new(stays.block_on(async { open(&redis.url()).await.0 }));
    let record = anonymous(1);
    stays.block_on(create(&store, &record));

    let mut first = store.load(record.id, T0);
    goes.block_on(async { assert!((&mut first).now_or_never().is_none()) });
    stays.block_on(async {
        let mut joined = store.load(record.id, T0);
        assert!((&mut joined).now_or_never().is_none());
        goes.shutdown_background();
        for load in [joined, first] {
            let loaded = timeout(Duration::from_secs(20), load).await.expect("it isn't forgotten");
            assert!(is(&loaded.unwrap(), &record));
        }
        assert!(is(&store.load(record.id, T0).await.unwrap(), &record), "and the next batch begins anew");
    });
}
