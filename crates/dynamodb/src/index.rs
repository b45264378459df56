//! The index by subject, and the ends of many sessions at once.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, KeysAndAttributes},
};
use cloakroom::{
    Error, SessionId, Subject, Timestamp,
    store::{Revocation, Summary, Tombstone},
};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use crate::{
    DynamoDbStore,
    cut::{Look, Moment},
    heal::is_gone_for_good,
    item::{self, Attributes as _, Item, PK, SK},
    table::{Effect, pause},
};

/// As many items as one call may ask for.
const BATCH_MAX: usize = 100;
/// How many sessions of a subject are ended at once.
const ENDS_AT_ONCE: usize = 16;
/// How often the rest of a batch is asked for that was answered in part.
const PARTS_MAX: u32 = 12;

/// A page of the index, before it is known which of its sessions live.
struct Entries {
    ids: Vec<SessionId>,
    /// The key of the last one that was looked at; none, if there are no more.
    last: Option<String>,
}

impl DynamoDbStore {
    pub(crate) async fn list_sessions(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Summary>, Error> {
        let cut = self.cut_now().await?;
        let (mut listed, mut after) = (Vec::new(), Some(after.map_or_else(String::new, item::entry_sk)));
        while let Some(here) = after.filter(|_| listed.len() < limit) {
            let entries = self.entries(subject, &here, (limit - listed.len()).min(BATCH_MAX)).await?;
            after = entries.last;
            let mut items = self.sessions(&entries.ids).await?;
            let mut gone = Vec::new();
            for id in entries.ids {
                let item = items.remove(&id);
                if is_gone_for_good(item.as_ref(), cut, now) {
                    gone.push(id);
                }
                let Some(item) = item else { continue };
                match item::summary(id, &item, subject, cut, now) {
                    Ok(summary) => listed.extend(summary),
                    // It fails for its own session, and hides no other.
                    Err(error) => tracing::warn!(%error, "a session isn't listed"),
                }
            }
            self.heal(subject, &gone, cut, now).await;
        }
        Ok(listed)
    }

    /// The note comes first: a login in progress is either enumerated, or finds it.
    pub(crate) async fn end_sessions_of(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error> {
        self.note(subject, &revocation, now).await?;
        let Revocation { at, reason, version, tombstones_expire: expires, .. } = revocation;
        let (mut ended, mut after) = (Vec::new(), Some(String::new()));
        while let Some(here) = after {
            let entries = self.entries(subject, &here, BATCH_MAX).await?;
            after = entries.last;
            let ids = entries.ids.into_iter().filter(|id| Some(*id) != revocation.except);
            let ends = ids.map(|id| async move {
                let is_ended =
                    self.end_of(subject, Tombstone { id, version, at, reason, expires }, now).await?;
                Ok::<_, Error>(is_ended.then_some(id))
            });
            let ids: Vec<_> = stream::iter(ends).buffer_unordered(ENDS_AT_ONCE).try_collect().await?;
            ended.extend(ids.into_iter().flatten());
        }
        Ok(ended)
    }

    pub(crate) async fn noted_revocation(
        &self,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Option<Revocation>, Error> {
        let item = self.get(self.keys.revocation(subject)).await?;
        item.map_or(Ok(None), |item| item::revocation(&item, now))
    }

    /// Of two revocations the later one stays, in whichever order they arrive: it means the sessions of both.
    async fn note(&self, subject: &Subject, revocation: &Revocation, now: Timestamp) -> Result<(), Error> {
        let item = self.keys.revocation_item(subject, revocation, now);
        self.put_unless_later(item, "at_ms <= :time", revocation.at).await
    }

    /// Waits until no process can go by an earlier instant; where it is known for long that nobody does, not at all.
    pub(crate) async fn cut_at(&self, instant: Timestamp) -> Result<(), Error> {
        let mut item = self.keys.cut();
        item.insert("before_ms".into(), item::time(instant));
        self.put_unless_later(item, "before_ms <= :time", instant).await?;
        self.read_cut().await?;
        tokio::time::sleep(self.cut.wait_left()).await;
        Ok(())
    }

    /// Puts an item that tells of a time, unless what is there tells of a later one. Doing it twice does no harm.
    async fn put_unless_later(&self, item: Item, not_later: &str, time: Timestamp) -> Result<(), Error> {
        let send = || {
            self.table
                .client
                .put_item()
                .table_name(&self.table.name)
                .set_item(Some(item.clone()))
                .condition_expression(format!("attribute_not_exists(pk) OR {not_later}"))
                .expression_attribute_values(":time", item::time(time))
                .send()
        };
        let Err(error) = self.table.call(Effect::Repeatable, send).await? else { return Ok(()) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(()),
            _ => Err(self.table.failed(&error)),
        }
    }

    /// The instant before which all sessions have ended. It is only waited for if nothing was called for a while.
    pub(crate) async fn cut_now(&self) -> Result<Timestamp, Error> {
        match self.cut.known(Moment::now()) {
            Some(cut) => Ok(cut),
            None => self.read_cut().await,
        }
    }

    /// The same, beside something else that is awaited.
    pub(crate) async fn with_cut<T>(
        &self,
        other: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, Timestamp), Error> {
        match self.cut.look(Moment::now()) {
            Look::Certain(cut) => Ok((other.await?, cut)),
            // What is known suffices, so a failure to renew it is of no account yet.
            Look::Ageing(cut) => {
                let (answer, _) = future::join(other, self.read_cut()).await;
                Ok((answer?, cut))
            }
            Look::Unknown => future::try_join(other, self.read_cut()).await,
        }
    }

    async fn read_cut(&self) -> Result<Timestamp, Error> {
        let begun = Moment::now();
        let item = self.get(self.keys.cut()).await?;
        let instant = item.map_or(Ok(Timestamp::ZERO), |item| item.time("before_ms"))?;
        Ok(self.cut.learn(instant, begun))
    }

    /// An item, as it is now.
    pub(crate) async fn get(&self, key: Item) -> Result<Option<Item>, Error> {
        let send = || {
            self.table
                .client
                .get_item()
                .table_name(&self.table.name)
                .set_key(Some(key.clone()))
                .consistent_read(true)
                .send()
        };
        match self.table.call(Effect::Repeatable, send).await? {
            Ok(answer) => Ok(answer.item),
            Err(error) => Err(self.table.failed(&error)),
        }
    }

    /// Before every entry there is the empty text.
    async fn entries(&self, subject: &Subject, after: &str, limit: usize) -> Result<Entries, Error> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let condition = if after.is_empty() { "pk = :pk" } else { "pk = :pk AND sk > :after" };
        let send = || {
            let query = self
                .table
                .client
                .query()
                .table_name(&self.table.name)
                .consistent_read(true)
                .key_condition_expression(condition)
                .expression_attribute_values(":pk", AttributeValue::S(self.keys.subject(subject)))
                .limit(limit);
            let query = match after {
                "" => query,
                after => query.expression_attribute_values(":after", item::text(after)),
            };
            query.send()
        };
        let answer = match self.table.call(Effect::Repeatable, send).await? {
            Ok(answer) => answer,
            Err(error) => return Err(self.table.failed(&error)),
        };
        let readable = |item| match item::entry_id(item) {
            Ok(id) => Some(id),
            // What others wrote into the index must not hide a user's sessions.
            Err(error) => {
                tracing::warn!(%error, "an entry of the index is passed over");
                None
            }
        };
        let ids = answer.items().iter().filter_map(readable).collect();
        let last = answer.last_evaluated_key.as_ref().map(|key| key.text_of(SK).map(str::to_owned));
        Ok(Entries { ids, last: last.transpose()? })
    }

    /// What listings need of these sessions, at most [`BATCH_MAX`]; without those that aren't there.
    async fn sessions(&self, ids: &[SessionId]) -> Result<HashMap<SessionId, Item>, Error> {
        let by_pk: HashMap<_, _> = ids.iter().map(|id| (self.keys.session_pk(*id), *id)).collect();
        let mut keys: Vec<_> = ids.iter().map(|id| self.keys.session(*id)).collect();
        let mut found = HashMap::with_capacity(ids.len());
        for part in 0..PARTS_MAX {
            if keys.is_empty() {
                return Ok(found);
            }
            if part > 0 {
                pause(part).await;
            }
            let (items, left) = self.batch(keys).await?;
            keys = left;
            let id_of = |item: &Item| by_pk.get(item.text_of(PK).ok()?).copied();
            found.extend(items.into_iter().filter_map(|item| Some((id_of(&item)?, item))));
        }
        Err(Error::unavailable(
            format!(
                "the DynamoDB table {} is used faster than it may be: raise its capacity or limits",
                self.table.name
            ),
            "parts of a batch were put off again and again",
        ))
    }

    /// Items with these keys, and the keys that were put off.
    pub(crate) async fn batch(&self, keys: Vec<Item>) -> Result<(Vec<Item>, Vec<Item>), Error> {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .projection_expression(item::SUMMARY)
            .build()
            .map_err(|error| Error::unavailable("a batch for DynamoDB couldn't be put together", error))?;
        let send =
            || self.table.client.batch_get_item().request_items(&self.table.name, wanted.clone()).send();
        match self.table.call(Effect::Repeatable, send).await? {
            Ok(answer) => {
                let left = answer.unprocessed_keys.unwrap_or_default().remove(&self.table.name);
                let items = answer.responses.unwrap_or_default().remove(&self.table.name);
                Ok((items.unwrap_or_default(), left.map(|left| left.keys).unwrap_or_default()))
            }
            Err(error) => Err(self.table.failed(&error)),
        }
    }
}
