//! What the store keeps, where on the ring it lies, and under which name.

use std::fmt;

use base64::{display::Base64Display, prelude::BASE64_URL_SAFE_NO_PAD};
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

    /// The key as the server knows it.
    pub(crate) fn with<'a>(&'a self, prefix: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| match self {
            Self::Session(id) => write!(f, "{prefix}s:{id}"),
            Self::Subject(digest) => {
                write!(f, "{prefix}u:{}", Base64Display::new(digest, &BASE64_URL_SAFE_NO_PAD))
            }
        })
    }
}
