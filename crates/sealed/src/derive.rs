//! What one message needs, derived from a key of the ring: a cipher key and a commitment.
//!
//! This is the key derivation of XAES-256-GCM (C2SP), carried on for two blocks. AES-256 under the subkey, in the
//! counter mode of NIST SP 800-108r1 with CMAC as its function, gives blocks 1 and 2: the message's cipher key. Blocks 3
//! and 4 are the commitment. CMAC of one whole block is AES of that block, xored with the subkey's K1.

use aws_lc_rs::{
    cipher::{AES_256, EncryptingKey, UnboundCipherKey},
    error::Unspecified,
};

const BLOCK_BYTES: usize = 16;

/// The half of a salt that chooses a message's key.
pub(crate) type Half = [u8; 12];

/// The derivation under one subkey.
pub(crate) struct Derivation {
    aes: EncryptingKey,
    /// The four blocks without a salt: a counter, the letter X, a zero, 96 zeros for the salt; all xored with K1.
    template: [u8; 4 * BLOCK_BYTES],
}

/// The outcome for one message.
pub(crate) struct Derived([u8; 4 * BLOCK_BYTES]);

impl Derivation {
    pub(crate) fn new(subkey: &[u8; 32]) -> Result<Self, Unspecified> {
        let aes = EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, subkey)?)?;
        let mut k1 = [0; BLOCK_BYTES];
        aes.encrypt(&mut k1)?;
        let k1 = u128::from_be_bytes(k1);
        // A doubling in GF(2^128), without a branch on the key.
        let k1 = (k1 << 1) ^ (0x87 & 0u128.wrapping_sub(k1 >> 127));
        let mut template = [0; 4 * BLOCK_BYTES];
        for (counter, block) in (1u128..).zip(template.chunks_exact_mut(BLOCK_BYTES)) {
            let plain = (counter << 112) | (u128::from(b'X') << 104);
            block.copy_from_slice(&(plain ^ k1).to_be_bytes());
        }
        Ok(Self { aes, template })
    }

    /// The cipher key and commitment for this half of a salt.
    pub(crate) fn derive(&self, salt: &Half) -> Result<Derived, Unspecified> {
        let mut blocks = self.template;
        for block in blocks.chunks_exact_mut(BLOCK_BYTES) {
            block[4..].iter_mut().zip(salt).for_each(|(block, salt)| *block ^= salt);
        }
        self.aes.encrypt(&mut blocks)?;
        Ok(Derived(blocks))
    }
}

impl Derived {
    pub(crate) fn cipher_key(&self) -> &[u8] {
        &self.0[..2 * BLOCK_BYTES]
    }

    pub(crate) fn commitment(&self) -> &[u8] {
        &self.0[2 * BLOCK_BYTES..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the XAES-256-GCM specification. The first has its MSB of AES(0) clear, the second set.
    #[test]
    fn the_message_keys_are_those_of_xaes_256_gcm() {
        let cases = [
            ([1; 32], "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b"),
            ([3; 32], "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8"),
        ];
        for (key, expected) in cases {
            let derived = Derivation::new(&key).unwrap().derive(b"ABCDEFGHIJKL").unwrap();
            let hex: String = derived.cipher_key().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }

    #[test]
    fn both_branches_of_the_doubling_are_covered() {
        let top_bit = |key: [u8; 32]| {
            let aes = EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, &key).unwrap()).unwrap();
            let mut block = [0; BLOCK_BYTES];
            aes.encrypt(&mut block).unwrap();
            block[0] >> 7
        };
        assert_ne!(top_bit([1; 32]), top_bit([3; 32]));
    }
}
