//! A change on its way to the engine, and what the engine says to it.

use cloakroom::{Error, Record, Timestamp, store::Written};

use crate::{
    RedisStore,
    value::{self, ttl_ms},
};

/// What a script answered.
pub(crate) enum Said {
    Written(Written),
    /// Nothing was changed: an index entry has to be written first.
    Index,
    /// Nothing was changed: it came too late.
    Late,
}

impl Said {
    pub(crate) fn into_written(self, store: &RedisStore) -> Result<Written, Error> {
        match self {
            Self::Written(written) => Ok(written),
            Self::Index => Err(store.strange()),
            Self::Late => Err(Error::unavailable(
                "a session was written too late after its index entry, so it wasn't stored",
                "the engine was held up for a minute, or the clocks of the cluster's nodes are a minute apart",
            )),
        }
    }
}

/// A record on its way into the store.
pub(crate) struct Change {
    pub(crate) session: Vec<u8>,
    pub(crate) watermark: Vec<u8>,
    pub(crate) index: Option<Vec<u8>>,
    pub(crate) id: [u8; 16],
    pub(crate) value: Vec<u8>,
    /// How long the key stays unless the session is used.
    pub(crate) ttl: Vec<u8>,
    /// How long at most.
    pub(crate) life: Vec<u8>,
}

impl Change {
    pub(crate) fn of(store: &RedisStore, record: &Record, now: Timestamp) -> Result<Self, Error> {
        let ms = |until| ttl_ms(until, now).to_string().into_bytes();
        Ok(Self {
            session: store.keys.session(record.id),
            watermark: store.keys.watermark(record.id),
            index: record.subject.as_ref().map(|subject| store.keys.index(subject)),
            id: *record.id.as_bytes(),
            value: value::record(record)?,
            ttl: ms(record.expires()),
            life: ms(record.times.end),
        })
    }
}
