//! Noticing that two requests at once each changed a session: of two cookies of one generation, the browser keeps one.

use cloakroom::{SessionId, Timestamp, Version};
use parking_lot::Mutex;

/// What was issued lately: a slot for each group of sessions, which holds the last one. Another node's cookies, and
/// sessions that share a slot, go unnoticed.
pub(crate) struct Overwritten {
    slots: Box<[Mutex<Option<Issued>>]>,
}

/// A cookie that was issued.
#[derive(Clone, Copy)]
pub(crate) struct Issued {
    pub(crate) id: SessionId,
    pub(crate) generation: u32,
    pub(crate) version: Version,
    pub(crate) at: Timestamp,
}

const SLOTS: usize = 1024;

impl Overwritten {
    /// Notes a cookie, and answers whether it is the second of its generation.
    pub(crate) fn note(&self, issued: Issued) -> bool {
        let before = self.slot(issued.id).lock().replace(issued);
        before.is_some_and(|before| {
            before.id == issued.id
                && before.generation == issued.generation
                && before.version != issued.version
        })
    }

    /// Whether a cookie of a later generation was issued since then. One before that may never have arrived.
    pub(crate) fn is_overtaken(&self, id: SessionId, generation: u32, since: Timestamp) -> bool {
        let issued = *self.slot(id).lock();
        issued.is_some_and(|issued| issued.id == id && issued.generation > generation && issued.at >= since)
    }

    fn slot(&self, id: SessionId) -> &Mutex<Option<Issued>> {
        let bytes = id.as_bytes();
        &self.slots[usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % SLOTS]
    }
}

impl Default for Overwritten {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }
}
