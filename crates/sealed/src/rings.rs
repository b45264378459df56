//! The state of the key ring that a node seals with.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cloakroom::{Error, Timestamp, keyring::KeyRing};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::Sealer;

/// What seals are for: a cookie of another purpose is none.
const PURPOSE: &str = "session";

/// A ring that was looked at so long ago may be behind the one that another node has.
const CURRENT_FOR: Duration = Duration::from_secs(10);

/// The ring in use, and whether it may be behind that of other nodes.
#[derive(Debug)]
pub struct Rings {
    ring: RwLock<Arc<KeyRing>>,
    cookie_name: OnceLock<Box<str>>,
    sealer: RwLock<Option<Arc<Sealer>>>,
    /// Whether somebody looks after the ring: one that never changes can't be behind.
    is_kept: AtomicBool,
    confirmed_ms: AtomicU64,
    asked: Notify,
}

impl Rings {
    pub(crate) fn new(ring: KeyRing) -> Self {
        Self {
            ring: RwLock::new(Arc::new(ring)),
            cookie_name: OnceLock::new(),
            sealer: RwLock::new(None),
            is_kept: AtomicBool::new(false),
            confirmed_ms: AtomicU64::new(0),
            asked: Notify::new(),
        }
    }

    pub(crate) fn bind(&self, cookie_name: &str) -> Result<(), Error> {
        // Refused by whoever asks to be bound twice.
        let _ = self.cookie_name.set(cookie_name.into());
        self.renew()
    }

    pub(crate) fn replace(&self, ring: KeyRing) -> Result<(), Error> {
        *self.ring.write() = Arc::new(ring);
        self.renew()
    }

    fn renew(&self) -> Result<(), Error> {
        let Some(cookie_name) = self.cookie_name.get() else { return Ok(()) };
        let sealer = Sealer::new(Arc::clone(&self.ring.read()), cookie_name, PURPOSE)?;
        *self.sealer.write() = Some(Arc::new(sealer));
        Ok(())
    }

    pub(crate) fn sealer(&self) -> Result<Arc<Sealer>, Error> {
        let sealer = self.sealer.read().clone();
        sealer.ok_or_else(|| Error::invalid("sealed sessions must be built before they are used"))
    }

    /// For who looks after the ring: its source was read at this time, and the ring is as it says.
    pub fn confirm(&self, now: Timestamp) {
        self.confirmed_ms.store(now.as_millis(), Ordering::Release);
        self.is_kept.store(true, Ordering::Release);
    }

    /// For who looks after the ring: waits until a cookie names a key that isn't in it.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// A cookie names a key that isn't in the ring. While the ring may be behind, that means nothing.
    pub(crate) fn ask(&self, now: Timestamp) -> Result<(), Error> {
        let confirmed = Timestamp::from_millis(self.confirmed_ms.load(Ordering::Acquire));
        if !self.is_kept.load(Ordering::Acquire) || now.since(confirmed) <= CURRENT_FOR {
            return Ok(());
        }
        self.asked.notify_one();
        Err(Error::unavailable(
            "the key ring may be out of date, so a cookie can't be judged",
            "its source wasn't read for a while",
        ))
    }
}
