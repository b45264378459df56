//! Reads, measured beside bare GETs through the same client:
//! `cargo test --release -p cloakroom-memcached --lib -- --ignored --nocapture`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cloakroom::{
    Data, Lifetime, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, Store as _, Times, Written},
};
use cloakroom_core::Secret;
use engines::{Engine as _, Memcached};

use crate::{MemcachedStore, key::Key};

const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);
const SESSIONS: u64 = 5_000;
const TASKS: u64 = 64;
const LAP: Duration = Duration::from_millis(200);
const LAPS: usize = 60;

#[derive(Clone, Copy)]
enum Read {
    BareGet,
    /// Of the keys that an authenticated read asks for.
    TwoBareGets,
    Anonymous,
    Authenticated,
}

/// Laps in turn, so that a noisy machine is noisy to all.
#[test]
#[ignore = "a measurement: it wants a release build and a quiet machine"]
fn throughput_of_reads_beside_a_bare_get() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Memcached::start();
        let store = Arc::new(MemcachedStore::open(&server.url()).await.unwrap());
        for n in 0..2 * SESSIONS {
            let written = store.create(Arc::new(session(n)), T0).await.unwrap();
            assert_eq!(written, Written::Stored);
        }
        let reads = [Read::BareGet, Read::TwoBareGets, Read::Anonymous, Read::Authenticated];
        let mut laps = [const { Vec::new() }; 4];
        for _ in 0..LAPS {
            for (read, laps) in reads.into_iter().zip(&mut laps) {
                laps.push(lap(&store, read).await);
            }
        }
        let medians = laps.map(|mut laps| {
            laps.sort_unstable();
            laps[laps.len() / 2]
        });
        let whats = ["bare GET", "two bare GETs at once", "anonymous read", "authenticated read"];
        for (what, per_s) in whats.into_iter().zip(medians) {
            let of = |whole: u64| per_s as f64 / whole as f64;
            println!("{what}: {per_s} a second, {:.2} of one, {:.2} of two", of(medians[0]), of(medians[1]));
        }
    });
}

/// How many a second.
async fn lap(store: &Arc<MemcachedStore>, read: Read) -> u64 {
    let begun = Instant::now();
    let tasks = (0..TASKS).map(|task| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut count = 0;
            while begun.elapsed() < LAP {
                count += 1;
                let n = (task * 7_919 + count * 31) % SESSIONS;
                match read {
                    Read::BareGet => {
                        let key = Key::Session(id(n));
                        drop(store.fleet.server(key).get(key).await.unwrap());
                    }
                    Read::TwoBareGets => {
                        let keys = [Key::Session(id(SESSIONS + n)), Key::of(&subject(SESSIONS + n))];
                        let [session, subject] = keys.map(|key| store.fleet.server(key).get(key));
                        drop((session.await.unwrap(), subject.await.unwrap()));
                    }
                    Read::Anonymous => drop(store.load(id(n), T0).await.unwrap()),
                    Read::Authenticated => drop(store.load(id(SESSIONS + n), T0).await.unwrap()),
                }
            }
            count
        })
    });
    let mut count = 0;
    for task in tasks.collect::<Vec<_>>() {
        count += task.await.unwrap();
    }
    count * 1_000 / u64::try_from(begun.elapsed().as_millis()).unwrap()
}

fn id(n: u64) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&(n + 1).wrapping_mul(0xd6e8_feb8_6659_fd93).to_be_bytes());
    SessionId::from_bytes(bytes)
}

/// Anonymous ones, then authenticated ones, each with a few hundred bytes of data.
fn session(n: u64) -> Record {
    let cart = "x".repeat(300);
    Record {
        id: id(n),
        version: Version::from_write_id(n + 1),
        subject: (n >= SESSIONS).then(|| subject(n)),
        authority: Authority::new(Secret::from_bytes([7; 16]).verifier(&id(n))),
        times: Times::start(Lifetime::default(), T0, T0),
        client: Some("Firefox on Linux".into()),
        data: Data::from_json(&format!(r#"{{"cart":"{cart}","n":{n}}}"#)).unwrap(),
    }
}

fn subject(n: u64) -> Subject {
    Subject::new(format!("user-{n}")).unwrap()
}
