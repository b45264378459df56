//! HMAC-SHA-256 (RFC 2104) over the hash that the crate has anyway.

use sha2::{Digest, Sha256};

const BLOCK_BYTES: usize = 64;

/// A key of a full digest's length, hashed into both halves once: a message then costs its own blocks and one more.
#[derive(Clone)]
pub(crate) struct Hmac {
    inner: Sha256,
    outer: Sha256,
}

impl Hmac {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK_BYTES];
            block.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
            Sha256::new().chain_update(block)
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The code of the parts, one behind the other.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        parts.iter().for_each(|part| inner.update(part));
        self.outer.clone().chain_update(inner.finalize()).finalize().into()
    }
}

/// HMAC-SHA-256 of the parts, for a key that is used once.
pub(crate) fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    Hmac::new(key).of(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// RFC 4231, test cases 1, 2 and 3. A key shorter than a block is padded with zeros, so the RFC's shorter keys are
    /// keys of 32 bytes that end in zeros.
    #[test]
    fn rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        ];
        for (key, message, expected) in cases {
            let mut padded = [0; 32];
            padded[..key.len()].copy_from_slice(key);
            assert_eq!(hmac(&padded, &[message]).to_vec(), bytes(expected));
            let (head, tail) = message.split_at(3);
            assert_eq!(hmac(&padded, &[head, &[], tail]).to_vec(), bytes(expected));
        }
    }

    /// RFC 5869, test case 1: the first block of HKDF's expansion is an HMAC over the purpose and a counter.
    #[test]
    fn rfc_5869_first_block_of_expand() {
        let key =
            bytes("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5").try_into().unwrap();
        let info = bytes("f0f1f2f3f4f5f6f7f8f9");
        let expected = bytes("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
        assert_eq!(hmac(&key, &[&info, &[1]]).to_vec(), expected);
    }
}
