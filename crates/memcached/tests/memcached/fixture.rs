//! Sessions and servers to test with.

use std::{
    future::Future,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cloakroom::{
    Data, Error, Lifetime, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Revocation, Revoke as _, Store as _, Times, Tombstone, Written},
};
use cloakroom_core::Secret;
use cloakroom_memcached::MemcachedStore;
use engines::{Engine as _, Memcached};

pub(crate) const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);

pub(crate) async fn open(server: &Memcached) -> MemcachedStore {
    MemcachedStore::open(&server.url()).await.unwrap()
}

/// A prefix that no other test uses.
pub(crate) fn prefix() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    format!("t{:016x}:", u64::from_le_bytes(random))
}

pub(crate) fn ring_url(servers: &[&Memcached]) -> String {
    let names: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    format!("memcached://{}", names.join(","))
}

pub(crate) fn id(n: u64) -> SessionId {
    let mut bytes = [0; 16];
    for (half, bytes) in (1..).zip(bytes.chunks_exact_mut(8)) {
        let mixed = (n + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(21 * half)
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        bytes.copy_from_slice(&mixed.to_be_bytes());
    }
    SessionId::from_bytes(bytes)
}

pub(crate) fn version() -> Version {
    static WRITES: AtomicU64 = AtomicU64::new(1);
    Version::from_write_id(WRITES.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

pub(crate) fn session(n: u64) -> Record {
    Record {
        id: id(n),
        version: version(),
        subject: None,
        authority: Authority::new(Secret::from_bytes([7; 16]).verifier(&id(n))),
        times: Times::start(Lifetime::default(), T0, T0),
        client: None,
        data: Data::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap(),
    }
}

pub(crate) fn session_of(name: &str, n: u64) -> Record {
    Record { subject: Some(subject(name)), ..session(n) }
}

pub(crate) fn changed(record: &Record) -> Record {
    Record { version: version(), ..record.clone() }
}

pub(crate) fn filled(record: &Record, bytes: usize) -> Record {
    let data = Data::from_json(&format!(r#"{{"filled":"{}"}}"#, "x".repeat(bytes))).unwrap();
    Record { data, ..changed(record) }
}

pub(crate) fn tombstone(id: SessionId) -> Tombstone {
    let expires = T0 + Duration::from_secs(60);
    Tombstone { id, version: version(), at: T0, reason: EndReason::Logout, expires }
}

pub(crate) fn revocation(except: Option<SessionId>) -> Revocation {
    let tombstones_expire = T0 + Duration::from_secs(60);
    Revocation { at: T0, except, reason: EndReason::Revoked, version: version(), tombstones_expire }
}

pub(crate) async fn create(store: &MemcachedStore, record: &Record) {
    assert_eq!(store.create(Arc::new(record.clone()), T0).await.unwrap(), Written::Stored);
}

pub(crate) async fn replace(store: &MemcachedStore, record: &Record, expected: Version) -> Written {
    store.replace(Arc::new(record.clone()), expected, T0).await.unwrap()
}

/// The version that is found, if a session is.
pub(crate) async fn found(store: &MemcachedStore, id: SessionId) -> Option<Version> {
    version_of(store.load(id, T0).await.unwrap())
}

pub(crate) fn version_of(loaded: Loaded) -> Option<Version> {
    match loaded {
        Loaded::Found(record) => Some(record.version),
        Loaded::Absent | Loaded::Ended(_) => None,
    }
}

pub(crate) async fn revoke(store: &MemcachedStore, name: &str, except: Option<SessionId>) {
    assert_eq!(store.end_subject(&subject(name), revocation(except), T0).await.unwrap(), None);
}

/// Waits for an answer as the library does.
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Option<Result<T, Error>> {
    tokio::time::timeout(deadline, call).await.ok()
}

/// How long it takes until a load is answered again.
pub(crate) async fn recovery(store: &MemcachedStore, id: SessionId) -> Duration {
    let begun = Instant::now();
    while !matches!(within(Duration::from_millis(500), store.load(id, T0)).await, Some(Ok(_))) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never recovers");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

/// Asks the server something on a connection of its own; the first line of the answer.
pub(crate) fn tell(server: SocketAddr, command: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// The key of the state of "ada": the hash of her name.
pub(crate) const ADAS_STATE: &str = "cloakroom:u:_e5DDUC9V97qwYbNl5ADPQ8G-QmogG585ucXq3x9UCk";
