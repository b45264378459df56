//! Sealing: XAES-256-GCM with a commitment to its key.
//!
//! A sealed value is the base64url, without padding, of
//!
//! ```text
//! version (1) | key id (4) | salt (24) | commitment (32) | ciphertext (as long as the plaintext) | tag (16)
//! ```
//!
//! 1. *Subkey*: HKDF-Expand with SHA-256 (RFC 5869) of the ring's key; the info is `cloakroom/seal/1`; 32 bytes.
//! 2. *Message key and commitment*: for the counters 1 to 4, AES-256-CMAC under the subkey of the block
//!    `00 counter 58 00 | salt[0..12]`. The first two outputs are the message's cipher key, the others its commitment.
//! 3. *Ciphertext and tag*: AES-256-GCM under the message's cipher key, with the nonce `salt[12..24]`. The associated data
//!    is the first 16 bytes of the SHA-256 of
//!    `version (1) | key id (4) | length of the name (4) | cookie name | length of the purpose (4) | purpose`; lengths are
//!    big-endian. It is hashed once for each key, so that every message authenticates one block and not four.
//!
//! Steps 2 and 3 are [XAES-256-GCM](https://c2sp.org/XAES-256-GCM), apart from the commitment: where all 192 bits are
//! random, a repeated pair of key and nonce is still less likely than one in 2^32 after 2^80 messages. Sessions share the
//! key's half of a salt, 4096 a thread, and so its outcome is kept: then that holds for 2^53 messages. A sealed value opens
//! under one ring key only: two that share a commitment would be a collision of 256 bits that come out of HKDF.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{Aad, Nonce},
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use cloakroom::{
    CoreError,
    keyring::{Key, KeyId, KeyRing},
};

use crate::{base64url, derive::Half, message::MessageKeys};

const VERSION: u8 = 1;
const SUBKEY_PURPOSE: &str = "cloakroom/seal/1";

const SALT_AT: usize = 5;
const COMMITMENT_AT: usize = SALT_AT + 24;
const CIPHERTEXT_AT: usize = COMMITMENT_AT + 32;
const TAG_BYTES: usize = 16;

/// What sealing adds, in bytes, before the text form.
pub(crate) const OVERHEAD_BYTES: usize = CIPHERTEXT_AT + TAG_BYTES;

/// The longest sealed value that is looked at. Browsers keep 4096 bytes, name and value together.
const VALUE_BYTES_MAX: usize = 4096;
/// Of what isn't a cookie: a full key ring.
pub(crate) const LONG_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Fresh random bytes for one seal, from a cryptographic random source.
pub type Salt = [u8; 24];

/// The length of the sealed text of so many bytes.
///
/// ```
/// assert_eq!(cloakroom_sealed::sealed_len(256), 444);
/// ```
#[must_use]
pub const fn sealed_len(plaintext_bytes: usize) -> usize {
    (plaintext_bytes.saturating_add(OVERHEAD_BYTES)).saturating_mul(4).div_ceil(3)
}

/// Seals values for one cookie and one purpose, and opens them again.
///
/// It seals under the ring's primary key, and opens under whichever key of the ring the value names: a key is never
/// tried. It is made once for each state of the ring, and is free to share.
///
/// ```
/// use cloakroom::{Timestamp, keyring::{KeyId, KeyRing, Material}};
/// use cloakroom_sealed::{Rejected, Sealer};
/// use std::sync::Arc;
///
/// # fn random<const N: usize>() -> [u8; N] { let mut bytes = [0; N]; getrandom::fill(&mut bytes).unwrap(); bytes }
/// let material = Material::new(random())?;
/// let ring = KeyRing::new(KeyId::from_bytes(random()), material, Timestamp::from_millis(0))?;
/// let ring = Arc::new(ring);
/// let sealer = Sealer::new(ring.clone(), "__Host-session", "session")?;
///
/// let value = sealer.seal(b"two umbrellas", &random())?;
/// assert_eq!(sealer.open(value.as_bytes()), Ok(b"two umbrellas".to_vec()));
///
/// let other_cookie = Sealer::new(ring, "__Host-cart", "session")?;
/// assert_eq!(other_cookie.open(value.as_bytes()), Err(Rejected::BadSeal));
/// # Ok::<(), cloakroom::CoreError>(())
/// ```
pub struct Sealer {
    ring: Arc<KeyRing>,
    /// In the ring's order.
    keys: Vec<SealKey>,
    primary: usize,
    value_bytes_max: usize,
}

/// Why a value wasn't opened. Visitors are told nothing of it: to them, each is a session that isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is no sealed value of a version that is known: not canonical base64url, too short or too long.
    Malformed,
    /// It names a key that isn't in the ring: removed long ago, made up, or so new that this node hasn't heard of it.
    UnknownKey(KeyId),
    /// It was altered, or sealed for another cookie or purpose, or under another key.
    BadSeal,
}

/// A key of the ring, ready for use.
struct SealKey {
    id: KeyId,
    messages: MessageKeys,
    associated: [u8; 16],
}

impl Sealer {
    /// A sealer for the cookie of this name and for this purpose.
    ///
    /// # Errors
    /// [`CoreError::is_invalid`] if the name or the purpose is empty or longer than 4096 bytes.
    pub fn new(ring: Arc<KeyRing>, cookie_name: &str, purpose: &str) -> Result<Self, CoreError> {
        if [cookie_name, purpose].iter().any(|part| part.is_empty() || part.len() > VALUE_BYTES_MAX) {
            return Err(CoreError::invalid(
                "sealing needs a cookie's name and a purpose, of 1 to 4096 bytes",
            ));
        }
        let keys =
            ring.keys().map(|key| SealKey::new(key, cookie_name, purpose)).collect::<Result<Vec<_>, _>>()?;
        let primary = ring.keys().position(|key| key.id() == ring.primary().id()).unwrap_or(0);
        Ok(Self { ring, keys, primary, value_bytes_max: VALUE_BYTES_MAX })
    }

    /// The same, for values that are no cookies.
    pub(crate) fn up_to(self, value_bytes_max: usize) -> Self {
        Self { value_bytes_max, ..self }
    }

    /// The ring it was made from.
    #[must_use]
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Seals a value under the primary key. A salt is used once, and random: the same salt again would give away
    /// the xor of both plaintexts.
    ///
    /// # Errors
    /// [`CoreError::is_invalid`] if the sealed text would be longer than 4096 bytes.
    pub fn seal(&self, plaintext: &[u8], salt: &Salt) -> Result<String, CoreError> {
        if sealed_len(plaintext.len()) > self.value_bytes_max {
            return Err(CoreError::invalid(format!(
                "{} bytes can't be sealed: as text they would be longer than {} bytes",
                plaintext.len(),
                self.value_bytes_max
            )));
        }
        let key = &self.keys[self.primary];
        let failed = |_| CoreError::invalid("the cipher refused to seal");
        let (for_key, nonce) = halves(salt);
        let found = key.messages.key(&for_key).map_err(failed)?;
        let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(key.id.as_bytes());
        sealed.extend_from_slice(salt);
        sealed.extend_from_slice(&found.key.commitment);
        sealed.extend_from_slice(plaintext);
        let tag = found
            .key
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(&key.associated), &mut sealed[CIPHERTEXT_AT..])
            .map_err(failed)?;
        sealed.extend_from_slice(tag.as_ref());
        key.messages.keep(found);
        Ok(base64url::encode(&sealed))
    }

    /// The key that a sealed value says it is under.
    pub(crate) fn key_of(value: &[u8]) -> Option<KeyId> {
        // Eight characters are six bytes.
        match base64url::decode(value.get(..8)?)?[..] {
            [VERSION, a, b, c, d, _] => Some(KeyId::from_bytes([a, b, c, d])),
            _ => None,
        }
    }

    /// Opens a sealed value. Nothing of it is interpreted before its seal holds, apart from its version and key id.
    ///
    /// # Errors
    /// [`Rejected`], which says what kind of value it was, for an event or a refresh of the ring.
    pub fn open(&self, value: &[u8]) -> Result<Vec<u8>, Rejected> {
        if value.len() < sealed_len(0) || value.len() > self.value_bytes_max {
            return Err(Rejected::Malformed);
        }
        let mut bytes = base64url::decode(value).ok_or(Rejected::Malformed)?;
        let Some((header, body)) = bytes.split_at_mut_checked(CIPHERTEXT_AT) else {
            return Err(Rejected::Malformed);
        };
        let (prefix, rest) = header.split_at(SALT_AT);
        let (salt, commitment) = rest.split_at(COMMITMENT_AT - SALT_AT);
        let (Ok(salt), &[VERSION, a, b, c, d]) = (salt.try_into(), prefix) else {
            return Err(Rejected::Malformed);
        };
        let id = KeyId::from_bytes([a, b, c, d]);
        let key = self.keys.iter().find(|key| key.id == id).ok_or(Rejected::UnknownKey(id))?;
        let (for_key, nonce) = halves(salt);
        let found = key.messages.key(&for_key).map_err(|_| Rejected::BadSeal)?;
        verify_slices_are_equal(commitment, &found.key.commitment).map_err(|_| Rejected::BadSeal)?;
        let plaintext = found
            .key
            .cipher
            .open_in_place(nonce, Aad::from(&key.associated), body)
            .map_err(|_| Rejected::BadSeal)?
            .len();
        key.messages.keep(found);
        bytes.truncate(CIPHERTEXT_AT + plaintext);
        bytes.drain(..CIPHERTEXT_AT);
        Ok(bytes)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealer").field(&self.ring).finish()
    }
}

impl SealKey {
    fn new(key: &Key, cookie_name: &str, purpose: &str) -> Result<Self, CoreError> {
        let messages = MessageKeys::new(&key.derive(SUBKEY_PURPOSE))
            .map_err(|_| CoreError::invalid("the cipher refused a key of the ring"))?;
        let mut bound = vec![VERSION];
        bound.extend_from_slice(key.id().as_bytes());
        for part in [cookie_name, purpose] {
            // Checked to be at most VALUE_BYTES_MAX.
            bound.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bound.extend_from_slice(part.as_bytes());
        }
        let mut associated = [0; 16];
        associated.copy_from_slice(&digest(&SHA256, &bound).as_ref()[..16]);
        Ok(Self { id: key.id(), messages, associated })
    }
}

/// The halves of a salt: the first chooses the message's key, the second is its nonce.
fn halves(salt: &Salt) -> (Half, Nonce) {
    let (mut for_key, mut nonce) = ([0; 12], [0; 12]);
    for_key.copy_from_slice(&salt[..12]);
    nonce.copy_from_slice(&salt[12..]);
    (for_key, Nonce::assume_unique_for_key(nonce))
}
