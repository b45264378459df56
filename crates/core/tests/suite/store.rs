//! A store as stores promise to be, and random bytes that are the same in every run.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use cloakroom_core::{Record, SessionId, Timestamp, Version};

/// What stores promise: only `create` creates, `replace` and `end` compare and swap, expired is gone.
#[derive(Default)]
pub(crate) struct Store {
    slots: BTreeMap<SessionId, Slot>,
}

enum Slot {
    Alive(Arc<Record>),
    Ended(Timestamp),
}

pub(crate) enum Found {
    Absent,
    Alive(Arc<Record>),
    Ended,
}

impl Store {
    pub(crate) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.slots.keys().copied()
    }

    pub(crate) fn load(&self, id: SessionId, now: Timestamp, grace: Duration) -> Found {
        match self.slots.get(&id) {
            Some(Slot::Alive(record)) if record.is_alive(now) => Found::Alive(Arc::clone(record)),
            Some(Slot::Ended(at)) if now < *at + grace => Found::Ended,
            _ => Found::Absent,
        }
    }

    pub(crate) fn create(&mut self, record: Record) {
        let id = record.id;
        assert!(
            self.slots.insert(id, Slot::Alive(Arc::new(record))).is_none(),
            "a session took the place of {id}"
        );
    }

    /// The record that was replaced; `None` if it has another version or is gone.
    pub(crate) fn replace(
        &mut self,
        record: Record,
        expected: Version,
        now: Timestamp,
    ) -> Option<Arc<Record>> {
        let slot = self.living(record.id, Some(expected), now)?;
        match mem::replace(slot, Slot::Alive(Arc::new(record))) {
            Slot::Alive(before) => Some(before),
            Slot::Ended(_) => None,
        }
    }

    pub(crate) fn end(&mut self, id: SessionId, expected: Option<Version>, now: Timestamp) -> Option<()> {
        *self.living(id, expected, now)? = Slot::Ended(now);
        Some(())
    }

    pub(crate) fn touch(&mut self, id: SessionId, now: Timestamp) {
        if let Some(Slot::Alive(record)) = self.living(id, None, now) {
            let active = now.max(record.times.active);
            Arc::make_mut(record).times.active = active;
        }
    }

    fn living(&mut self, id: SessionId, expected: Option<Version>, now: Timestamp) -> Option<&mut Slot> {
        self.slots.get_mut(&id).filter(|slot| match slot {
            Slot::Alive(record) => {
                record.is_alive(now) && expected.is_none_or(|version| version == record.version)
            }
            Slot::Ended(_) => false,
        })
    }
}

/// Bytes that never repeat, and are the same in every run.
pub(crate) struct Entropy(pub(crate) u64);

impl Entropy {
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}
