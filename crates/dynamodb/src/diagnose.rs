//! What may be wrong with the table, its rights, the clock and the way there.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    types::{
        AttributeValue, BillingMode, ConditionCheck, TableDescription, TableStatus, TimeToLiveStatus,
        TransactWriteItem,
    },
};
use cloakroom::{Error, SessionId, Timestamp, store::Finding};

use crate::{
    DynamoDbStore, connect,
    failure::{Failure, reasons},
    item::TTL,
    table::Effect,
};

/// Nobody puts a deadline on a diagnosis.
const CALL_MAX: Duration = Duration::from_secs(5);
/// The header's clock counts whole seconds.
const SKEW_FINE: Duration = Duration::from_secs(3);
/// Beyond this DynamoDB refuses signatures.
const SKEW_MAX: Duration = Duration::from_secs(300);
const LATENCY_FINE: Duration = Duration::from_millis(20);
const LATENCY_SAMPLES: usize = 5;
/// No session has it: its calls find nothing, and their conditions don't hold.
const NOBODY: SessionId = SessionId::from_bytes([0; 16]);

impl DynamoDbStore {
    pub(crate) async fn find_out(&self, now: Timestamp) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        match within(connect::describe(&self.table)).await {
            Ok(Ok(table)) => findings.extend(self.look_at(&table)),
            Ok(Err(error)) => {
                let failure = Failure::of(&error);
                if failure.is_denied() {
                    findings.push(Finding::warning(
                        "table",
                        "the credentials may not describe the table, which opening the store needs: give them the right \
                         dynamodb:DescribeTable",
                    ));
                } else {
                    findings.push(Finding::problem("table", told(&failure.into_error(&self.table.name))));
                    return Ok(findings);
                }
            }
            Err(error) => {
                findings.push(Finding::problem("table", told(&error)));
                return Ok(findings);
            }
        }
        findings.push(self.look_at_ttl().await);
        findings.push(self.look_at_rights().await);
        findings.extend(self.look_at_clock_and_latency(now).await);
        if self.settings.is_in_the_clear() {
            findings.push(Finding::warning(
                "encryption",
                "the endpoint is spoken to over http: sessions cross the network in the clear; use https",
            ));
        }
        Ok(findings)
    }

    fn look_at(&self, table: &TableDescription) -> Vec<Finding> {
        let name = &self.table.name;
        let keys = match connect::check_keys(table) {
            Ok(()) => Finding::fine("table", format!("{name} is there and has the right keys")),
            Err(error) => Finding::problem("table", error.to_string()),
        };
        let mut findings = vec![keys];
        if !matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating)) {
            let status = table.table_status().map_or("unknown", TableStatus::as_str);
            findings.push(Finding::problem(
                "table",
                format!("{name} has the status {status}: until it is ACTIVE, calls fail"),
            ));
        }
        let is_on_demand = table
            .billing_mode_summary()
            .is_some_and(|billing| billing.billing_mode() == Some(&BillingMode::PayPerRequest));
        findings.push(if is_on_demand {
            Finding::fine("capacity", "the table is paid for by the request, and grows with its use")
        } else {
            let capacity = table.provisioned_throughput();
            let units = |units: Option<i64>| units.unwrap_or_default();
            Finding::warning(
                "capacity",
                format!(
                    "the table has {} read and {} write units: beyond them sessions can't be loaded or changed; see that \
                     they scale with the use, or have it paid for by the request",
                    units(capacity.and_then(|capacity| capacity.read_capacity_units())),
                    units(capacity.and_then(|capacity| capacity.write_capacity_units())),
                ),
            )
        });
        findings
    }

    async fn look_at_ttl(&self) -> Finding {
        let remedy = format!("enable time to live on the attribute `{TTL}`, or the table grows without end");
        match within(connect::ttl(&self.table)).await {
            Ok((Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling), Some(name))) if name == TTL => {
                Finding::fine(
                    "time to live",
                    format!("what has expired is removed, by the attribute `{TTL}`"),
                )
            }
            Ok((Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling), name)) => Finding::warning(
                "time to live",
                format!(
                    "it goes by the attribute `{}`, which sessions don't have: {remedy}",
                    name.unwrap_or_default()
                ),
            ),
            Ok(_) => Finding::warning("time to live", format!("it is disabled: {remedy}")),
            Err(error) => Finding::warning("time to live", format!("{}; {remedy}", told(&error))),
        }
    }

    /// Each call is made so that it changes nothing: on an item that isn't there, under a condition that it is.
    async fn look_at_rights(&self) -> Finding {
        let (client, name, key) = (&self.table.client, &self.table.name, self.keys.session(NOBODY));
        let is_there = "attribute_exists(pk)";
        let nobody = self.keys.session_pk(NOBODY);
        let mut missing = Vec::new();
        let get = client.get_item().table_name(name).set_key(Some(key.clone())).consistent_read(true);
        missing.extend(self.lacks("GetItem", || get.clone().send()).await);
        let query =
            client.query().table_name(name).consistent_read(true).key_condition_expression("pk = :pk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(nobody)).limit(1);
        missing.extend(self.lacks("Query", || query.clone().send()).await);
        missing.extend(self.batch(vec![key.clone()]).await.err().map(|_| "BatchGetItem"));
        let put =
            client.put_item().table_name(name).set_item(Some(key.clone())).condition_expression(is_there);
        missing.extend(self.lacks("PutItem", || put.clone().send()).await);
        let update = client.update_item().table_name(name).set_key(Some(key.clone()));
        let update = update.update_expression("REMOVE idle_ms").condition_expression(is_there);
        missing.extend(self.lacks("UpdateItem", || update.clone().send()).await);
        let delete = client.delete_item().table_name(name).set_key(Some(key)).condition_expression(is_there);
        missing.extend(self.lacks("DeleteItem", || delete.clone().send()).await);
        missing.extend(self.lacks_condition_check().await);
        if missing.is_empty() {
            return Finding::fine("rights", "reading, listing, changing and removing items is allowed");
        }
        let missing: Vec<_> = missing.iter().map(|action| format!("dynamodb:{action}")).collect();
        Finding::problem(
            "rights",
            format!("these calls fail: {}; give the credentials the right to make them", missing.join(", ")),
        )
    }

    /// The call's name, if it fails otherwise than by its condition.
    async fn lacks<T, E, F>(&self, action: &'static str, send: impl Fn() -> F + Send) -> Option<&'static str>
    where
        F: Future<Output = Result<T, SdkError<E>>> + Send,
        E: ProvideErrorMetadata,
    {
        match within(self.table.call(Effect::Once, send)).await {
            Ok(Ok(_)) => None,
            Ok(Err(SdkError::ServiceError(answer)))
                if answer.err().code() == Some("ConditionalCheckFailedException") =>
            {
                None
            }
            _ => Some(action),
        }
    }

    /// Only transactions make it, so it is looked at in one, whose condition doesn't hold.
    async fn lacks_condition_check(&self) -> Option<&'static str> {
        let check =
            ConditionCheck::builder().table_name(&self.table.name).set_key(Some(self.keys.session(NOBODY)));
        let check = check.condition_expression("attribute_exists(pk)").build().ok()?;
        let items = vec![TransactWriteItem::builder().condition_check(check).build()];
        let is_refused = match within(self.table.transact(items)).await {
            Ok(Some(error)) => {
                reasons(&error).first().and_then(|reason| reason.code()) != Some("ConditionalCheckFailed")
            }
            Ok(None) => false,
            Err(_) => true,
        };
        is_refused.then_some("ConditionCheckItem")
    }

    async fn look_at_clock_and_latency(&self, now: Timestamp) -> Vec<Finding> {
        let (begun, date) = (Instant::now(), TakeDate::default());
        let mut took = Vec::new();
        for _ in 0..LATENCY_SAMPLES {
            let (sent, key) = (Instant::now(), self.keys.session(NOBODY));
            let send = || {
                let get =
                    self.table.client.get_item().table_name(&self.table.name).set_key(Some(key.clone()));
                get.consistent_read(true).customize().interceptor(date.clone()).send()
            };
            if !matches!(within(self.table.call(Effect::Repeatable, send)).await, Ok(Ok(_))) {
                return vec![Finding::problem("latency", "reading an item failed")];
            }
            took.push(sent.elapsed());
        }
        took.sort_unstable();
        let median = took[LATENCY_SAMPLES / 2];
        let told = format!("reading an item takes {} ms", median.as_millis());
        let latency = if median <= LATENCY_FINE {
            Finding::fine("latency", told)
        } else {
            Finding::warning(
                "latency",
                format!("{told}, twice in a request that changes its session: use a table in this region"),
            )
        };
        vec![latency, clock(date.taken(), now + begun.elapsed())]
    }
}

fn clock(theirs: Option<SystemTime>, ours: Timestamp) -> Finding {
    let Some(theirs) = theirs else {
        return Finding::warning(
            "clock",
            "DynamoDB didn't tell its time, so it can't be compared with this machine's",
        );
    };
    let ours = SystemTime::UNIX_EPOCH + ours.since(Timestamp::ZERO);
    let (skew, word) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let told = format!("this machine's clock is {} s {word} DynamoDB's", skew.as_secs());
    match skew {
        _ if skew <= SKEW_FINE => Finding::fine("clock", "this machine's clock and DynamoDB's agree"),
        _ if skew <= SKEW_MAX => Finding::warning(
            "clock",
            format!("{told}: sessions end that much too early or too late; set it by NTP"),
        ),
        _ => Finding::problem(
            "clock",
            format!(
                "{told}: DynamoDB refuses signatures, and sessions end too early or too late; set it by NTP"
            ),
        ),
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(CALL_MAX, call).await.unwrap_or_else(|_| {
        Err(Error::unavailable(
            "DynamoDB didn't answer in time: see the endpoint, the region and the network",
            "late",
        ))
    })
}

/// With what lies behind it, for people who look for a cause.
fn told(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}

/// Takes the date that the service's answers bear.
#[derive(Clone, Debug, Default)]
struct TakeDate(Arc<Mutex<Option<SystemTime>>>);

impl TakeDate {
    fn taken(&self) -> Option<SystemTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for TakeDate {
    fn name(&self) -> &'static str {
        "TakeDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date =
            context.response().headers().get("date").and_then(|date| httpdate::parse_http_date(date).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cloakroom::store::Severity;

    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        let ours = Timestamp::from_millis(1_767_225_845_678);
        let at = |offset: i64| {
            let theirs = ours.as_millis().saturating_add_signed(offset * 1_000);
            clock(Some(SystemTime::UNIX_EPOCH + Duration::from_millis(theirs)), ours)
        };
        for (offset, severity) in [
            (0, Severity::Fine),
            (-3, Severity::Fine),
            (60, Severity::Warning),
            (-60, Severity::Warning),
            (3_600, Severity::Problem),
        ] {
            assert_eq!(at(offset).severity, severity, "{offset}");
        }
        assert!(at(60).message.contains("60 s behind") && at(-60).message.contains("60 s ahead"));
        assert_eq!(clock(None, ours).severity, Severity::Warning);
    }
}
