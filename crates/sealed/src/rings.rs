//! The sealer of the ring as it is now.

use std::sync::{Arc, OnceLock};

use cloakroom::{
    Error,
    keyring::{KeyId, LiveRing},
};
use parking_lot::RwLock;

use crate::Sealer;

/// What seals are for: a cookie of another purpose is none.
const PURPOSE: &str = "session";

/// A ring that may change, and a sealer that was made from it.
pub(crate) struct Rings {
    ring: LiveRing,
    /// The cookie's name, and how long its value may be.
    cookie: OnceLock<(Box<str>, usize)>,
    made: RwLock<Option<(u64, Arc<Sealer>)>>,
}

impl Rings {
    pub(crate) fn new(ring: LiveRing) -> Self {
        Self { ring, cookie: OnceLock::new(), made: RwLock::new(None) }
    }

    pub(crate) fn bind(&self, cookie_name: &str, value_bytes_max: usize) -> Result<(), Error> {
        // Refused by whoever asks to be bound twice.
        let _ = self.cookie.set((cookie_name.into(), value_bytes_max));
        self.sealer().map(|_| ())
    }

    pub(crate) fn sealer(&self) -> Result<Arc<Sealer>, Error> {
        let edition = self.ring.edition();
        if let Some((made, sealer)) = &*self.made.read()
            && *made == edition
        {
            return Ok(Arc::clone(sealer));
        }
        let Some((cookie_name, value_bytes_max)) = self.cookie.get() else {
            return Err(Error::invalid("sealed sessions must be built before they are used"));
        };
        let sealer = Sealer::new(self.ring.now(), cookie_name, PURPOSE)?.up_to(*value_bytes_max);
        let sealer = Arc::new(sealer);
        *self.made.write() = Some((edition, Arc::clone(&sealer)));
        Ok(sealer)
    }

    /// A cookie names a key that isn't in the ring. While the ring may be behind, that means nothing.
    pub(crate) fn ask(&self, id: KeyId) -> Result<(), Error> {
        if self.ring.may_be_behind(id) {
            return Err(Error::unavailable(
                "a cookie was sealed under a key that this node hasn't heard of",
                "the key ring is being read again",
            ));
        }
        Ok(())
    }
}
