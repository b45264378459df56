//! What the store keeps, where on the ring it lies, and under which name.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use cloakroom::{SessionId, Subject};
use sha2::{Digest as _, Sha256};

use crate::ring;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Session(SessionId),
    /// A subject's state, by a hash of who it is: that can be long, and of any characters.
    Subject([u8; 32]),
}

impl Key {
    pub(crate) fn of(subject: &Subject) -> Self {
        Self::Subject(Sha256::digest(subject.as_str().as_bytes()).into())
    }

    /// Where on the ring it lies. Ids are random, and so are digests: half of their bits are a hash already.
    pub(crate) fn point(&self) -> u64 {
        match self {
            Self::Session(id) => ring::first(id.as_bytes()),
            Self::Subject(digest) => ring::first(digest),
        }
    }

    /// Writes the key as the server knows it.
    pub(crate) fn write(&self, prefix: &str, output: &mut Vec<u8>) {
        let (kind, bytes) = match self {
            Self::Session(id) => (b"s:", &id.as_bytes()[..]),
            Self::Subject(digest) => (b"u:", &digest[..]),
        };
        output.extend_from_slice(prefix.as_bytes());
        output.extend_from_slice(kind);
        let start = output.len();
        output.resize(start + bytes.len().div_ceil(3) * 4, 0);
        match BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut output[start..]) {
            Ok(length) => output.truncate(start + length),
            // There was room for it. But a key without its end would be everybody's.
            Err(_) => {
                output.truncate(start);
                output.extend_from_slice(BASE64_URL_SAFE_NO_PAD.encode(bytes).as_bytes());
            }
        }
    }
}
