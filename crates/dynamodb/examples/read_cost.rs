//! What a load costs beside a bare `GetItem` of the same item by the same client: on an emulator that it starts.
//! `cargo run --release -p cloakroom-dynamodb --example read_cost`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that fails should say so and end")]

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig, retry::RetryConfig},
    types::AttributeValue,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use cloakroom::{
    Data, Lifetime, Record, SessionId, Timestamp, Version,
    store::{Authority, Loaded, Store, Times},
};
use cloakroom_core::Secret;
use cloakroom_dynamodb::DynamoDbStore;
use engines::{DynamoDb, Engine};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_845_678);
const SLICE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    let engine = DynamoDb::start();
    let url = engine.url();
    let store = Arc::new(DynamoDbStore::open(&url).await.unwrap());
    let id = SessionId::from_bytes(rand());
    let record = Record {
        id,
        version: Version::from_write_id(1),
        subject: None,
        authority: Authority::new(Secret::from_bytes(rand()).verifier(&id)),
        times: Times::start(Lifetime::default(), NOW, NOW),
        client: Some("Firefox on Linux".into()),
        data: Data::from_json(&format!(r#"{{"cart":"{}"}}"#, "x".repeat(500))).unwrap(),
    };
    store.create(record.into(), NOW).await.unwrap();
    let client = bare_client(&engine.endpoint());
    let key = HashMap::from([
        ("pk".to_owned(), AttributeValue::S(format!("cloakroom#s#{id}"))),
        ("sk".to_owned(), AttributeValue::S("s".to_owned())),
    ]);
    for tasks in [1, 16, 64] {
        let (mut bare, mut load) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (client, key) = (client.clone(), key.clone());
            let get = move || {
                let get = client.get_item().table_name("cloakroom").consistent_read(true);
                let get = get.set_key(Some(key.clone())).send();
                async { assert!(get.await.unwrap().item.is_some()) }
            };
            bare.push(per_second(tasks, get).await);
            let store = Arc::clone(&store);
            let get = move || {
                let store = Arc::clone(&store);
                async move { assert!(matches!(store.load(id, NOW).await.unwrap(), Loaded::Found(_))) }
            };
            load.push(per_second(tasks, get).await);
        }
        bare.sort_by(f64::total_cmp);
        load.sort_by(f64::total_cmp);
        let (bare, load) = (bare[ROUNDS / 2], load[ROUNDS / 2]);
        println!("{tasks:3} at once: GetItem {bare:7.0}/s, load {load:7.0}/s, {:3.0} %", 100.0 * load / bare);
    }
}

/// The same client that the store makes for itself.
fn bare_client(endpoint: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new().pool_max_idle_per_host(64);
    let http = http.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

fn rand() -> [u8; 16] {
    fastrand::u128(..).to_be_bytes()
}

/// Calls that so many tasks make one after the other.
async fn per_second<F, C>(tasks: usize, call: C) -> f64
where
    C: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    let tasks = (0..tasks).map(|_| {
        let call = call.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while begun.elapsed() < SLICE {
                call().await;
                count += 1;
            }
            count
        })
    });
    let mut count = 0;
    for task in tasks.collect::<Vec<_>>() {
        count += task.await.unwrap();
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}
