//! Noticing that two requests at once each changed a session: of two cookies of one generation, the browser keeps one.

use cloakroom::{SessionId, Version};
use parking_lot::Mutex;

/// What was issued lately: a slot for each group of sessions, which holds the last one. Another node's cookies, and
/// sessions that share a slot, go unnoticed.
pub(crate) struct Overwritten {
    slots: Box<[Mutex<Option<Issued>>]>,
}

type Issued = (SessionId, u32, Version);

const SLOTS: usize = 1024;

impl Overwritten {
    /// Notes a cookie, and answers whether it is the second of its generation.
    pub(crate) fn note(&self, id: SessionId, generation: u32, version: Version) -> bool {
        let bytes = id.as_bytes();
        let slot = &self.slots[usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % SLOTS];
        let before = slot.lock().replace((id, generation, version));
        before.is_some_and(|before| before.0 == id && before.1 == generation && before.2 != version)
    }
}

impl Default for Overwritten {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }
}
