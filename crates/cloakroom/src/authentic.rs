//! The key ring over stored sessions: what is stored is bound with it, and what is loaded is checked before it is
//! believed.

use std::sync::Arc;

use cloakroom_core::{Authenticity, AuthorityKeys, Record, Timestamp};
use parking_lot::RwLock;

use crate::{
    Error,
    event::{EventKind, Rejection},
    keyring::LiveRing,
    sessions::Engine,
};

/// A ring that changes, and its keys made ready.
pub(crate) struct Keyed {
    ring: LiveRing,
    /// Until when sessions are honoured that were stored without a key ring.
    unkeyed_until: Timestamp,
    made: RwLock<Made>,
}

struct Made {
    edition: u64,
    keys: Arc<AuthorityKeys>,
}

impl Keyed {
    pub(crate) fn new(ring: LiveRing, unkeyed_until: Timestamp) -> Self {
        let made = RwLock::new(Made::from(&ring));
        Self { ring, unkeyed_until, made }
    }

    fn keys(&self) -> Arc<AuthorityKeys> {
        let edition = self.ring.edition();
        {
            let made = self.made.read();
            if made.edition == edition {
                return Arc::clone(&made.keys);
            }
        }
        let made = Made::from(&self.ring);
        let keys = Arc::clone(&made.keys);
        *self.made.write() = made;
        keys
    }
}

impl Made {
    /// The edition is asked first: a change meanwhile is made ready once more, and never missed.
    fn from(ring: &LiveRing) -> Self {
        let edition = ring.edition();
        Self { edition, keys: Arc::new(AuthorityKeys::new(&ring.now())) }
    }
}

impl Engine {
    pub(crate) fn authority_keys(&self) -> Option<Arc<AuthorityKeys>> {
        self.keyed.as_ref().map(Keyed::keys)
    }

    /// Whether a loaded record is to be believed. If it isn't, an event has told why, and it is treated as absent.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if this program may not have heard of the record's key yet; [`Error::is_invalid`] if
    /// the record was stored with a key ring and these sessions have none.
    pub(crate) fn believes(&self, record: &Record) -> Result<bool, Error> {
        let Some(keyed) = &self.keyed else {
            return if record.authority.is_keyed() { Err(without_ring()) } else { Ok(true) };
        };
        let rejection = match keyed.keys().examine(record) {
            Authenticity::Sound => return Ok(true),
            // Its next change binds it, for as long as it says: so it mustn't say longer than this time.
            Authenticity::Unkeyed if record.times.end <= keyed.unkeyed_until => return Ok(true),
            Authenticity::UnknownKey(id) if keyed.ring.may_be_behind(id) => {
                let message = "a stored session's key isn't in the key ring yet, which is being read again";
                return Err(Error::unavailable(message, id.to_string()));
            }
            Authenticity::Unkeyed => Rejection::Unkeyed,
            Authenticity::UnknownKey(_) => Rejection::UnknownKey,
            Authenticity::Forged => Rejection::Forged,
        };
        // Whose it says it is isn't to be believed, so the event doesn't say so.
        self.tell(EventKind::Rejected(rejection), Some(record.id), None);
        Ok(false)
    }
}

fn without_ring() -> Error {
    Error::invalid(
        "the store holds sessions that were stored with a key ring, and these sessions have none: give `Builder::keys` \
         the ring, or end those sessions",
    )
}
