//! Opening: a client with the environment's credentials, and a table that is as it has to be.

use std::{env, time::Duration};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{
    Client,
    config::{
        Credentials, Region, SharedCredentialsProvider, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{BuildError, ProvideErrorMetadata as _, SdkError},
    operation::{create_table::CreateTableError, describe_table::DescribeTableError},
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription,
        TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use cloakroom::Error;

use crate::{
    failure::Failure,
    item::{PK, SK, TTL},
    settings::Settings,
    table::{Effect, Table},
};

/// Within the region a connection takes a few milliseconds.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A call that nobody put a deadline on.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// Shorter than services and load balancers keep a connection that isn't used.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// A new table is there in a few seconds.
const CREATE_MAX: Duration = Duration::from_secs(60);
const CREATE_POLL: Duration = Duration::from_millis(250);
/// An emulator on this machine takes any credentials, and belongs to no region.
const LOCAL: &str = "local";
const LOCAL_REGION: &str = "us-east-1";

/// A client, without a call to the service. Credentials are looked up here.
pub(crate) async fn client(settings: &Settings) -> Result<Client, Error> {
    let http = aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(settings.connections)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    } else if settings.is_local() && env::var_os("AWS_REGION").is_none() {
        loader = loader.region(Region::new(LOCAL_REGION));
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    } else if settings.is_local() && env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        loader = loader.credentials_provider(Credentials::new(LOCAL, LOCAL, None, None, LOCAL));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(Error::invalid(
            "no region is set: add `region=…` to the URL of the DynamoDB table, or set AWS_REGION",
        ));
    }
    if let Some(provider) = config.credentials_provider() {
        check_credentials(&provider).await?;
    }
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_MAX).operation_attempt_timeout(ATTEMPT_MAX).build();
    let mut config = aws_sdk_dynamodb::config::Builder::from(&config)
        // What may be tried again is decided in `Table`, which knows what a call does.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint.as_str());
    }
    Ok(Client::from_conf(config.build()))
}

/// The chain's own errors name no secret, but they are long, and their remedy is always the same.
async fn check_credentials(provider: &SharedCredentialsProvider) -> Result<(), Error> {
    use aws_sdk_dynamodb::config::ProvideCredentials as _;
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid(
            "there are no credentials for DynamoDB: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile \
             with `profile=…`, or give the machine or container a role",
        )),
    }
}

/// Makes sure that the table is there and has the right keys; makes it if the settings say so.
pub(crate) async fn check(table: &Table, settings: &Settings) -> Result<(), Error> {
    let mut waited = Duration::ZERO;
    loop {
        let description = match describe(table).await? {
            Ok(description) => description,
            Err(error) if settings.create && Failure::of(&error).is_missing_table() => {
                create(table).await?;
                continue;
            }
            Err(error) => return Err(not_opened(Failure::of(&error), settings)),
        };
        check_keys(&description)?;
        if description.table_status() != Some(&TableStatus::Creating) || waited > CREATE_MAX {
            return if settings.create { enable_ttl(table).await } else { Ok(()) };
        }
        tokio::time::sleep(CREATE_POLL).await;
        waited += CREATE_POLL;
    }
}

pub(crate) async fn describe(
    table: &Table,
) -> Result<Result<TableDescription, SdkError<DescribeTableError>>, Error> {
    let send = || table.client.describe_table().table_name(&table.name).send();
    let answer = table.call(Effect::Repeatable, send).await?;
    Ok(answer.map(|answer| answer.table.unwrap_or_else(|| TableDescription::builder().build())))
}

/// Whether the two keys, and no others, are there.
pub(crate) fn check_keys(description: &TableDescription) -> Result<(), Error> {
    let keys: Vec<_> =
        description.key_schema().iter().map(|key| (key.attribute_name(), key.key_type().clone())).collect();
    let is_text = |name: &str| {
        description.attribute_definitions().iter().any(|attribute| {
            attribute.attribute_name() == name && *attribute.attribute_type() == ScalarAttributeType::S
        })
    };
    if keys == [(PK, KeyType::Hash), (SK, KeyType::Range)] && is_text(PK) && is_text(SK) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the DynamoDB table {} has other keys than sessions need: name another table, or make one whose partition key is \
         `{PK}` and whose sort key is `{SK}`, both of type String",
        description.table_name().unwrap_or_default()
    )))
}

/// Why opening failed. What doesn't mend itself is a matter of the settings.
fn not_opened(failure: Failure, settings: &Settings) -> Error {
    let (table, place) = (&settings.table, settings.place());
    if failure.is_missing_table() {
        return Error::invalid(format!(
            "there is no DynamoDB table {table} in {place}: add `create=true` to the URL to have it made, or make one \
             whose partition key is `{PK}` and whose sort key is `{SK}`, both of type String, with time to live on the \
             attribute `{TTL}`"
        ));
    }
    if failure.is_denied() || failure.is_refused() {
        return Error::invalid(format!(
            "the credentials may not describe the DynamoDB table {table} in {place} ({failure}): see that they are right \
             and have the rights in the manual"
        ));
    }
    failure.into_error(table)
}

async fn create(table: &Table) -> Result<(), Error> {
    let key = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let attribute = |name| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
    };
    let parts = || {
        let keys = [key(PK, KeyType::Hash)?, key(SK, KeyType::Range)?];
        Ok::<_, BuildError>((keys.to_vec(), [attribute(PK)?, attribute(SK)?].to_vec()))
    };
    let (keys, attributes) = parts()
        .map_err(|error| Error::unavailable("the table's description couldn't be put together", error))?;
    let send = || {
        let create =
            table.client.create_table().table_name(&table.name).billing_mode(BillingMode::PayPerRequest);
        create.set_key_schema(Some(keys.clone())).set_attribute_definitions(Some(attributes.clone())).send()
    };
    match table.call(Effect::Once, send).await? {
        Ok(_) => Ok(()),
        // Another process makes it just now.
        Err(error)
            if matches!(error.as_service_error(), Some(CreateTableError::ResourceInUseException(_))) =>
        {
            Ok(())
        }
        Err(error) if Failure::of(&error).is_denied() => Err(Error::invalid(format!(
            "the DynamoDB table {} doesn't exist, and the credentials may not make it: give them the right \
             dynamodb:CreateTable, or make the table",
            table.name
        ))),
        Err(error) => Err(table.failed(&error)),
    }
}

async fn enable_ttl(table: &Table) -> Result<(), Error> {
    if let (None | Some(TimeToLiveStatus::Disabled), _) = ttl(table).await? {
        let wanted = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL).build();
        let wanted = wanted
            .map_err(|error| Error::unavailable("the table's description couldn't be put together", error))?;
        let send = || {
            let update = table.client.update_time_to_live().table_name(&table.name);
            update.time_to_live_specification(wanted.clone()).send()
        };
        match table.call(Effect::Repeatable, send).await? {
            Ok(_) => {}
            // Another process does it just now, which makes this call one too many.
            Err(error) if error.code() == Some("ValidationException") => {}
            Err(error) => return Err(table.failed(&error)),
        }
    }
    Ok(())
}

/// Whether the table's items are removed in time, and by which attribute.
pub(crate) async fn ttl(table: &Table) -> Result<(Option<TimeToLiveStatus>, Option<String>), Error> {
    let send = || table.client.describe_time_to_live().table_name(&table.name).send();
    let answer = match table.call(Effect::Repeatable, send).await? {
        Ok(answer) => answer,
        Err(error) => return Err(table.failed(&error)),
    };
    let described = answer.time_to_live_description;
    Ok(described.map_or((None, None), |ttl| (ttl.time_to_live_status, ttl.attribute_name)))
}
