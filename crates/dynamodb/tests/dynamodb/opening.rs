//! Opening: what is made, what is refused and why, and that nobody learns a secret by it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveStatus,
};
use cloakroom_dynamodb::DynamoDbStore;
use engines::DynamoDb;

use crate::fixture::{Place, client, create, endpoint, session, unique};

#[tokio::test]
async fn a_missing_table_is_refused_or_made() {
    let url = engines::shared::<DynamoDb>();
    let (endpoint, table) = (endpoint(&url), format!("made-{}-{}", std::process::id(), unique()));
    let plain = format!("dynamodb://{table}?endpoint={endpoint}");
    let error = DynamoDbStore::open(&plain).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("create=true"), "{error}");
    assert!(
        error.to_string().contains(&table) && error.to_string().contains("partition key is `pk`"),
        "{error}"
    );

    // Several processes start at once.
    let create_url = format!("{plain}&create=true");
    let opened = futures_util::future::join_all((0..4).map(|_| DynamoDbStore::open(&create_url))).await;
    for store in opened {
        store.unwrap();
    }
    let store = DynamoDbStore::open(&plain).await.unwrap();
    create(&store, &session(1)).await;
    let ttl = client(endpoint).describe_time_to_live().table_name(&table).send().await.unwrap();
    let ttl = ttl.time_to_live_description.unwrap();
    assert_eq!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled));
    assert_eq!(ttl.attribute_name.as_deref(), Some("ttl"));
}

#[tokio::test]
async fn a_table_with_other_keys_is_refused() {
    let url = engines::shared::<DynamoDb>();
    for (n, (hash, kind, range)) in [
        ("id", ScalarAttributeType::S, None),
        ("pk", ScalarAttributeType::S, None),
        ("pk", ScalarAttributeType::N, Some("sk")),
        ("pk", ScalarAttributeType::S, Some("time")),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("other-{}-{n}-{}", std::process::id(), unique());
        let key = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        let attribute = |name: &str, kind| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
        };
        let mut make = client(endpoint(&url))
            .create_table()
            .table_name(&table)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(key(hash, KeyType::Hash))
            .attribute_definitions(attribute(hash, kind));
        if let Some(range) = range {
            make = make
                .key_schema(key(range, KeyType::Range))
                .attribute_definitions(attribute(range, ScalarAttributeType::S));
        }
        make.send().await.unwrap();
        for options in ["", "&create=true"] {
            let url = format!("dynamodb://{table}?endpoint={}{options}", endpoint(&url));
            let error = DynamoDbStore::open(&url).await.unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains("other keys"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_an_outage() {
    let url = format!("dynamodb://cloakroom?endpoint=http://127.0.0.1:{}", engines::free_port());
    let error = DynamoDbStore::open(&url).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("can't be reached"), "{error:?}");
}

/// What a service says about a signature may repeat the request it was made for, and with it a session token.
#[tokio::test]
async fn refused_credentials_are_told_without_what_the_service_repeats() {
    let message = r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"x-amz-security-token:TOPSECRET"}"#;
    let url = format!("dynamodb://cloakroom?endpoint={}", server(message));
    let error = DynamoDbStore::open(&url).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(error.is_invalid() && told.contains("InvalidSignatureException"), "{told}");
    assert!(!told.contains("TOPSECRET"), "{told}");
}

/// The service names the action and the role that lacks it: that helps, and is no secret.
#[tokio::test]
async fn a_missing_right_is_told_by_its_name() {
    let message = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"role/app is not authorized to perform: dynamodb:DescribeTable"}"#;
    let url = format!("dynamodb://cloakroom?endpoint={}", server(message));
    let error = DynamoDbStore::open(&url).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("dynamodb:DescribeTable"), "{error:?}");
}

#[tokio::test]
async fn debug_shows_table_and_prefix_alone() {
    let place = Place::shared();
    let shown = format!("{:?}", place.open().await);
    assert_eq!(shown, format!("DynamoDbStore {{ table: \"cloakroom\", prefix: {:?}, .. }}", place.prefix));
}

#[tokio::test]
async fn the_workspaces_opener_knows_the_scheme() {
    let place = Place::shared();
    let store = cloakroom_stores::open(&place.url()).await.unwrap();
    assert_eq!(cloakroom::store::Store::kind(&store), "dynamodb");
    let error = cloakroom_stores::open("dynamodb://key:hunter2@table").await.err().unwrap();
    assert!(error.is_invalid() && !error.to_string().contains("hunter2"), "{error}");
}

/// Answers each request so, with the status 400.
fn server(body: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 8192]);
            let _ = write!(
                stream,
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    format!("http://{address}")
}
