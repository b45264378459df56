//! What the diagnosis finds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::{AttributeValue, TimeToLiveSpecification};
use cloakroom::{
    Timestamp,
    store::{Finding, Severity, Store},
};
use cloakroom_dynamodb::DynamoDbStore;
use engines::DynamoDb;

use crate::fixture::{Place, client, endpoint, unique};

#[tokio::test]
async fn all_is_well_with_a_table_that_was_made_here_and_nothing_is_left_in_it() {
    let place = Place::shared();
    let findings = place.open().await.diagnose(now()).await.unwrap();
    for subject in ["table", "capacity", "time to live", "rights", "clock"] {
        let finding = about(&findings, subject);
        assert_eq!(finding.severity, Severity::Fine, "{finding:?}");
    }
    assert!(about(&findings, "latency").message.contains("ms"), "{findings:?}");
    let scan = client(endpoint(&place.url())).scan().table_name("cloakroom");
    let scan = scan.filter_expression("begins_with(pk, :prefix)");
    let scan = scan.expression_attribute_values(":prefix", AttributeValue::S(format!("{}#", place.prefix)));
    assert_eq!(scan.send().await.unwrap().count, 0);
}

#[tokio::test]
async fn a_wrong_clock_is_told_by_how_much() {
    let store = Place::shared().open().await;
    let findings = store.diagnose(now() + Duration::from_secs(60)).await.unwrap();
    let clock = about(&findings, "clock");
    assert_eq!(clock.severity, Severity::Warning);
    assert!(clock.message.contains("ahead of"), "{clock:?}");
    let findings = store.diagnose(now() + Duration::from_secs(3_600)).await.unwrap();
    assert_eq!(about(&findings, "clock").severity, Severity::Problem);
}

#[tokio::test]
async fn a_table_that_never_forgets_is_told_and_one_that_is_gone() {
    let url = engines::shared::<DynamoDb>();
    let (table, client) = (format!("ill-{}-{}", std::process::id(), unique()), client(endpoint(&url)));
    let own = format!("dynamodb://{table}?endpoint={}&create=true", endpoint(&url));
    let store = DynamoDbStore::open(&own).await.unwrap();
    let off = TimeToLiveSpecification::builder().enabled(false).attribute_name("ttl").build().unwrap();
    let disable = client.update_time_to_live().table_name(&table).time_to_live_specification(off);
    disable.send().await.unwrap();
    let findings = store.diagnose(now()).await.unwrap();
    let ttl = about(&findings, "time to live");
    assert!(ttl.severity == Severity::Warning && ttl.message.contains("`ttl`"), "{ttl:?}");

    client.delete_table().table_name(&table).send().await.unwrap();
    let findings = store.diagnose(now()).await.unwrap();
    let table = about(&findings, "table");
    assert!(table.severity == Severity::Problem && table.message.contains("doesn't exist"), "{table:?}");
}

fn about<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
    findings
        .iter()
        .find(|finding| finding.subject == subject)
        .unwrap_or_else(|| panic!("{subject}: {findings:?}"))
}

fn now() -> Timestamp {
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::ZERO + real
}
