//! The revocation list in a store.
//!
//! It is a log in segments, each a record of the store. New entries are appended to the head, by compare-and-swap; a
//! full head is copied to an archive record of its own first, and then begun anew. So a node that has the list needs
//! one load to learn that nothing was added, and the same load to learn what was.
//!
//! The head names the list by a random number that sealed cookies carry. If the head is lost, for its store restarted
//! without its data, another list begins under another number, and cookies of the lost one are refused.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Data, Error, SessionId, Timestamp, Version, carrier,
    store::{Answer, Loaded, Store, Written},
};
use serde::{Deserialize, Serialize};

use crate::list::Entry;

/// How many entries make a segment full. A head is loaded again and again, so it is kept small.
const SEGMENT_ENTRIES_MAX: usize = 64;

/// Browsers keep no cookie longer, and so no list needs to live longer without a change.
const HEAD_LIFETIME: Duration = Duration::from_secs(400 * 86_400);

/// What is stored: the head, or an archived part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) list: u64,
    pub(crate) number: u32,
    /// The first that still says something.
    pub(crate) first: u32,
    pub(crate) entries: Vec<Entry>,
}

/// The head as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) version: Version,
    pub(crate) segment: Segment,
    end: Timestamp,
}

/// The list's store.
pub(crate) struct Log {
    store: Box<dyn Store>,
    entropy: fn(&mut [u8]) -> Result<(), Error>,
}

impl Log {
    pub(crate) fn new(store: Box<dyn Store>, entropy: fn(&mut [u8]) -> Result<(), Error>) -> Self {
        Self { store, entropy }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The head, if there is one.
    pub(crate) async fn head(&self, now: Timestamp) -> Result<Option<Head>, Error> {
        match self.store.load(HEAD, now).await? {
            Loaded::Found(record) => {
                let segment = read(&record.data)?;
                Ok(Some(Head { version: record.version, segment, end: record.times.end }))
            }
            Loaded::Absent | Loaded::Ended(_) => Ok(None),
        }
    }

    /// An archived segment; none if all of its entries are about cookies that have expired.
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

    /// Begins a list, unless another node does so first. Answers its head.
    pub(crate) async fn begin(&self, now: Timestamp) -> Result<Head, Error> {
        let segment = Segment { list: self.random()?.max(1), number: 0, first: 0, entries: Vec::new() };
        let head = self.written(HEAD, segment, now, now + HEAD_LIFETIME)?;
        match self.store.create(Arc::clone(&head.1), now).await? {
            Written::Stored => Ok(head.0),
            Written::Conflict | Written::Gone => self.head(now).await?.ok_or_else(vanished),
        }
    }

    /// Appends entries to this head, unless it was changed meanwhile. When this answers, whoever loads the head sees
    /// them. `first` is the first segment that still says something.
    pub(crate) async fn append(
        &self,
        head: &Head,
        entries: &[Entry],
        first: u32,
        now: Timestamp,
    ) -> Result<Option<Head>, Error> {
        let mut segment = head.segment.clone();
        segment.first = segment.first.max(first.min(segment.number));
        if segment.entries.len() + entries.len() > SEGMENT_ENTRIES_MAX && !segment.entries.is_empty() {
            self.archive(&segment, now).await?;
            segment.number += 1;
            segment.entries.clear();
        }
        segment.entries.extend_from_slice(entries);
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

    pub(crate) fn random(&self) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        (self.entropy)(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    async fn replace(&self, head: &Head, segment: Segment, now: Timestamp) -> Result<Option<Head>, Error> {
        let (new, record) = self.written(HEAD, segment, now, now + HEAD_LIFETIME)?;
        match self.store.replace(record, head.version, now).await? {
            Written::Stored => Ok(Some(new)),
            Written::Conflict | Written::Gone => Ok(None),
        }
    }

    /// Another node may have archived this segment already, and stopped before it began the head anew: then there may be
    /// more entries by now.
    async fn archive(&self, segment: &Segment, now: Timestamp) -> Result<(), Error> {
        let until = segment.entries.iter().map(Entry::until).max().unwrap_or(now);
        let until = until.min(now + HEAD_LIFETIME);
        let id = archive(segment.list, segment.number);
        let (_, record) = self.written(id, segment.clone(), now, until)?;
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
        let version = Version::from_write_id(self.random()?);
        let json = serde_json::to_string(&Stored { list: &segment })
            .map_err(|error| Error::corrupt(format!("the revocation list can't be written: {error}")))?;
        let record = carrier::note(id, version, Data::from_json(&json)?, now, end);
        Ok((Head { version, segment, end }, Arc::new(record)))
    }
}

/// Session ids are random, so none is ever one of these.
const HEAD: SessionId = SessionId::from_bytes(*b"cloakroom.revoke");

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
