//! Entries of the index whose session is gone for good.
//!
//! An entry goes with its session where the session is ended. Where it expires there is nobody to do that, and DynamoDB
//! removes both in its own time, which may be days. Listings that come across such an entry before remove it.

use std::time::Duration;

use aws_sdk_dynamodb::types::{ConditionCheck, Delete, TransactWriteItem};
use cloakroom::{Error, SessionId, Subject, Timestamp};
use futures_util::future;

use crate::{
    DynamoDbStore,
    item::{self, Attributes as _, Item},
    write::unbuilt,
};

/// How long a session has to be gone: far longer than clocks differ and calls take, so to nobody it lives.
const GONE_FOR: Duration = Duration::from_secs(3_600);
/// So many entries a listing removes, at most.
const ENTRIES_MAX: usize = 16;

/// Whether nobody's clock lets this session live. What can't be read is left to people.
pub(crate) fn is_gone_for_good(item: Option<&Item>, cut: Timestamp, now: Timestamp) -> bool {
    let Some(item) = item else { return true };
    let is_past = |name| item.time(name).is_ok_and(|end| end + GONE_FOR <= now);
    is_past("idle_end_ms") || is_past("end_ms") || item.time("started_ms").is_ok_and(|started| started < cut)
}

impl DynamoDbStore {
    /// Removes entries of sessions that are gone for good, and of no others, whatever happens meanwhile. It is best
    /// effort: another listing will come across what is left.
    pub(crate) async fn heal(&self, subject: &Subject, ids: &[SessionId], cut: Timestamp, now: Timestamp) {
        let removals = ids.iter().take(ENTRIES_MAX).map(|id| self.remove_entry(subject, *id, cut, now));
        for answer in future::join_all(removals).await {
            if let Err(error) = answer {
                tracing::debug!(%error, "an entry of the index stays for now");
            }
        }
    }

    async fn remove_entry(
        &self,
        subject: &Subject,
        id: SessionId,
        cut: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let ago =
            Timestamp::from_millis(now.since(Timestamp::ZERO + GONE_FOR).as_millis().try_into().unwrap_or(0));
        let check = ConditionCheck::builder()
            .table_name(&self.table.name)
            .set_key(Some(self.keys.session(id)))
            .condition_expression(
                "attribute_not_exists(pk) OR idle_end_ms <= :ago OR end_ms <= :ago OR started_ms < :cut",
            )
            .expression_attribute_values(":ago", item::time(ago))
            .expression_attribute_values(":cut", item::time(cut))
            .build()
            .map_err(unbuilt)?;
        let delete =
            Delete::builder().table_name(&self.table.name).set_key(Some(self.keys.entry(subject, id)));
        let delete = delete.build().map_err(unbuilt)?;
        let items = vec![
            TransactWriteItem::builder().condition_check(check).build(),
            TransactWriteItem::builder().delete(delete).build(),
        ];
        self.table.transact(items).await?.map_err(|error| self.table.failed(&error))
    }
}
