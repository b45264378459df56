//! The data guard: what doesn't belong in a session.
//!
//! A session is copied into stores, backups and, sealed, into browsers: whoever reads one there should learn nothing
//! that outlives it.

/// Whether an entry's name says, in any usual spelling, that it holds what must not be in a session.
///
/// ```
/// use cloakroom_core::guard::is_telling;
///
/// assert!(is_telling("password") && is_telling("cardNumber") && is_telling("CARD-NUMBER"));
/// assert!(!is_telling("password_changed_at"));
/// ```
#[must_use]
pub fn is_telling(name: &str) -> bool {
    let letters = || name.bytes().filter(|byte| !b"_-. ".contains(byte));
    TELLING.iter().any(|telling| letters().map(|byte| byte.to_ascii_lowercase()).eq(telling.bytes()))
}

/// In lower case, without what separates words.
const TELLING: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "passwordhash",
    "hashedpassword",
    "cardnumber",
    "creditcard",
    "creditcardnumber",
    "ccnumber",
    "cardcvc",
    "cardcvv",
    "cvc",
    "cvv",
    "ssn",
    "socialsecuritynumber",
    "privatekey",
];

/// What a value looks like that shouldn't be in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resemblance {
    /// A payment card's number: a known issuer's, of the right length, and with the right check digit. One in some
    /// hundreds of numeric ids looks so, too.
    CardNumber,
    /// A password's hash, as the usual functions write it.
    PasswordHash,
}

/// How much of a value is looked at.
const BYTES_MAX: usize = 4_096;

/// What a value resembles, or something within it: each text and each number in its JSON is looked at.
///
/// ```
/// use cloakroom_core::guard::{Resemblance, resemblance};
///
/// assert_eq!(resemblance(br#"{"paid_with":"4111 1111 1111 1111"}"#), Some(Resemblance::CardNumber));
/// assert_eq!(resemblance(br#""$2b$12$R9h/cIPz0gi.URNNX3kh2O""#), Some(Resemblance::PasswordHash));
/// assert_eq!(resemblance(br#"{"order":1764155000000}"#), None);
/// ```
#[must_use]
pub fn resemblance(json: &[u8]) -> Option<Resemblance> {
    let mut rest = &json[..json.len().min(BYTES_MAX)];
    while let Some(first) = rest.first() {
        let (token, bytes) = match first {
            b'"' => {
                let text = text(&rest[1..]);
                (text, text.len() + 2)
            }
            b'0'..=b'9' => {
                let number = rest.iter().take_while(|byte| byte.is_ascii_digit() || b".eE+-".contains(byte));
                let bytes = number.count();
                (&rest[..bytes], bytes)
            }
            _ => (&[][..], 1),
        };
        if is_password_hash(token) {
            return Some(Resemblance::PasswordHash);
        }
        if is_card_number(token) {
            return Some(Resemblance::CardNumber);
        }
        rest = rest.get(bytes..).unwrap_or_default();
    }
    None
}

/// A text up to its closing quotation mark.
fn text(after_quote: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(byte) = after_quote.get(at) {
        match byte {
            b'"' => return &after_quote[..at],
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    after_quote
}

/// The modular crypt format of bcrypt, Argon2, scrypt, yescrypt, PBKDF2 and SHA-2, and Django's way of writing it.
fn is_password_hash(text: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 12] = [
        b"$2a$",
        b"$2b$",
        b"$2y$",
        b"$argon2",
        b"$scrypt$",
        b"$7$",
        b"$y$",
        b"$pbkdf2",
        b"$5$",
        b"$6$",
        b"pbkdf2_sha",
        b"argon2$argon2",
    ];
    matches!(text.first(), Some(b'$' | b'p' | b'a')) && BEGINNINGS.iter().any(|begin| text.starts_with(begin))
}

fn is_card_number(text: &[u8]) -> bool {
    const SEPARATORS_MAX: usize = 4;
    const DIGITS_MAX: usize = 19;
    if !(13..=DIGITS_MAX + SEPARATORS_MAX).contains(&text.len()) {
        return false;
    }
    let (mut digits, mut count) = ([0; DIGITS_MAX], 0);
    for byte in text {
        match byte {
            b'0'..=b'9' if count < DIGITS_MAX => {
                digits[count] = u32::from(byte - b'0');
                count += 1;
            }
            b' ' | b'-' if count > 0 => {}
            _ => return false,
        }
    }
    let digits = &digits[..count];
    is_of_an_issuer(digits) && has_check_digit(digits)
}

/// Visa; American Express; Diners Club; Mastercard; Discover, JCB and UnionPay.
fn is_of_an_issuer(digits: &[u32]) -> bool {
    let [first, second, ..] = digits else { return false };
    match (10 * first + second, digits.len()) {
        (40..=49, length) => matches!(length, 13 | 16 | 19),
        (34 | 37, length) => length == 15,
        (36 | 38, length) => length == 14,
        (22..=27 | 51..=55, length) => length == 16,
        (35 | 60 | 62 | 64 | 65, length) => length == 16,
        _ => false,
    }
}

/// ISO/IEC 7812-1, annex B.
fn has_check_digit(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit < 5 { 2 * digit } else { 2 * digit - 9 };
    let weighed = digits.iter().rev().enumerate();
    let sum: u32 = weighed.map(|(at, digit)| if at % 2 == 0 { *digit } else { doubled(*digit) }).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell_are_known_in_each_spelling() {
        for name in ["password", "Password", "PASS_WORD", "card.number", "cardNumber", "credit-card", "cvv"] {
            assert!(is_telling(name), "{name}");
        }
        for name in ["", "_", "passwords", "password_reset_at", "card", "pin", "pass", "secret"] {
            assert!(!is_telling(name), "{name}");
        }
    }

    #[test]
    fn values_that_look_like_secrets_are_known_wherever_they_lie() {
        let cards = ["4111111111111111", "4111-1111-1111-1111", "378282246310005", "5555 5555 5555 4444"];
        for card in cards {
            for json in [format!("\"{card}\""), format!(r#"{{"a":[1,"\"{card}","{card}"]}}"#)] {
                assert_eq!(resemblance(json.as_bytes()), Some(Resemblance::CardNumber), "{json}");
            }
        }
        assert_eq!(resemblance(b"{\"n\":4111111111111111}"), Some(Resemblance::CardNumber));
        let hashes =
            ["$2y$10$abc", "$argon2id$v=19$m=65536", "pbkdf2_sha256$600000$salt$hash", "$6$salt$hash"];
        for hash in hashes {
            let json = format!(r#"{{"user":{{"hash":"{hash}"}}}}"#);
            assert_eq!(resemblance(json.as_bytes()), Some(Resemblance::PasswordHash), "{json}");
        }
    }

    #[test]
    fn what_only_looks_a_little_like_it_is_left_alone() {
        for json in [
            "",
            "\"",
            "\"\\",
            "\"4111111111111112\"",
            "1764155000000",
            "4111111111111111.5",
            "0.4111111111111111",
            "\"x4111111111111111\"",
            "\"4111111111111111 or so\"",
            "\"costs $2a$\"",
            "[\"$5\",\"$\",\"pay\"]",
            "\"0000000000000000\"",
        ] {
            assert_eq!(resemblance(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn a_value_is_looked_at_up_to_a_bound() {
        let far = format!("\"{}\",\"4111111111111111\"", "x".repeat(BYTES_MAX));
        assert_eq!(resemblance(far.as_bytes()), None);
    }
}
