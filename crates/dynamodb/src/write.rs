//! The changes: each is one conditional write, or one transaction where the index follows.

use std::{collections::HashMap, sync::Arc};

use aws_sdk_dynamodb::{
    error::BuildError,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure::AllOld, TransactWriteItem},
};
use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Tombstone, Written},
};

use crate::{
    DynamoDbStore,
    failure::reasons,
    hints::Hint,
    item::{self, Item, Stored},
    table::Effect,
};

/// The second try knows what is stored; only somebody's change by hand can make a third.
const TRIES_MAX: u32 = 3;

/// DynamoDB's own limit.
const ITEM_BYTES_MAX: usize = 400 * 1024;

/// What came of a conditional write.
enum Attempt {
    Done,
    /// The condition didn't hold; with what is stored, if anything is.
    Refused(Option<Item>),
}

impl DynamoDbStore {
    pub(crate) async fn create_record(&self, record: Arc<Record>, now: Timestamp) -> Result<Written, Error> {
        let item = self.keys.session_item(&record, now)?;
        let condition = Condition::default().and("attribute_not_exists(pk)");
        let entry = record.subject.as_ref().map(|subject| self.entry_put(subject, &record, now));
        match self.put(item, condition, entry.into_iter().collect::<Result<_, _>>()?).await? {
            Attempt::Done => {
                self.hints.set(record.id, Hint::from(&*record));
                Ok(Written::Stored)
            }
            Attempt::Refused(_) => Ok(Written::Conflict),
        }
    }

    pub(crate) async fn replace_record(
        &self,
        record: Arc<Record>,
        expected: Version,
        now: Timestamp,
    ) -> Result<Written, Error> {
        let cut = self.cut_now().await?;
        let item = self.keys.session_item(&record, now)?;
        let mut prior = self.hints.find(record.id).unwrap_or_else(|| Hint::from(&*record));
        for _ in 0..TRIES_MAX {
            let mut condition = Condition::alive(cut, now).version(expected).subject(prior.subject.as_ref());
            let index = self.index_changes(&prior, &record, now)?;
            if index.is_empty() && record.subject.is_some() {
                // The entry of the index lives as long as the session may: until this end.
                condition = condition.and("end_ms = :end").with(":end", item::time(prior.end));
            }
            let stored = match self.put(item.clone(), condition, index).await? {
                Attempt::Done => {
                    self.hints.set(record.id, Hint::from(&*record));
                    return Ok(Written::Stored);
                }
                Attempt::Refused(None) => return Ok(Written::Gone),
                Attempt::Refused(Some(stored)) => Stored::of(&stored)?,
            };
            if !stored.is_alive(cut, now) {
                return Ok(Written::Gone);
            }
            if stored.version != expected {
                return Ok(Written::Conflict);
            }
            prior = Hint::from(&stored);
        }
        Err(disagrees(record.id))
    }

    pub(crate) async fn end_record(
        &self,
        tombstone: Tombstone,
        expected: Option<Version>,
        now: Timestamp,
    ) -> Result<Written, Error> {
        let cut = self.cut_now().await?;
        let id = tombstone.id;
        let mut subject = self.hints.find(id).and_then(|hint| hint.subject);
        for _ in 0..TRIES_MAX {
            let mut condition = Condition::alive(cut, now);
            if let Some(expected) = expected {
                condition = condition.version(expected);
            }
            let stored = match self.bury(&tombstone, condition, subject.as_ref(), now).await? {
                Attempt::Done => return Ok(Written::Stored),
                Attempt::Refused(None) => return Ok(Written::Gone),
                Attempt::Refused(Some(stored)) => Stored::of(&stored)?,
            };
            if !stored.is_alive(cut, now) {
                return Ok(Written::Gone);
            }
            if expected.is_some_and(|expected| stored.version != expected) {
                return Ok(Written::Conflict);
            }
            subject = stored.subject;
        }
        Err(disagrees(id))
    }

    /// Ends a session if it is this subject's. Whether it did.
    pub(crate) async fn end_of(
        &self,
        subject: &Subject,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (cut, id) = (self.cut_now().await?, tombstone.id);
        match self.bury(&tombstone, Condition::alive(cut, now), Some(subject), now).await? {
            Attempt::Done => Ok(true),
            Attempt::Refused(None) => Ok(false),
            Attempt::Refused(Some(stored)) => {
                let stored = Stored::of(&stored)?;
                if stored.subject.as_ref() == Some(subject) && !stored.is_alive(cut, now) {
                    self.expire(id, subject).await?;
                }
                Ok(false)
            }
        }
    }

    /// What has expired by this clock may be alive by another. With an end of zero it has expired by all of them.
    async fn expire(&self, id: SessionId, subject: &Subject) -> Result<(), Error> {
        let condition = Condition::default().and("attribute_exists(idle_end_ms)").subject(Some(subject));
        let condition = condition.with(":zero", item::time(Timestamp::ZERO));
        let send = || {
            self.table
                .client
                .update_item()
                .table_name(&self.table.name)
                .set_key(Some(self.keys.session(id)))
                .update_expression("SET end_ms = :zero")
                .condition_expression(condition.expression())
                .set_expression_attribute_values(condition.values())
                .send()
        };
        let Err(error) = self.table.call(Effect::Repeatable, send).await? else { return Ok(()) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
            _ => Err(self.table.failed(&error)),
        }
    }

    /// Puts a tombstone in the place of a session of this subject, and takes it out of the index.
    async fn bury(
        &self,
        tombstone: &Tombstone,
        condition: Condition,
        subject: Option<&Subject>,
        now: Timestamp,
    ) -> Result<Attempt, Error> {
        let item = self.keys.tombstone_item(tombstone, now);
        let entry = subject.map(|subject| self.entry_delete(subject, tombstone.id)).transpose()?;
        self.put(item, condition.subject(subject), entry.into_iter().collect()).await
    }

    pub(crate) async fn touch_record(
        &self,
        id: SessionId,
        active: Timestamp,
        now: Timestamp,
    ) -> Result<Written, Error> {
        let cut = self.cut_now().await?;
        let condition = Condition::alive(cut, now).and("active_ms < :active");
        let values = condition.with(":active", item::time(active)).with(":ttl", item::ttl_base(active, now));
        let send = || {
            self.table
                .client
                .update_item()
                .table_name(&self.table.name)
                .set_key(Some(self.keys.session(id)))
                .update_expression(
                    "SET active_ms = :active, idle_end_ms = :active + idle_ms, #ttl = :ttl + idle_s",
                )
                .expression_attribute_names("#ttl", item::TTL)
                .condition_expression(values.expression())
                .set_expression_attribute_values(Some(values.values.clone()))
                .return_values_on_condition_check_failure(AllOld)
                .send()
        };
        // Twice comes to the same as once.
        let Err(error) = self.table.call(Effect::Repeatable, send).await? else { return Ok(Written::Stored) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let stored = failed.item().map(Stored::of).transpose()?;
                let is_alive = stored.is_some_and(|stored| stored.is_alive(cut, now));
                Ok(if is_alive { Written::Stored } else { Written::Gone })
            }
            _ => Err(self.table.failed(&error)),
        }
    }

    /// Puts an item under a condition, with what has to change along with it.
    async fn put(
        &self,
        item: Item,
        condition: Condition,
        along: Vec<TransactWriteItem>,
    ) -> Result<Attempt, Error> {
        let bytes = item::bytes_of(&item);
        if bytes > ITEM_BYTES_MAX {
            return Err(Error::too_large(format!(
                "the session takes {bytes} bytes, and DynamoDB keeps items of {ITEM_BYTES_MAX}: keep less in the session"
            )));
        }
        if along.is_empty() {
            self.put_alone(item, condition).await
        } else {
            self.put_with(item, condition, along).await
        }
    }

    async fn put_alone(&self, item: Item, condition: Condition) -> Result<Attempt, Error> {
        let send = || {
            self.table
                .client
                .put_item()
                .table_name(&self.table.name)
                .set_item(Some(item.clone()))
                .condition_expression(condition.expression())
                .set_expression_attribute_values(condition.values())
                .return_values_on_condition_check_failure(AllOld)
                .send()
        };
        let Err(error) = self.table.call(Effect::Once, send).await? else { return Ok(Attempt::Done) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Attempt::Refused(failed.item().cloned()))
            }
            _ => Err(self.table.failed(&error)),
        }
    }

    async fn put_with(
        &self,
        item: Item,
        condition: Condition,
        along: Vec<TransactWriteItem>,
    ) -> Result<Attempt, Error> {
        let put = Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(item))
            .condition_expression(condition.expression())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(AllOld)
            .build()
            .map_err(unbuilt)?;
        let mut items = vec![TransactWriteItem::builder().put(put).build()];
        items.extend(along);
        let Some(error) = self.table.transact(items).await? else { return Ok(Attempt::Done) };
        match reasons(&error).first() {
            Some(reason) if reason.code() == Some("ConditionalCheckFailed") => {
                Ok(Attempt::Refused(reason.item().cloned()))
            }
            _ => Err(self.table.failed(&error)),
        }
    }

    /// What has to change in the index when this record takes the place of what is there.
    fn index_changes(
        &self,
        prior: &Hint,
        record: &Record,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let mut changes = Vec::new();
        if let Some(before) = &prior.subject
            && record.subject.as_ref() != Some(before)
        {
            changes.push(self.entry_delete(before, record.id)?);
        }
        if let Some(subject) = &record.subject
            && *prior != Hint::from(record)
        {
            changes.push(self.entry_put(subject, record, now)?);
        }
        Ok(changes)
    }

    fn entry_put(
        &self,
        subject: &Subject,
        record: &Record,
        now: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let item = self.keys.entry_item(subject, record, now);
        let put = Put::builder().table_name(&self.table.name).set_item(Some(item)).build();
        Ok(TransactWriteItem::builder().put(put.map_err(unbuilt)?).build())
    }

    fn entry_delete(&self, subject: &Subject, id: SessionId) -> Result<TransactWriteItem, Error> {
        let key = self.keys.entry(subject, id);
        let delete = Delete::builder().table_name(&self.table.name).set_key(Some(key)).build();
        Ok(TransactWriteItem::builder().delete(delete.map_err(unbuilt)?).build())
    }
}

/// A condition of a write, and the values it names.
#[derive(Default)]
struct Condition {
    parts: Vec<&'static str>,
    values: HashMap<String, AttributeValue>,
}

impl Condition {
    /// A session is there and lives: a tombstone has no `idle_end_ms`.
    fn alive(cut: Timestamp, now: Timestamp) -> Self {
        Self::default()
            .and("idle_end_ms > :now")
            .and("end_ms > :now")
            .and("started_ms >= :cut")
            .with(":now", item::time(now))
            .with(":cut", item::time(cut))
    }

    fn version(self, version: Version) -> Self {
        self.and("version = :version").with(":version", item::number(version.write_id()))
    }

    fn subject(self, subject: Option<&Subject>) -> Self {
        match subject {
            Some(subject) => self.and("subject = :subject").with(":subject", item::text(subject.as_str())),
            None => self.and("attribute_not_exists(subject)"),
        }
    }

    fn and(mut self, part: &'static str) -> Self {
        self.parts.push(part);
        self
    }

    fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    fn expression(&self) -> String {
        self.parts.join(" AND ")
    }

    /// None where there are none: the service refuses an empty list.
    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// The parts of a change are made here, and complete.
pub(crate) fn unbuilt(error: BuildError) -> Error {
    Error::unavailable("a change for DynamoDB couldn't be put together", error)
}

fn disagrees(id: SessionId) -> Error {
    Error::corrupt(format!(
        "the item of session {id} contradicts itself: somebody else changed it; end the session by deleting the item"
    ))
}
