//! The revocation list in a store.
//!
//! It is a log in segments, each a record of the store. New entries are appended to the head, by compare-and-swap; a
//! full head is copied to an archive record of its own first, and then begun anew. So a node that has the list needs
//! one load to learn that nothing was added, and the same load to learn what was.
//!
//! The head names the list by a random number that sealed cookies carry. If the head is lost, for its store restarted
//! without its data, another list begins under another number, and cookies of the lost one are refused. Each segment
//! says until when the one before it must be there: so a lost one is told from one that has expired.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use cloakroom::{
    Data, Error, SessionId, Timestamp, Version, carrier,
    clock::{Entropy as _, OsEntropy},
    store::{Answer, Loaded, Store, Watch, Written},
};
use serde::{Deserialize, Serialize};

use crate::{list::Entry, settings::ListSettings};

/// Browsers keep no cookie longer, and so no list needs to live longer without a change.
const HEAD_LIFETIME: Duration = Duration::from_secs(400 * 86_400);

/// How much longer than it must an archived segment is kept, so that no node whose clock is behind misses it.
const ARCHIVE_SLACK: Duration = Duration::from_secs(3_600);

/// What is stored: the head, or an archived part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) list: u64,
    pub(crate) number: u32,
    /// The first that still says something.
    pub(crate) first: u32,
    /// How many entries all segments before this one had.
    pub(crate) offset: u64,
    /// Until when the segment before this one must be there. It never falls from one segment to the next.
    pub(crate) previous_until: u64,
    /// Sessions that began before this instant are refused.
    pub(crate) before: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Segment {
    /// How many entries the list has had with this segment.
    pub(crate) fn count(&self) -> u64 {
        self.offset + self.entries.len() as u64
    }

    /// Until when this one must be there.
    pub(crate) fn until(&self) -> Timestamp {
        let until = self.entries.iter().map(Entry::until).max().unwrap_or(Timestamp::ZERO);
        until.max(Timestamp::from_millis(self.previous_until))
    }
}

/// The head as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) version: Version,
    pub(crate) segment: Segment,
    end: Timestamp,
}

/// What an append makes room by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// The first segment that still says something.
    pub(crate) first: u32,
    /// Sessions that began before this instant are refused.
    pub(crate) before: Timestamp,
}

/// The list's store.
pub(crate) struct Log {
    store: Box<dyn Store>,
    head_id: SessionId,
    segment_entries: usize,
}

impl Log {
    pub(crate) fn new(store: Box<dyn Store>, settings: &ListSettings) -> Self {
        // Session ids are random, so none is ever this one.
        let mut id = [0; 16];
        let name = format!("cloakroom/revocation-list/1/{}", settings.name);
        id.copy_from_slice(&digest(&SHA256, name.as_bytes()).as_ref()[..16]);
        Self { store, head_id: SessionId::from_bytes(id), segment_entries: settings.segment_entries() }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// News of changes to the head, where the store pushes them.
    pub(crate) fn watch(&self) -> Option<Watch> {
        self.store.watch(self.head_id)
    }

    pub(crate) fn segment_entries(&self) -> usize {
        self.segment_entries
    }

    /// The head. A list is begun where there is none.
    pub(crate) async fn head(&self, now: Timestamp) -> Result<Head, Error> {
        if let Some(head) = self.find_head(now).await? {
            return Ok(head);
        }
        let (head, record) = self.written(self.head_id, Segment::new(random()?), now, now + HEAD_LIFETIME)?;
        match self.store.create(record, now).await? {
            Written::Stored => Ok(head),
            // Another node was first.
            Written::Conflict | Written::Gone => self.find_head(now).await?.ok_or_else(vanished),
        }
    }

    async fn find_head(&self, now: Timestamp) -> Result<Option<Head>, Error> {
        match self.store.load(self.head_id, now).await? {
            Loaded::Found(record) => {
                let segment = read(&record.data)?;
                Ok(Some(Head { version: record.version, segment, end: record.times.end }))
            }
            Loaded::Absent | Loaded::Ended(_) => Ok(None),
        }
    }

    /// An archived segment; none if it has expired, or was lost.
    pub(crate) async fn archived(
        &self,
        list: u64,
        number: u32,
        now: Timestamp,
    ) -> Result<Option<Segment>, Error> {
        match self.store.load(archive(list, number), now).await? {
            Loaded::Found(record) => read(&record.data).map(Some),
            Loaded::Absent | Loaded::Ended(_) => Ok(None),
        }
    }

    /// Puts another list in the place of one that lost entries, unless another node does so first.
    pub(crate) async fn begin_anew(&self, lost: &Head, now: Timestamp) -> Result<(), Error> {
        self.replace(lost, Segment::new(random()?), now).await.map(|_| ())
    }

    /// Appends entries to this head, unless it was changed meanwhile. When this answers, whoever loads the head sees
    /// them.
    pub(crate) async fn append(
        &self,
        head: &Head,
        entries: Vec<Entry>,
        room: Room,
        now: Timestamp,
    ) -> Result<Option<Head>, Error> {
        let mut segment = head.segment.clone();
        segment.first = segment.first.max(room.first.min(segment.number));
        segment.before = segment.before.max(room.before.as_millis());
        if segment.entries.len() + entries.len() > self.segment_entries && !segment.entries.is_empty() {
            let until = segment.until();
            self.archive(&segment, until, now).await?;
            segment.offset = segment.count();
            segment.number += 1;
            segment.previous_until = until.as_millis();
            segment.entries.clear();
        }
        segment.entries.extend(entries);
        self.replace(head, segment, now).await
    }

    /// Keeps the head from expiring. Whether another node changes it meanwhile is of no account.
    pub(crate) async fn keep(&self, head: &Head, now: Timestamp) -> Result<(), Error> {
        if head.end.since(now) < HEAD_LIFETIME - Duration::from_secs(86_400) {
            self.replace(head, head.segment.clone(), now).await?;
        }
        Ok(())
    }

    pub(crate) fn close(&self) -> Answer<'_, ()> {
        self.store.close()
    }

    async fn replace(&self, head: &Head, segment: Segment, now: Timestamp) -> Result<Option<Head>, Error> {
        let (new, record) = self.written(self.head_id, segment, now, now + HEAD_LIFETIME)?;
        match self.store.replace(record, head.version, now).await? {
            Written::Stored => Ok(Some(new)),
            Written::Conflict | Written::Gone => Ok(None),
        }
    }

    /// Another node may have archived this segment already, and stopped before it began the head anew: then there may be
    /// more entries by now.
    async fn archive(&self, segment: &Segment, until: Timestamp, now: Timestamp) -> Result<(), Error> {
        let id = archive(segment.list, segment.number);
        let (_, record) = self.written(id, segment.clone(), now, until.max(now) + ARCHIVE_SLACK)?;
        loop {
            if self.store.create(Arc::clone(&record), now).await? == Written::Stored {
                return Ok(());
            }
            let Loaded::Found(found) = self.store.load(id, now).await? else { return Err(vanished()) };
            let has_all = read(&found.data)?.entries.starts_with(&segment.entries);
            if has_all
                || self.store.replace(Arc::clone(&record), found.version, now).await? == Written::Stored
            {
                return Ok(());
            }
        }
    }

    fn written(
        &self,
        id: SessionId,
        segment: Segment,
        now: Timestamp,
        end: Timestamp,
    ) -> Result<(Head, Arc<cloakroom::Record>), Error> {
        let version = Version::from_write_id(random()?);
        let json = serde_json::to_string(&Stored { list: &segment })
            .map_err(|error| Error::corrupt(format!("the revocation list can't be written: {error}")))?;
        let record = carrier::note(id, version, Data::from_json(&json)?, now, end);
        Ok((Head { version, segment, end }, Arc::new(record)))
    }
}

impl Segment {
    fn new(list: u64) -> Self {
        Self {
            list: list.max(1),
            number: 0,
            first: 0,
            offset: 0,
            previous_until: 0,
            before: 0,
            entries: Vec::new(),
        }
    }
}

/// Straight from the operating system: two copies of a machine that was stopped and started twice mustn't draw the same.
pub(crate) fn random() -> Result<u64, Error> {
    let mut bytes = [0; 16];
    OsEntropy.fill(&mut bytes)?;
    let [a, b, c, d, e, f, g, h, ..] = bytes;
    Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

fn archive(list: u64, number: u32) -> SessionId {
    let mut id = *b"crv.\0\0\0\0\0\0\0\0\0\0\0\0";
    id[4..12].copy_from_slice(&list.to_be_bytes());
    id[12..].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(id)
}

/// For people who read the store: an object with one entry.
#[derive(Serialize)]
struct Stored<'a> {
    list: &'a Segment,
}

fn read(data: &Data) -> Result<Segment, Error> {
    let wrong = || {
        Error::corrupt(
            "the revocation list in the store is none: another program wrote it, or a newer version",
        )
    };
    let json = data.get("list").ok_or_else(wrong)?;
    serde_json::from_slice(json).map_err(|_| wrong())
}

fn vanished() -> Error {
    Error::unavailable(
        "the revocation list can't be kept in its store",
        "what was stored a moment ago is gone",
    )
}
