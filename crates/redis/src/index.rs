//! The sessions of a subject: index entries, and the records that they lead to.
//!
//! An entry is a hint: it is written before its record, and what it leads to is looked at each time. Entries that lead to
//! nothing go, if they are old enough that no record can be on its way to them.

use std::time::Duration;

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp,
    store::{Loaded, Revocation, Summary, Tombstone, Written},
};
use futures_util::future;
use redis::Value;

use crate::{
    ENTRY_GOOD_MS, RedisStore, bytes,
    scripts::{CUT, Call, HEAL, NOTE},
    value::{self, TTL_MAX_MS, entry_id},
};

/// Entries that are looked up at a time, at least and at most.
const BATCH: (usize, usize) = (16, 512);

/// Twice as long as an entry is good for: the clocks of a cluster's nodes may differ by the other half.
const HEALED_AFTER_MS: u64 = 2 * ENTRY_GOOD_MS;

/// How long a revocation is remembered.
const NOTE_KEPT: Duration = Duration::from_secs(86_400);

/// How long the watermark of a shard is kept that holds no session. Those under way come much sooner, and keep it.
const WATERMARK_KEPT: Duration = Duration::from_secs(2 * 86_400);

/// What an index entry leads to.
enum Lead {
    Session(Box<Record>),
    /// Nothing, or somebody else's session.
    Astray,
    /// An id that no session will ever have again while it is remembered.
    Ended,
    /// A session that has expired by the lister's clock. A touch with an earlier time may be under way, and then it lives
    /// on; its entry must be there for it.
    Expired,
}

struct Entry {
    id: SessionId,
    bytes: Vec<u8>,
}

/// Entries in the order of their ids.
struct Page {
    entries: Vec<Entry>,
    /// Where the next page begins; none, if this is the last.
    next: Option<Vec<u8>>,
}

/// Where the first page begins.
const FIRST: &[u8] = b"-";

impl RedisStore {
    pub(crate) async fn list_some(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Summary>, Error> {
        let index = self.keys.index(subject);
        let (mut from, mut page) = (Some(after.map_or(FIRST.to_vec(), behind)), Vec::new());
        let mut asked = limit.clamp(BATCH.0, BATCH.1 / 4);
        while let Some(here) = from.filter(|_| page.len() < limit) {
            let Page { entries, next } = self.page(&index, here, asked).await?;
            from = next;
            for (_, lead) in self.followed(&index, entries, subject, now).await? {
                if let Lead::Session(record) = lead {
                    page.push(Summary::of(&record));
                }
            }
            // Where so many lead to nothing, more will.
            asked = (2 * asked).min(BATCH.1);
        }
        page.truncate(limit);
        Ok(page)
    }

    /// Notes the revocation first, and enumerates second: a login under way is found here, or finds the note.
    pub(crate) async fn end_all_of(
        &self,
        subject: &Subject,
        revocation: &Revocation,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error> {
        self.note(subject, revocation, now).await?;
        let index = self.keys.index(subject);
        let (mut from, mut all) = (Some(FIRST.to_vec()), Vec::new());
        while let Some(here) = from {
            let Page { entries, next } = self.page(&index, here, BATCH.1 / 4).await?;
            from = next;
            let ends = entries.iter().filter(|entry| Some(entry.id) != revocation.except).map(|entry| {
                let Revocation { at, reason, version, tombstones_expire, .. } = *revocation;
                let tombstone = Tombstone { id: entry.id, version, at, reason, expires: tombstones_expire };
                async move {
                    let written = self.end_one(&tombstone, None, Some(subject), now).await?;
                    Ok((written == Written::Stored).then_some(entry))
                }
            });
            let ended = future::join_all(ends).await.into_iter().collect::<Result<Vec<_>, Error>>()?;
            let ended: Vec<&Entry> = ended.into_iter().flatten().collect();
            all.extend(ended.iter().map(|entry| entry.id));
            self.heal(&index, 0, ended).await;
        }
        Ok(all)
    }

    async fn note(&self, subject: &Subject, revocation: &Revocation, now: Timestamp) -> Result<(), Error> {
        let (key, note) = (self.keys.note(subject), value::note(revocation));
        let ttl = value::ttl_ms(revocation.at + NOTE_KEPT, now).to_string();
        let call = Call { keys: &[&key], arguments: &[&note, ttl.as_bytes()] };
        self.link.script(&NOTE, &call).await.map(drop).map_err(|failure| self.error(failure))
    }

    pub(crate) async fn noted(&self, key: Vec<u8>, now: Timestamp) -> Result<Option<Revocation>, Error> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        let answer = self.link.call(&command).await.map_err(|failure| self.error(failure))?;
        let Some(note) = bytes(&answer.value) else { return Ok(None) };
        let revocation = value::revocation(note)?;
        Ok((revocation.at + NOTE_KEPT > now).then_some(revocation))
    }

    /// Raises the watermarks of all shards. It goes on if its caller doesn't wait: half of it would be worse than either.
    pub(crate) async fn cut(&self, instant: Timestamp) -> Result<(), Error> {
        let (keys, link) = (self.keys.watermarks(), self.link.clone());
        let raised = tokio::spawn(async move {
            let ttl = WATERMARK_KEPT.as_millis().to_string();
            let instant = value::time(instant);
            let arguments = [&instant[..], ttl.as_bytes()];
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            if !link.is_cluster() {
                return link.script(&CUT, &Call { keys: &keys, arguments: &arguments }).await.map(drop);
            }
            let cuts = keys.iter().map(async |key| {
                link.script(&CUT, &Call { keys: &[key], arguments: &arguments }).await.map(drop)
            });
            future::join_all(cuts).await.into_iter().collect()
        });
        let raised = raised.await.map_err(|error| Error::unavailable("the process is stopping", error))?;
        raised.map_err(|failure| self.error(failure))
    }

    async fn page(&self, index: &[u8], from: Vec<u8>, limit: usize) -> Result<Page, Error> {
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(index).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        let answer = self.link.call(&command).await.map_err(|failure| self.error(failure))?;
        let Value::Array(values) = answer.value else { return Err(self.strange()) };
        let is_last = values.len() < limit;
        let (mut entries, mut next) = (Vec::new(), None);
        for value in values {
            let Value::BulkString(bytes) = value else { return Err(self.strange()) };
            let Some(id) = entry_id(&bytes) else {
                // What others wrote into the index must not hide a user's sessions.
                tracing::warn!("left out of a list: an index entry that this version doesn't write");
                next = Some([b"(", &bytes[..]].concat());
                continue;
            };
            next = Some(behind(id));
            entries.push(Entry { id, bytes });
        }
        Ok(Page { entries, next: next.filter(|_| !is_last) })
    }

    /// What the entries lead to. Those that lead to nothing are healed on the way.
    async fn followed(
        &self,
        index: &[u8],
        entries: Vec<Entry>,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Vec<(Entry, Lead)>, Error> {
        let loads = entries.into_iter().map(async |entry| {
            let lead = match self.look_up(entry.id, now).await {
                Ok(Some(Loaded::Found(record))) if record.subject.as_ref() == Some(subject) => {
                    Lead::Session(Box::new(std::sync::Arc::unwrap_or_clone(record)))
                }
                Ok(Some(Loaded::Ended(_))) => Lead::Ended,
                Ok(Some(Loaded::Absent)) => Lead::Expired,
                Ok(Some(Loaded::Found(_)) | None) => Lead::Astray,
                Err(error) if error.is_corrupt() => {
                    // One damaged record must not hide a user's other sessions.
                    tracing::warn!(%error, id = %entry.id, "left out of a list");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            Ok(Some((entry, lead)))
        });
        let leads = future::join_all(loads).await.into_iter().collect::<Result<Vec<_>, Error>>()?;
        let leads: Vec<_> = leads.into_iter().flatten().collect();
        let those = |wanted: fn(&Lead) -> bool| {
            leads.iter().filter(move |(_, lead)| wanted(lead)).map(|(entry, _)| entry).collect()
        };
        self.heal(index, 0, those(|lead| matches!(lead, Lead::Ended))).await;
        self.heal(index, HEALED_AFTER_MS, those(|lead| matches!(lead, Lead::Astray))).await;
        Ok(leads)
    }

    /// Removes entries that are as old, and haven't been written anew since. Best effort: the next listing tries again.
    async fn heal(&self, index: &[u8], age_ms: u64, entries: Vec<&Entry>) {
        if entries.is_empty() {
            return;
        }
        let age = age_ms.min(TTL_MAX_MS).to_string();
        let arguments: Vec<&[u8]> =
            std::iter::once(age.as_bytes()).chain(entries.iter().map(|entry| &entry.bytes[..])).collect();
        if let Err(failure) = self.link.script(&HEAL, &Call { keys: &[index], arguments: &arguments }).await {
            tracing::debug!(?failure, "index entries that lead to nothing stay for now");
        }
    }
}

/// Behind every entry of this id: its times are 16 bytes.
fn behind(id: SessionId) -> Vec<u8> {
    [b"(", &id.as_bytes()[..], &[0xff; 17]].concat()
}
