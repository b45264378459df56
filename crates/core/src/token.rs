//! The session token: a public id and a secret, and what is stored of the secret.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::block_api::compress256;
use subtle::ConstantTimeEq;

use crate::{Error, hmac::Hmac, keyring::KeyId};

/// A session's public handle: 128 random bits, shown as 22 characters of base64url.
///
/// It stands in logs, listings, metrics and revocations, and grants nothing.
///
/// ```
/// use cloakroom_core::SessionId;
///
/// let id = SessionId::from_bytes([7; 16]);
/// assert_eq!(id.to_string().parse::<SessionId>()?, id);
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(align(8))] // Copied as whole words, wherever it lies.
pub struct SessionId([u8; 16]);

impl SessionId {
    /// The id made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 22];
        let length = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        decode(text.as_bytes())
            .map(Self)
            .ok_or_else(|| Error::invalid("a session id is 22 characters of base64url without padding"))
    }
}

/// The half of the token that grants access: 128 random bits. It travels only in the cookie and is never stored.
///
/// There is no way to print it; `Debug` shows nothing of it.
#[derive(Clone)]
#[repr(align(8))]
pub struct Secret([u8; 16]);

impl Secret {
    /// The secret made of these bytes, which must come from a cryptographic random source.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// What a store keeps in the secret's place. The id is hashed along, so that a verifier copied into another
    /// record verifies nothing there.
    #[must_use]
    pub fn verifier(&self, id: &SessionId) -> Verifier {
        Verifier { bits: hash([b"cloakroom/verify", &id.0, &self.0]), key: unkeyed() }
    }

    /// As [`Secret::verifier`], but only who has the key can make it.
    pub(crate) fn keyed_verifier(&self, id: &SessionId, key: KeyId, hmac: &Hmac) -> Verifier {
        let mut bits = [0; 16];
        bits.copy_from_slice(&hmac.of(&[&id.0, &self.0])[..16]);
        Verifier { bits, key }
    }

    /// The secret that follows this one in a periodic rotation. Every request that presents this secret derives the
    /// same successor, so parallel requests can't be handed different ones.
    pub(crate) fn successor(&self, salt: &[u8; 16]) -> Secret {
        Secret(hash([b"cloakroom/rotate", salt, &self.0]))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A one-way image of a [`Secret`]: the first 128 bits of a SHA-256 hash. Whoever reads the store can't present it.
///
/// A fast hash is right here: the input is 128 random bits, not a password, so there is nothing to guess.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Verifier {
    bits: [u8; 16],
    /// Which key it was made with. Stored apart, so that what is stored without a key ring is as it always was.
    #[serde(skip, default = "unkeyed")]
    key: KeyId,
}

fn unkeyed() -> KeyId {
    KeyId::NONE
}

impl Verifier {
    /// Of no secret: where the session is in its cookie, there is none.
    pub(crate) const NONE: Self = Self { bits: [0; 16], key: KeyId::NONE };

    /// The first 64 bits: enough to recognise a secret that has been replaced, without keeping it whole.
    #[must_use]
    pub(crate) fn trace(&self) -> Trace {
        let mut bits = [0; 8];
        bits.copy_from_slice(&self.bits[..8]);
        Trace { bits, key: self.key }
    }

    /// Compares in constant time.
    #[must_use]
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let number = |bits: [u8; 16]| u128::from_ne_bytes(bits);
        self.key == other.key && bool::from(number(self.bits).ct_eq(&number(other.bits)))
    }

    pub(crate) fn key(&self) -> KeyId {
        self.key
    }

    pub(crate) fn set_key(&mut self, key: KeyId) {
        self.key = key;
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

/// A truncated verifier of a secret that has been replaced.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Trace {
    bits: [u8; 8],
    #[serde(skip, default = "unkeyed")]
    key: KeyId,
}

impl Trace {
    pub(crate) fn matches(&self, verifier: &Verifier) -> bool {
        let other = verifier.trace();
        let number = |bits: [u8; 8]| u64::from_ne_bytes(bits);
        self.key == other.key && bool::from(number(self.bits).ct_eq(&number(other.bits)))
    }

    pub(crate) fn key(&self) -> KeyId {
        self.key
    }

    pub(crate) fn set_key(&mut self, key: KeyId) {
        self.key = key;
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace(…)")
    }
}

/// The cookie's value: id and secret together, 43 characters of base64url without padding.
///
/// Parsing is strict: the exact length, the exact alphabet, no stray bits in the last character. Anything else is no
/// token at all, and costs no store call.
///
/// ```
/// use cloakroom_core::{Secret, SessionId, Token};
///
/// let token = Token::new(SessionId::from_bytes([1; 16]), Secret::from_bytes([2; 16]));
/// let cookie_value = token.expose();
/// assert_eq!(cookie_value.len(), 43);
/// assert_eq!(Token::parse(cookie_value.as_bytes()).map(|token| token.id()), Some(token.id()));
/// assert!(Token::parse(b"guessed").is_none());
/// assert_eq!(format!("{token:?}"), "Token(AQEBAQEBAQEBAQEBAQEBAQ, …)");
/// ```
#[derive(Clone)]
pub struct Token {
    id: SessionId,
    secret: Secret,
}

impl Token {
    /// Length of a token in the cookie, in bytes.
    pub const LENGTH: usize = 43;

    /// Joins an id and a secret.
    #[must_use]
    pub const fn new(id: SessionId, secret: Secret) -> Self {
        Self { id, secret }
    }

    /// Reads a cookie's value; `None` unless it is exactly a token.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        decode_words(value.try_into().ok()?).map(Self::from_words)
    }

    /// The token of these bytes: the id, then the secret.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        let (mut id, mut secret) = ([0; 16], [0; 16]);
        id.copy_from_slice(&bytes[..16]);
        secret.copy_from_slice(&bytes[16..]);
        Self { id: SessionId(id), secret: Secret(secret) }
    }

    fn from_words(words: [u64; 4]) -> Self {
        let bytes = |high: u64, low: u64| (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        let [id_high, id_low, secret_high, secret_low] = words;
        Self { id: SessionId(bytes(id_high, id_low)), secret: Secret(bytes(secret_high, secret_low)) }
    }

    /// The public half.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The secret half.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The text for the cookie. It grants access to the session: it belongs in the `Set-Cookie` header and nowhere
    /// else.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..].copy_from_slice(&self.secret.0);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, …)", self.id)
    }
}

/// Strict base64url: exact length and canonical, or nothing.
fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

/// Strict base64url of 32 bytes, as four numbers. Every request with a session has one of these to read, and a decoder
/// for any length writes its bytes in pieces that whoever reads them next has to wait for.
fn decode_words(text: &[u8; Token::LENGTH]) -> Option<[u64; 4]> {
    // Eight characters are 48 bits; the last three are 16 and two that must be zero.
    let (eights, last) = text.as_chunks::<8>();
    let ([one, two, three, four, five], [x, y, z]) = (eights.as_array()?, last.as_array()?);
    let ((a, seen_a), (b, seen_b), (c, seen_c)) = (decode_eight(one), decode_eight(two), decode_eight(three));
    let ((d, seen_d), (e, seen_e)) = (decode_eight(four), decode_eight(five));
    let (f, seen_f) = decode_eight(&[b'A', b'A', b'A', b'A', b'A', *x, *y, *z]);
    let is_canonical = seen_a | seen_b | seen_c | seen_d | seen_e | seen_f < NO_DIGIT && f & 0b11 == 0;
    is_canonical.then_some([a << 16 | b >> 32, b << 32 | c >> 16, c << 48 | d, e << 16 | f >> 2])
}

/// The number that eight digits make, and all that was seen in them. Not inlined six times: there is little room in a
/// processor for the code of a whole request.
#[inline(never)]
fn decode_eight(text: &[u8; 8]) -> (u64, u8) {
    text.iter().fold((0, 0), |(number, seen), character| {
        let digit = DIGITS[usize::from(*character)];
        (number << 6 | u64::from(digit), seen | digit)
    })
}

/// What each character stands for.
const DIGITS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut digits = [NO_DIGIT; 256];
    let mut at = 0;
    while at < alphabet.len() {
        digits[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    digits
};

const NO_DIGIT: u8 = 64;

/// SHA-256 over three fixed-length parts, the first of which names the purpose, cut to 128 bits.
///
/// With its padding that is exactly one block, made in place: taking a message of any length to pieces would cost as
/// much again as the hash.
fn hash(parts: [&[u8; 16]; 3]) -> [u8; 16] {
    let mut block = [0; 64];
    for (place, part) in block.chunks_exact_mut(16).zip(parts) {
        place.copy_from_slice(part);
    }
    block[48] = 0x80;
    block[62..].copy_from_slice(&MESSAGE_BITS.to_be_bytes());
    let mut state = SHA_256_START;
    compress256(&mut state, &[block]);
    let [a, b, c, d, ..] = state.map(u128::from);
    (a << 96 | b << 64 | c << 32 | d).to_be_bytes()
}

const MESSAGE_BITS: u16 = 3 * 16 * 8;

/// FIPS 180-4, section 5.3.3.
const SHA_256_START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn token(byte: u8) -> Token {
        Token::new(SessionId([byte; 16]), Secret([byte ^ 0xff; 16]))
    }

    proptest! {
        #[test]
        fn cs_hostile_any_bytes_parse_to_a_canonical_token_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(token) = Token::parse(&bytes) {
                prop_assert_eq!(token.expose().into_bytes(), bytes);
            }
        }

        #[test]
        fn cs_hostile_text_of_a_tokens_length_parses_as_base64url_or_not_at_all(text in "[A-Za-z0-9_+/= -]{43}") {
            let token = Token::parse(text.as_bytes());
            let expected = decode::<32>(text.as_bytes()).map(Token::from_bytes);
            prop_assert_eq!(token.map(|token| token.expose()), expected.map(|token| token.expose()));
        }

        #[test]
        fn the_one_block_is_hashed_as_any_message(parts: [[u8; 16]; 3]) {
            let digest = Sha256::digest(parts.concat());
            prop_assert_eq!(&hash([&parts[0], &parts[1], &parts[2]])[..], &digest[..16]);
        }

        #[test]
        fn tokens_round_trip(id: [u8; 16], secret: [u8; 16]) {
            let text = Token::new(SessionId(id), Secret(secret)).expose();
            let token = Token::parse(text.as_bytes()).unwrap();
            prop_assert_eq!((token.id.0, token.secret.0), (id, secret));
        }
    }

    #[test]
    fn a_non_canonical_last_character_is_no_token() {
        let text = token(0).expose();
        for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
            let altered = format!("{}{last}", &text[..42]);
            let canonical = Token::parse(altered.as_bytes()).is_some();
            assert_eq!(canonical, "AEIMQUYcgkosw048".contains(last), "{last}");
        }
    }

    #[test]
    fn padding_blanks_and_the_other_alphabet_are_no_token() {
        let text = token(0xfb).expose();
        for bad in
            [format!("{text}="), format!(" {text}"), text.replace(['-', '_'], "+"), text[..42].to_owned()]
        {
            assert!(Token::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a16_2_5_debug_shows_nothing_of_a_secret() {
        let token = token(0x5a);
        let secret_text = &token.expose()[22..];
        let shown = format!("{token:?} {:?} {:?}", token.secret(), token.secret().verifier(&token.id()));
        assert!(!shown.contains(secret_text) && !shown.contains("165") && !shown.contains("a5"), "{shown}");
    }

    #[test]
    fn a_verifier_is_bound_to_its_id() {
        let secret = Secret([3; 16]);
        assert!(!secret.verifier(&SessionId([1; 16])).matches(&secret.verifier(&SessionId([2; 16]))));
    }

    /// Known answers: verifiers stored by one version must verify under the next.
    #[test]
    fn verifier_and_successor_are_stable() {
        let (id, secret) = (SessionId([1; 16]), Secret([2; 16]));
        assert_eq!(u128::from_be_bytes(secret.verifier(&id).bits), 0x29c5468867fb378939f0685254930176);
        assert_eq!(u128::from_be_bytes(secret.successor(&[9; 16]).0), 0xd5aefcf607a73c4098ce4c0adb3638d1);
    }
}
