//! Tables and sessions to test with.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
};
use cloakroom::{
    Data, Lifetime, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Store, Times, Tombstone, Written},
};
use cloakroom_core::Secret;
use cloakroom_dynamodb::DynamoDbStore;
use engines::DynamoDb;

/// 2026-01-01T00:04:05.678Z: in the past.
pub(crate) const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);

/// A table, and a prefix in it that no other test has.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// With `create=true`.
    url: String,
    pub(crate) prefix: String,
}

impl Place {
    /// In the emulator that all tests share.
    pub(crate) fn shared() -> Self {
        Self::at(&engines::shared::<DynamoDb>())
    }

    /// In the table of this URL.
    pub(crate) fn at(url: &str) -> Self {
        // Tests of other processes may use the table too.
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        Self { url: url.to_owned(), prefix: format!("t{}-{started}-{}", process::id(), unique()) }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}&prefix={}", self.url, self.prefix)
    }

    pub(crate) async fn open(&self) -> DynamoDbStore {
        DynamoDbStore::open(&self.url()).await.unwrap()
    }
}

pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn id(n: u64) -> SessionId {
    SessionId::from_bytes(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

/// An anonymous session that began at [`T0`].
pub(crate) fn session(n: u64) -> Record {
    Record {
        id: id(n),
        version: version(),
        subject: None,
        authority: Authority::new(Secret::from_bytes([n as u8; 16]).verifier(&id(n))),
        times: Times::start(Lifetime::default(), T0, T0),
        client: Some("Firefox on Linux".into()),
        data: Data::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap(),
    }
}

/// A session of this subject that began at [`T0`].
pub(crate) fn session_of(name: &str, n: u64) -> Record {
    Record { subject: Some(subject(name)), ..session(n) }
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

pub(crate) fn version() -> Version {
    Version::from_write_id(unique())
}

pub(crate) fn with_data(record: &Record, json: &str) -> Record {
    Record { version: version(), data: Data::from_json(json).unwrap(), ..record.clone() }
}

pub(crate) fn tombstone(id: SessionId) -> Tombstone {
    let expires = Timestamp::from_millis(T0.as_millis() + 60_000);
    Tombstone { id, version: version(), at: T0, reason: EndReason::Logout, expires }
}

pub(crate) async fn create(store: &DynamoDbStore, record: &Record) {
    assert_eq!(store.create(Arc::new(record.clone()), T0).await.unwrap(), Written::Stored);
}

/// The JSON of the session's data, if it is alive.
pub(crate) async fn data(store: &DynamoDbStore, id: SessionId) -> Option<String> {
    match store.load(id, T0).await.unwrap() {
        Loaded::Found(record) => Some(record.data.to_json()),
        _ => None,
    }
}

/// A client of the service's own, that needs no store.
pub(crate) fn client(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

/// The address in a store's URL.
pub(crate) fn endpoint(url: &str) -> &str {
    url.split_once("endpoint=").unwrap().1.split('&').next().unwrap()
}
