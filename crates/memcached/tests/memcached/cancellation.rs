//! Calls that are dropped in flight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cloakroom::store::{Loaded, Store as _, Written};
use cloakroom_memcached::MemcachedStore;
use engines::{Engine as _, Memcached, Proxy};

use crate::fixture::{T0, changed, create, id, session_of};

const SESSIONS: u64 = 200;
const CANCELLED: u64 = 10_000;

/// Ten thousand reads are dropped in flight, by clients that go away at any moment, while others read and write beside
/// them, on the same connections. Whatever is answered is the session that was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_cancelled_reads_never_mix_sessions() {
    let server = Memcached::start();
    // A network's delay, so that there is a flight to be dropped in.
    let proxy = Proxy::start(server.address());
    let near = MemcachedStore::open(&format!("{}?connections=1", server.url())).await.unwrap();
    let far = MemcachedStore::open(&format!("memcached://{}?connections=2", proxy.address())).await.unwrap();
    for n in 0..SESSIONS {
        create(&near, &session_of(&format!("user-{n}"), n)).await;
    }
    proxy.delay(Duration::from_micros(300));
    for store in [Arc::new(near), Arc::new(far)] {
        let (cancelled, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let tasks: Vec<_> = (0..32)
            .map(|seed| {
                tokio::spawn(reads(Arc::clone(&store), seed, Arc::clone(&cancelled), Arc::clone(&answered)))
            })
            .chain(
                (0..4).map(|writer| tokio::spawn(writes(Arc::clone(&store), writer, Arc::clone(&cancelled)))),
            )
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let (cancelled, answered) = (cancelled.load(Ordering::SeqCst), answered.load(Ordering::SeqCst));
        println!("{cancelled} reads cancelled in flight, {answered} answered beside them");
        assert!(cancelled >= CANCELLED && answered > 1_000);
    }
}

async fn reads(store: Arc<MemcachedStore>, seed: u64, cancelled: Arc<AtomicU64>, answered: Arc<AtomicU64>) {
    let mut random = seed;
    while cancelled.load(Ordering::SeqCst) < CANCELLED {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (n, wait) = ((random >> 33) % SESSIONS, (random >> 20) % 400);
        let mut load = store.load(id(n), T0);
        if (random >> 60) < 12 {
            // Sent, and then left alone.
            tokio::select! {
                biased;
                loaded = &mut load => is_own(&loaded.unwrap(), n),
                () = waited(wait) => { cancelled.fetch_add(1, Ordering::SeqCst); }
            }
        } else {
            is_own(&load.await.unwrap(), n);
            answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn waited(wait: u64) {
    if wait < 300 {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(Duration::from_micros(wait)).await;
    }
}

fn is_own(loaded: &Loaded, n: u64) {
    let Loaded::Found(record) = loaded else { panic!("session {n} is gone: {loaded:?}") };
    assert_eq!(record.id, id(n), "another session's record");
    assert_eq!(record.subject.as_ref().map(|subject| subject.to_string()), Some(format!("user-{n}")));
}

/// Writes beside them, of sessions of their own; now and then one is dropped in flight too.
async fn writes(store: Arc<MemcachedStore>, writer: u64, cancelled: Arc<AtomicU64>) {
    let mut stored = session_of(&format!("writer-{writer}"), 1_000_000 + writer + 10 * version_seed());
    create(&store, &stored).await;
    let mut round = 0;
    while cancelled.load(Ordering::SeqCst) < CANCELLED {
        round += 1;
        let next = changed(&stored);
        let replace = store.replace(next.clone().into(), stored.version, T0);
        if round % 5 == 0 {
            let dropped = tokio::time::timeout(Duration::from_micros(100), replace).await;
            drop(dropped);
            let Loaded::Found(found) = store.load(stored.id, T0).await.unwrap() else { panic!("gone") };
            assert!([stored.version, next.version].contains(&found.version), "nobody else writes it");
            let last = changed(&stored);
            // What is still on its way comes too late after this.
            match store.replace(last.clone().into(), found.version, T0).await.unwrap() {
                Written::Stored => stored = last,
                Written::Conflict => {
                    assert_eq!(
                        store.replace(last.clone().into(), next.version, T0).await.unwrap(),
                        Written::Stored
                    );
                    stored = last;
                }
                Written::Gone => panic!("gone"),
            }
        } else {
            assert_eq!(replace.await.unwrap(), Written::Stored);
            stored = next;
        }
    }
}

fn version_seed() -> u64 {
    crate::fixture::version().write_id()
}
