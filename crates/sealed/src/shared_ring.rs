//! A key ring in a store that the fleet shares, sealed under a ring that each node is given.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use cloakroom::{
    Data, Error, Record, SessionId, Timestamp, Version, carrier,
    clock::{Clock, Entropy as _, OsEntropy, SystemClock},
    keyring::{KeyRing, LiveRing, RingSource, fresh_key},
    store::{Answer, Loaded, Store, Written},
};

use crate::{
    Sealer,
    seal::{LONG_VALUE_BYTES_MAX, Rejected},
};

/// A key ring that a fleet shares through a store, so that all nodes rotate together.
///
/// It is sealed under another ring, the *outer* one, which each node has from a file or its environment: the store never
/// holds a key that opens anything by itself. The outer ring changes rarely, and by hand.
///
/// ```
/// # async fn example(outer: cloakroom::keyring::KeyRing) -> Result<(), cloakroom::Error> {
/// use cloakroom::{MemoryStore, keyring::{LiveRing, Schedule}};
/// use cloakroom_sealed::SharedRing;
/// use std::time::Duration;
///
/// let shared = SharedRing::new(Box::new(MemoryStore::new()), outer)?;
/// shared.create().await?; // Once, for the whole fleet.
/// let ring = LiveRing::open(shared).await?;
/// ring.follow(Duration::from_secs(10));
/// ring.rotate(Schedule::for_lifetime(Duration::from_secs(24 * 3600))?);
/// # Ok(())
/// # }
/// ```
pub struct SharedRing {
    store: Box<dyn Store>,
    outer: LiveRing,
    id: SessionId,
    /// What the seal is for, in the place of a cookie's name: one ring can't be put into another's place.
    seal_name: Box<str>,
}

/// Where the ring without a name is. Session ids are random, so none is ever this one.
const ID: SessionId = SessionId::from_bytes(*b"cloakroom.keyrng");

const NAME: &str = "key ring";
const PURPOSE: &str = "shared ring";

/// Every change begins it anew, and a ring changes each month.
const LIFETIME: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 24 * 3600);

impl SharedRing {
    /// The ring in this store, which need not be there yet.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] for a store that may forget what it acknowledged, as Memcached does.
    pub fn new(store: Box<dyn Store>, outer: impl Into<LiveRing>) -> Result<Self, Error> {
        if store.index().is_none() {
            return Err(Error::unsupported(format!(
                "the {} store can't hold the key ring: it may forget it, and every session with it; choose one that can \
                 list a subject's sessions",
                store.kind()
            )));
        }
        Ok(Self { store, outer: outer.into(), id: ID, seal_name: NAME.into() })
    }

    /// Another ring in the same store, for another application.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        let mut id = [0; 16];
        let text = format!("cloakroom/key-ring/1/{name}");
        id.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..16]);
        self.id = SessionId::from_bytes(id);
        self.seal_name = format!("{NAME} {name}").into();
        self
    }

    /// Makes a ring of one fresh key, unless there is one. Answers the one that is kept.
    ///
    /// # Errors
    /// As [`RingSource::load`]; [`Error::is_entropy`] if there are no random bytes.
    pub async fn create(&self) -> Result<KeyRing, Error> {
        match self.create_new().await? {
            Some(ring) => Ok(ring),
            None => self.read().await.map(|(ring, _)| ring),
        }
    }

    /// As [`SharedRing::create`]; `None` if there is a ring already, which is left as it is.
    ///
    /// # Errors
    /// [`Error::is_entropy`] if there are no random bytes; otherwise what the store answers.
    pub async fn create_new(&self) -> Result<Option<KeyRing>, Error> {
        let now = SystemClock.now();
        let (id, material) = fresh_key(&OsEntropy)?;
        let ring = KeyRing::new(id, material, now)?;
        let written = self.store.create(self.record(&ring, now)?, now).await?;
        Ok((written == Written::Stored).then_some(ring))
    }

    /// Whether the store holds a ring, be it one that this node's outer ring doesn't open.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn exists(&self) -> Result<bool, Error> {
        Ok(matches!(self.store.load(self.id, SystemClock.now()).await?, Loaded::Found(_)))
    }

    async fn read(&self) -> Result<(KeyRing, Version), Error> {
        let Loaded::Found(record) = self.store.load(self.id, SystemClock.now()).await? else {
            return Err(Error::invalid(
                "the store holds no key ring: make one, once for the whole fleet, with `cloakroom keys new` or \
                 `SharedRing::create`",
            ));
        };
        let damaged = || Error::corrupt("the store's key ring isn't as it was written");
        let json: serde_json::Value = serde_json::from_str(&record.data.to_json()).map_err(|_| damaged())?;
        let sealed = json.get("ring").and_then(serde_json::Value::as_str).ok_or_else(damaged)?;
        let text = self.sealer()?.open(sealed.as_bytes()).map_err(|rejected| match rejected {
            Rejected::UnknownKey(id) => Error::invalid(format!(
                "the store's key ring is sealed under the key {id}, which this node's outer ring doesn't have: give it the \
                 ring that the other nodes have"
            )),
            Rejected::Malformed | Rejected::BadSeal => damaged(),
        })?;
        let ring = KeyRing::parse(str::from_utf8(&text).map_err(|_| damaged())?)?;
        Ok((ring, record.version))
    }

    async fn write(&self, expected: &KeyRing, ring: &KeyRing) -> Result<bool, Error> {
        let (kept, version) = self.read().await?;
        if !kept.is_same(expected) {
            return Ok(false);
        }
        let now = SystemClock.now();
        Ok(self.store.replace(self.record(ring, now)?, version, now).await? == Written::Stored)
    }

    fn record(&self, ring: &KeyRing, now: Timestamp) -> Result<Arc<Record>, Error> {
        let (mut salt, mut write_id) = ([0; 24], [0; 8]);
        OsEntropy.fill(&mut salt)?;
        OsEntropy.fill(&mut write_id)?;
        let sealed = self.sealer()?.seal(ring.expose().as_bytes(), &salt)?;
        let data = Data::from_json(&serde_json::json!({ "ring": sealed }).to_string())?;
        let version = Version::from_write_id(u64::from_le_bytes(write_id));
        Ok(Arc::new(carrier::note(self.id, version, data, now, now + LIFETIME)))
    }

    fn sealer(&self) -> Result<Sealer, Error> {
        Ok(Sealer::new(self.outer.now(), &self.seal_name, PURPOSE)?.up_to(LONG_VALUE_BYTES_MAX))
    }
}

impl RingSource for SharedRing {
    fn load(&self) -> Answer<'_, KeyRing> {
        Answer::later(async { self.read().await.map(|(ring, _)| ring) })
    }

    fn replace(&self, expected: &KeyRing, ring: &KeyRing) -> Answer<'_, bool> {
        let (expected, ring) = (expected.clone(), ring.clone());
        Answer::later(async move { self.write(&expected, &ring).await })
    }
}

impl std::fmt::Debug for SharedRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedRing").field("store", &self.store.kind()).field("outer", &self.outer).finish()
    }
}
