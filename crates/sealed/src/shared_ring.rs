//! A key ring in a store that the fleet shares, sealed under a ring that each node is given.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use cloakroom::{
    Data, Error, Record, SessionId, Timestamp, Version, carrier,
    clock::{Clock, Entropy as _, OsEntropy, SystemClock},
    keyring::{self, KeyId, KeyRing, LiveRing, RingSource, fresh_key},
    store::{Answer, Finding, Loaded, Store, Written},
};
use parking_lot::Mutex;

use crate::{
    Sealer,
    history::History,
    log::random,
    seal::{LONG_VALUE_BYTES_MAX, Rejected},
};

/// A key ring that a fleet shares through a store, so that all nodes rotate together.
///
/// It is sealed under another ring, the *outer* one, which each node has from a file or its environment: the store never
/// holds a key that opens anything by itself. The outer ring changes rarely, and by hand; a while after that the first node
/// that reads the ring seals it anew.
///
/// Who can write the store can put the ring back to an earlier state, or another in its place; a store that fails over may
/// lose a change. Whoever has read the ring takes only what came of that by changes, and puts it back where the store is
/// behind: a key that was removed never opens again for it.
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
    /// What was read or kept last.
    seen: Mutex<Option<Arc<State>>>,
    is_read_only: bool,
}

/// A ring, and what it came of.
struct State {
    ring: KeyRing,
    history: History,
}

/// A ring as the store has it.
struct Kept {
    state: Arc<State>,
    version: Version,
    sealed_under: KeyId,
}

/// How long the outer ring's primary has been so before the ring is sealed under it: by then each node has it, be it that
/// its copy of the outer ring came late.
const RESEAL_AFTER: Duration = Duration::from_secs(600);

/// Where the ring without a name is. Session ids are random, so none is ever this one.
const ID: SessionId = SessionId::from_bytes(*b"cloakroom.keyrng");

const NAME: &str = "key ring";
const PURPOSE: &str = "shared ring";

/// Every change begins it anew, and a ring changes each month.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
        Ok(Self {
            store,
            outer: outer.into(),
            id: ID,
            seal_name: NAME.into(),
            seen: Mutex::new(None),
            is_read_only: false,
        })
    }

    /// Another ring in the same store, for another application. A name is 1 to 64 letters, digits, dots, dashes and
    /// underscores.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for what is no name.
    pub fn named(mut self, name: &str) -> Result<Self, Error> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_fine) {
            return Err(Error::invalid(
                "a key ring's name is 1 to 64 letters, digits, dots, dashes and underscores",
            ));
        }
        let mut id = [0; 16];
        let text = format!("cloakroom/key-ring/1/{name}");
        id.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..16]);
        self.id = SessionId::from_bytes(id);
        self.seal_name = format!("{NAME} {name}").into();
        Ok(self)
    }

    /// The same for who only looks: reading the ring never seals it anew.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { is_read_only: true, ..self }
    }

    /// Makes a ring of one fresh key, unless there is one. Answers the one that is kept.
    ///
    /// # Errors
    /// As [`RingSource::load`]; [`Error::is_entropy`] if there are no random bytes.
    pub async fn create(&self) -> Result<KeyRing, Error> {
        match self.create_new().await? {
            Some(ring) => Ok(ring),
            None => self.read().await.map(|kept| kept.state.ring.clone()),
        }
    }

    /// As [`SharedRing::create`]; `None` if there is a ring already, which is left as it is.
    ///
    /// # Errors
    /// [`Error::is_entropy`] if there are no random bytes; otherwise what the store answers.
    pub async fn create_new(&self) -> Result<Option<KeyRing>, Error> {
        let now = SystemClock.now();
        let (id, material) = fresh_key(&OsEntropy)?;
        let (ring, history) = (KeyRing::new(id, material, now)?, History::default().followed_by(random()?));
        let state = State { ring, history };
        let written = self.store.create(self.record(&state, now)?, now).await?;
        Ok((written == Written::Stored).then_some(state.ring))
    }

    /// Whether the store holds a ring, be it one that this node's outer ring doesn't open.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn exists(&self) -> Result<bool, Error> {
        Ok(matches!(self.store.load(self.id, SystemClock.now()).await?, Loaded::Found(_)))
    }

    /// The key of the outer ring that the ring is sealed under. Until that is another, the key is needed.
    ///
    /// # Errors
    /// As [`RingSource::load`].
    pub async fn sealed_under(&self) -> Result<KeyId, Error> {
        self.read().await.map(|kept| kept.sealed_under)
    }

    /// What is wrong, or could go wrong, with the store that the ring is in.
    ///
    /// # Errors
    /// As [`Store::diagnose`].
    pub async fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        self.store.diagnose(SystemClock.now()).await
    }

    async fn read(&self) -> Result<Kept, Error> {
        let mut kept = self.read_any().await?;
        let seen = self.seen.lock().clone();
        if let Some(seen) = seen.filter(|seen| !kept.state.history.came_of(&seen.history)) {
            kept = self.put_back(&seen, kept).await?;
        }
        *self.seen.lock() = Some(Arc::clone(&kept.state));
        Ok(kept)
    }

    /// The store has another ring than what came of the one that was seen last. If that is an earlier state, a change was lost
    /// or taken back, and it is made again. Anything else is refused: who can write the store could otherwise bring back a key
    /// that was given away and removed.
    async fn put_back(&self, seen: &Arc<State>, there: Kept) -> Result<Kept, Error> {
        let refused = || {
            Error::corrupt(
                "the store's key ring went back to an earlier state, or is another one, and this node goes on with the one \
                 that it has: put the later one back, or stop all nodes and start them if that was meant",
            )
        };
        if self.is_read_only || !seen.history.came_of(&there.state.history) {
            return Err(refused());
        }
        let now = SystemClock.now();
        let record = self.record(seen, now)?;
        let version = record.version;
        if self.store.replace(record, there.version, now).await? != Written::Stored {
            return Err(refused());
        }
        tracing::warn!(
            target: "cloakroom",
            "the store's key ring had gone back to an earlier state: it is as this node knows it again"
        );
        Ok(Kept { state: Arc::clone(seen), version, sealed_under: self.outer.now().primary().id() })
    }

    async fn read_any(&self) -> Result<Kept, Error> {
        let Loaded::Found(record) = self.store.load(self.id, SystemClock.now()).await? else {
            return Err(Error::invalid(
                "the store holds no key ring: make one, once for the whole fleet, with `cloakroom keys new` or \
                 `SharedRing::create`",
            ));
        };
        let damaged = || Error::corrupt("the store's key ring isn't as it was written");
        let json: serde_json::Value = serde_json::from_str(&record.data.to_json()).map_err(|_| damaged())?;
        let sealed = json.get("ring").and_then(serde_json::Value::as_str).ok_or_else(damaged)?.as_bytes();
        let sealed_under = Sealer::key_of(sealed).ok_or_else(damaged)?;
        let mut opened = self.sealer()?.open(sealed);
        // It may have been sealed under a key that the outer ring has had for less time than between two looks at it.
        if matches!(opened, Err(Rejected::UnknownKey(_))) && matches!(self.outer.refresh().await, Ok(true)) {
            opened = self.sealer()?.open(sealed);
        }
        let text = opened.map_err(|rejected| match rejected {
            Rejected::UnknownKey(id) => Error::invalid(format!(
                "the store's key ring is sealed under the key {id}, which this node's outer ring doesn't have: give it the \
                 ring that the other nodes have"
            )),
            Rejected::Malformed | Rejected::BadSeal => damaged(),
        })?;
        let text = str::from_utf8(&text).map_err(|_| damaged())?;
        let (history, ring) = History::split(text).ok_or_else(damaged)?;
        let state = Arc::new(State { ring: KeyRing::parse(ring)?, history });
        Ok(Kept { state, version: record.version, sealed_under })
    }

    async fn write(&self, expected: &KeyRing, ring: &KeyRing) -> Result<bool, Error> {
        let kept = self.read().await?;
        if !kept.state.ring.is_same(expected) {
            return Ok(false);
        }
        let (now, history) = (SystemClock.now(), kept.state.history.followed_by(random()?));
        let state = Arc::new(State { ring: ring.clone(), history });
        let written = self.store.replace(self.record(&state, now)?, kept.version, now).await?;
        if written == Written::Stored {
            *self.seen.lock() = Some(state);
        }
        Ok(written == Written::Stored)
    }

    async fn load_and_reseal(&self) -> Result<KeyRing, Error> {
        let kept = self.read().await?;
        if !self.is_read_only
            && self.is_reseal_due(kept.sealed_under)
            && let Err(error) = self.reseal(&kept).await
        {
            tracing::warn!(
                target: "cloakroom",
                "the key ring couldn't be sealed under the outer ring's new key: {error}"
            );
        }
        Ok(kept.state.ring.clone())
    }

    /// Whether the outer ring's primary took the place of the key that the ring is sealed under. A node whose copy of the
    /// outer ring is behind has that key as the pending one, and leaves the seal to the others.
    fn is_reseal_due(&self, sealed_under: KeyId) -> bool {
        let outer = self.outer.now();
        let is_retiring = outer.key(sealed_under).is_some_and(|key| key.state() == keyring::State::Retiring);
        is_retiring && outer.primary().since() + RESEAL_AFTER <= SystemClock.now()
    }

    /// The same ring under the other key, unless somebody else changed it: then it is sealed anew.
    async fn reseal(&self, kept: &Kept) -> Result<(), Error> {
        let now = SystemClock.now();
        let record = self.record(&kept.state, now)?;
        if self.store.replace(record, kept.version, now).await? == Written::Stored {
            tracing::info!(target: "cloakroom", "the key ring is sealed under the outer ring's new key");
        }
        Ok(())
    }

    fn record(&self, state: &State, now: Timestamp) -> Result<Arc<Record>, Error> {
        let (mut salt, mut write_id) = ([0; 24], [0; 8]);
        OsEntropy.fill(&mut salt)?;
        OsEntropy.fill(&mut write_id)?;
        let text = format!("{}\n{}", state.history, state.ring.expose());
        let sealed = self.sealer()?.seal(text.as_bytes(), &salt)?;
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
        Answer::later(self.load_and_reseal())
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
