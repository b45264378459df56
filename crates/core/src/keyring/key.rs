//! One key: its public id, and the material that is never shown.

use std::{fmt, hint::black_box, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{Error, hmac::hmac};

/// A key's public name: four random bytes, shown as eight hexadecimal digits.
///
/// What is sealed or authenticated names its key by it, so a key is looked up and never tried. It grants nothing.
///
/// ```
/// use cloakroom_core::keyring::KeyId;
///
/// let id = KeyId::from_bytes([0x9f, 0x3a, 0x01, 0xc2]);
/// assert_eq!(id.to_string(), "9f3a01c2");
/// assert_eq!("9f3a01c2".parse::<KeyId>()?, id);
/// assert!("9F3A01C2".parse::<KeyId>().is_err());
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// No key: what isn't keyed has this in the place of an id.
    pub(crate) const NONE: Self = Self([0; 4]);

    /// The id made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        Some(text)
            .filter(|text| text.len() == 8 && text.bytes().all(digits))
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .map(|id| Self(id.to_be_bytes()))
            .ok_or_else(|| Error::invalid("a key id is 8 hexadecimal digits in lower case"))
    }
}

/// 256 random bits. They leave the process only in the ring's own text, and are overwritten when dropped.
///
/// ```
/// use cloakroom_core::keyring::Material;
///
/// assert!(Material::new([7; 32]).is_err());
/// ```
#[derive(Clone)]
pub struct Material([u8; 32]);

impl Material {
    /// Length in bytes.
    pub const BYTES: usize = 32;

    /// The material of these bytes, which must come from a cryptographic random source.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the bytes are plainly not random: all alike, counting, repeating, text, or printed in
    /// Cloakroom's documentation. It can't find every weak key; it finds placeholders.
    pub fn new(bytes: [u8; 32]) -> Result<Self, Error> {
        let material = Self(bytes);
        match weakness(&material.0) {
            Some(weakness) => Err(Error::invalid(format!(
                "a key {weakness}: anyone could guess it; make one with `cloakroom keys new`"
            ))),
            None => Ok(material),
        }
    }

    /// Reads the text form: 43 characters of base64url without padding.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for anything else, short keys among them. The error never repeats the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| {
            Error::invalid(
                "a key is 43 characters of base64url without padding; make one with `cloakroom keys new`",
            )
        })?;
        let length = bytes.len();
        let bytes = bytes.try_into().map_err(|_| {
            Error::invalid(format!(
                "a key has {length} bytes and must have 32; make one with `cloakroom keys new`"
            ))
        })?;
        Self::new(bytes)
    }

    /// A key of its own for one purpose: the first block of HKDF-Expand (RFC 5869) over SHA-256, with the purpose as
    /// its info. Knowing it tells nothing about the material, or about other purposes' keys.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        hmac(&self.0, &[purpose.as_bytes(), &[1]])
    }

    pub(super) fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Drop for Material {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the compiler from leaving out a write that nobody reads.
        black_box(&self.0);
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(…)")
    }
}

/// Keys that the documentation prints. They are for reading, and everybody has them.
const PRINTED: [&str; 2] =
    ["dGhpcyBrZXkgaXMgcHJpbnRlZCBpbiB0aGUgZG9jcyE", "mK2c1xQ0vB9dTfZ7LrN4sHyEoWgUaJ6kPiXbCtVeR8A"];

/// What tells that these bytes aren't random. Each is less likely than one in 2^40 for bytes that are.
fn weakness(bytes: &[u8; 32]) -> Option<&'static str> {
    let step = bytes[1].wrapping_sub(bytes[0]);
    let printable = |byte: &u8| (0x20..0x7f).contains(byte);
    let mut seen = [false; 256];
    bytes.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    if step == 0 && bytes.iter().all(|byte| *byte == bytes[0]) {
        Some("is one byte over and over")
    } else if bytes.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
        Some("is a row of counting bytes")
    } else if bytes[..16] == bytes[16..] {
        Some("repeats itself")
    } else if seen.iter().filter(|seen| **seen).count() < 16 {
        Some("has too few different bytes")
    } else if bytes.iter().all(printable) {
        Some("is text, not random bytes")
    } else if PRINTED.contains(&URL_SAFE_NO_PAD.encode(bytes).as_str()) {
        Some("is printed in the documentation")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: [u8; 32]) -> String {
        Material::new(bytes).unwrap_err().to_string()
    }

    #[test]
    fn k_sample_keys_from_an_example_are_refused() {
        let counting: [u8; 32] = std::array::from_fn(|i| i as u8);
        let down: [u8; 32] = std::array::from_fn(|i| 3u8.wrapping_sub(7 * i as u8));
        let twice: [u8; 32] = std::array::from_fn(|i| (i % 16 * 37 + 5) as u8);
        let few: [u8; 32] = std::array::from_fn(|i| [3, 77, 200, 9, 150, 31, 1][i * i % 7]);
        for (bytes, why) in [
            ([0; 32], "one byte"),
            ([0xff; 32], "one byte"),
            (counting, "counting"),
            (down, "counting"),
            (twice, "repeats"),
            (few, "too few"),
            (*b"correct horse battery staple 123", "is text"),
        ] {
            assert!(refused(bytes).contains(why), "{why}: {}", refused(bytes));
        }
        for printed in PRINTED {
            assert!(Material::parse(printed).unwrap_err().is_invalid());
        }
    }

    #[test]
    fn k_sample_a_short_key_is_refused_and_not_repeated() {
        let text = URL_SAFE_NO_PAD.encode([0xc3; 31]);
        let error = Material::parse(&text).unwrap_err();
        assert!(error.to_string().contains("31 bytes") && error.is_invalid(), "{error}");
        assert!(!format!("{error:?}").contains(&text[..8]));
        assert!(Material::parse("not base64url!").unwrap_err().is_invalid());
    }

    #[test]
    fn random_keys_pass_and_round_trip() {
        for _ in 0..10_000 {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).unwrap();
            let material = Material::new(bytes).unwrap();
            assert!(Material::parse(&material.expose()).unwrap().is_same(&material));
        }
    }

    #[test]
    fn a16_2_5_debug_shows_nothing_of_the_material() {
        let material = Material::new(std::array::from_fn(|i| (i * i * 7 + 90) as u8)).unwrap();
        assert_eq!(format!("{material:?}"), "Material(…)");
    }

    #[test]
    fn purposes_have_keys_of_their_own() {
        let material = Material::new(std::array::from_fn(|i| (i * i * 7 + 90) as u8)).unwrap();
        assert_ne!(material.derive("one"), material.derive("two"));
        assert_eq!(material.derive("one"), hmac(&material.0, &[b"one\x01"]));
    }
}
