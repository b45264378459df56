//! The names of keys.

use std::{fmt, io::Write as _};

use cloakroom::{SessionId, Subject};

/// Builds the names of keys: `cloakroom:{7f}s:f0r…`, the prefix, the shard and what it is.
///
/// What is in braces decides on which node of a cluster a key lies. A session lies beside what its shard keeps in common,
/// so that one command, or one script, sees both; everything about one subject lies together too. The names are the same
/// everywhere, so that data can be moved to a cluster. There are 256 shards: a cluster can't spread the keys further.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn session(&self, id: SessionId) -> Vec<u8> {
        self.key(shard_of(id), format_args!("s:{id}"))
    }

    /// What the shard of this session keeps in common: its watermark, the instant before which sessions have ended.
    pub(crate) fn watermark(&self, id: SessionId) -> Vec<u8> {
        self.key(shard_of(id), format_args!("w"))
    }

    /// The watermarks of all shards.
    pub(crate) fn watermarks(&self) -> Vec<Vec<u8>> {
        (0..=u8::MAX).map(|shard| self.key(shard, format_args!("w"))).collect()
    }

    /// The index entries of a subject.
    pub(crate) fn index(&self, subject: &Subject) -> Vec<u8> {
        self.key(shard_of_subject(subject), format_args!("u:{subject}"))
    }

    /// The note of a subject's last revocation.
    pub(crate) fn note(&self, subject: &Subject) -> Vec<u8> {
        self.key(shard_of_subject(subject), format_args!("r:{subject}"))
    }

    /// A key that nobody uses.
    pub(crate) fn probe(&self, what: &str) -> Vec<u8> {
        self.key(0, format_args!("probe:{what}"))
    }

    fn key(&self, shard: u8, rest: fmt::Arguments<'_>) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + 32);
        key.extend_from_slice(self.prefix.as_bytes());
        key.extend([b'{', hex_digit(shard >> 4), hex_digit(shard & 15), b'}']);
        // Memory takes it all.
        let _ = key.write_fmt(rest);
        key
    }
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Ids are random.
fn shard_of(id: SessionId) -> u8 {
    id.as_bytes()[0]
}

/// FNV-1a, folded. It may never change: the keys' names hang on it.
fn shard_of_subject(subject: &Subject) -> u8 {
    let hash = subject
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_be_bytes().into_iter().fold(0, |folded, byte| folded ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another version must find what this one wrote.
    #[test]
    fn names_never_change() {
        let keys = Keys::new("shop:");
        let id = SessionId::from_bytes([0x7f; 16]);
        let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
        assert_eq!(text(keys.session(id)), "shop:{7f}s:f39_f39_f39_f39_f39_fw");
        assert_eq!(text(keys.watermark(id)), "shop:{7f}w");
        let subject = Subject::new("o'Brien {x} 🧥").unwrap();
        assert_eq!(text(keys.index(&subject)), "shop:{f7}u:o'Brien {x} 🧥");
        assert_eq!(text(keys.note(&subject)), "shop:{f7}r:o'Brien {x} 🧥");
        assert_eq!(keys.watermarks().len(), 256);
    }
}
