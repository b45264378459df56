//! The keys of messages, each kept for the next message under it: making one takes as long as the cipher's work on a
//! session.

use std::sync::Arc;

use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    error::Unspecified,
};
use parking_lot::RwLock;

use crate::derive::{Derivation, Half};

/// What messages with one half of a salt need.
pub(crate) struct MessageKey {
    half: Half,
    pub(crate) commitment: [u8; 32],
    pub(crate) cipher: LessSafeKey,
}

/// A key that was asked for.
pub(crate) struct Found {
    pub(crate) key: Arc<MessageKey>,
    is_kept: bool,
}

/// Those of one key of the ring, with the last ones used: a slot for each group of halves.
pub(crate) struct MessageKeys {
    derivation: Derivation,
    slots: Box<[RwLock<Option<Arc<MessageKey>>>]>,
}

/// A server's living cookies were sealed under a few hundred halves, unless it has millions of them.
const SLOTS: usize = 256;

impl MessageKeys {
    pub(crate) fn new(subkey: &[u8; 32]) -> Result<Self, Unspecified> {
        let slots = (0..SLOTS).map(|_| RwLock::new(None)).collect();
        Ok(Self { derivation: Derivation::new(subkey)?, slots })
    }

    /// The key for this half, which may be kept already. A half is no secret, and so this is none either.
    pub(crate) fn key(&self, half: &Half) -> Result<Found, Unspecified> {
        if let Some(kept) = self.slot(half).read().as_ref().filter(|kept| kept.half == *half) {
            return Ok(Found { key: Arc::clone(kept), is_kept: true });
        }
        let derived = self.derivation.derive(half)?;
        let mut commitment = [0; 32];
        commitment.copy_from_slice(derived.commitment());
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, derived.cipher_key())?);
        Ok(Found { key: Arc::new(MessageKey { half: *half, commitment, cipher }), is_kept: false })
    }

    /// Keeps a key that sealed or opened a message. Not for halves that visitors make up: they would drive out others.
    pub(crate) fn keep(&self, Found { key, is_kept }: Found) {
        if !is_kept {
            let mut slot = self.slot(&key.half).write();
            *slot = Some(key);
        }
    }

    fn slot(&self, half: &Half) -> &RwLock<Option<Arc<MessageKey>>> {
        &self.slots[usize::from(half[0]) % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_found_until_another_takes_its_place() {
        let keys = MessageKeys::new(&[1; 32]).unwrap();
        let (first, sharing) = ([7; 12], *b"\x07another one");
        let found = keys.key(&first).unwrap();
        let commitment = found.key.commitment;
        assert!(!keys.key(&first).unwrap().is_kept, "none is kept unasked");
        keys.keep(found);
        assert!(keys.key(&first).unwrap().is_kept);
        let other = keys.key(&sharing).unwrap();
        assert!(!other.is_kept && other.key.commitment != commitment);
        keys.keep(other);
        let anew = keys.key(&first).unwrap();
        assert!(!anew.is_kept && anew.key.commitment == commitment);
    }
}
