//! Sealing: known answers, and everything that must not open.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::{collections::HashSet, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cloakroom::{
    Timestamp,
    keyring::{KeyId, KeyRing, Material, Schedule},
};
use cloakroom_sealed::{Rejected, Salt, Sealer, sealed_len};
use proptest::prelude::*;

const ID: KeyId = KeyId::from_bytes([0x9f, 0x3a, 0x01, 0xc2]);
const SALT: Salt = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];
const OVERHEAD: usize = 1 + 4 + 24 + 32 + 16;

fn first() -> Material {
    Material::new(std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ (i * i) as u8)).unwrap()
}

fn second() -> Material {
    Material::new(std::array::from_fn(|i| (i as u8).wrapping_mul(91).wrapping_add(17) ^ (i * i * 3) as u8))
        .unwrap()
}

fn ring(id: KeyId, material: Material) -> Arc<KeyRing> {
    Arc::new(KeyRing::new(id, material, Timestamp::ZERO).unwrap())
}

fn sealer() -> Sealer {
    Sealer::new(ring(ID, first()), "__Host-session", "session").unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// Computed with another implementation (Python's `cryptography`: HKDFExpand, CMAC, AESGCM) from the description in
/// `src/seal.rs`. What one version has sealed must open under the next.
#[test]
fn a11_3_4_known_answers() {
    let all: Vec<u8> = (0..100).collect();
    let other = Sealer::new(ring(KeyId::from_bytes([0, 0, 0, 1]), second()), "s", "csrf").unwrap();
    let cases: [(&Sealer, &[u8], Salt, &str); 3] = [
        (
            &sealer(),
            b"",
            SALT,
            "AZ86AcIAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhdSv6wELG3RRQGaj_kgnxAPVX9mQ7udt5LlB-N_KdX5hC92hCtB\
             D1aYjtLApEin0v4",
        ),
        (
            &sealer(),
            b"two umbrellas",
            SALT,
            "AZ86AcIAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhdSv6wELG3RRQGaj_kgnxAPVX9mQ7udt5LlB-N_KdX5hNe1qzRK\
             Scykl4lwIsklZOaM4T5WicWZJUvn5U51",
        ),
        (
            &other,
            &all,
            [255; 24],
            "AQAAAAH_______________________________9tTm4RtrzUUPX-GoHud8T-Zx0KAIUDTqz704ZG6Eg-T3YA4GTX\
             HHDRvzvADUfL_7pLPgOIqJXhlUEir4YQT1dW1qMYKHjW1S2_i6ungkkO1pfQ7W0L5gCFjmWJjgef_hGQdtoxsgZy\
             6OElFHh7PWcnSzSBHxML9slrJQGRsYQV0N7vtnOdJj5UZL463PVFnwhSIrv6",
        ),
    ];
    for (sealer, plaintext, salt, expected) in cases {
        assert_eq!(sealer.seal(plaintext, &salt).unwrap(), expected);
        assert_eq!(sealer.open(expected.as_bytes()).unwrap(), plaintext);
        assert_eq!(expected.len(), sealed_len(plaintext.len()));
    }
}

#[test]
fn a9_1_1_a11_3_3_no_single_bit_can_be_flipped() {
    let sealer = sealer();
    let value = sealer.seal(b"two umbrellas", &random()).unwrap();
    let sealed = URL_SAFE_NO_PAD.decode(&value).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0 => Rejected::Malformed,
            1..=4 => Rejected::UnknownKey(KeyId::from_bytes(altered[1..5].try_into().unwrap())),
            _ => Rejected::BadSeal,
        };
        assert_eq!(sealer.open(URL_SAFE_NO_PAD.encode(altered).as_bytes()), Err(expected), "bit {bit}");
    }
    // The same on the text, whose last character has bits that mean nothing.
    for bit in 0..value.len() * 8 {
        let mut altered = value.clone().into_bytes();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(sealer.open(&altered).is_err(), "bit {bit} of the text");
    }
}

#[test]
fn a9_1_1_nothing_shorter_or_longer_opens() {
    let sealer = sealer();
    let value = sealer.seal(b"two umbrellas", &random()).unwrap();
    let sealed = URL_SAFE_NO_PAD.decode(&value).unwrap();
    for length in 0..sealed.len() {
        let expected = if length < OVERHEAD { Rejected::Malformed } else { Rejected::BadSeal };
        assert_eq!(
            sealer.open(URL_SAFE_NO_PAD.encode(&sealed[..length]).as_bytes()),
            Err(expected),
            "{length} bytes"
        );
    }
    for length in 0..value.len() {
        assert!(sealer.open(&value.as_bytes()[..length]).is_err(), "{length} characters");
    }
    for tail in ["A", "AA", "AAA", "AAAA", "=", "==", " ", "\n", "\0"] {
        assert!(sealer.open(format!("{value}{tail}").as_bytes()).is_err(), "{tail:?}");
    }
    let long = "A".repeat(4097);
    assert_eq!(sealer.open(long.as_bytes()), Err(Rejected::Malformed));
}

#[test]
fn the_longest_value_fits_and_the_next_is_refused() {
    let sealer = sealer();
    let longest = (0..4096).rfind(|bytes| sealed_len(*bytes) <= 4096).unwrap();
    let value = sealer.seal(&vec![7; longest], &random()).unwrap();
    assert_eq!(sealer.open(value.as_bytes()).unwrap(), vec![7; longest]);
    let error = sealer.seal(&vec![7; longest + 1], &random()).unwrap_err();
    assert!(error.is_invalid(), "{error}");
}

#[test]
fn a9_2_2_a9_2_3_a_value_is_bound_to_cookie_purpose_key_id_and_key() {
    let value = sealer().seal(b"two umbrellas", &random()).unwrap();
    let refused = [
        ("another cookie", ring(ID, first()), "__Host-other", "session"),
        ("another purpose", ring(ID, first()), "__Host-session", "flash"),
        ("a shifted border", ring(ID, first()), "__Host-sessions", "ession"),
        ("another key of the same id", ring(ID, second()), "__Host-session", "session"),
    ];
    for (what, ring, name, purpose) in refused {
        let other = Sealer::new(ring, name, purpose).unwrap();
        assert_eq!(other.open(value.as_bytes()), Err(Rejected::BadSeal), "{what}");
    }
    let mut renamed = URL_SAFE_NO_PAD.decode(&value).unwrap();
    renamed[1..5].copy_from_slice(&[5; 4]);
    let same_key =
        Sealer::new(ring(KeyId::from_bytes([5; 4]), first()), "__Host-session", "session").unwrap();
    assert_eq!(same_key.open(URL_SAFE_NO_PAD.encode(renamed).as_bytes()), Err(Rejected::BadSeal));
}

#[test]
fn a9_1_2_another_version_is_malformed() {
    let sealer = sealer();
    let mut sealed = URL_SAFE_NO_PAD.decode(sealer.seal(b"x", &random()).unwrap()).unwrap();
    for version in (0..=255).filter(|version| *version != 1) {
        sealed[0] = version;
        assert_eq!(sealer.open(URL_SAFE_NO_PAD.encode(&sealed).as_bytes()), Err(Rejected::Malformed));
    }
}

/// Whoever tries values learns nothing of why they fail: commitment, ciphertext, tag, name, purpose and key all fail as
/// one and the same, with nothing behind it.
#[test]
fn a11_2_5_every_failure_of_a_seal_is_the_same() {
    let sealer = sealer();
    let value = URL_SAFE_NO_PAD.decode(sealer.seal(b"two umbrellas", &random()).unwrap()).unwrap();
    let altered = |at: usize| {
        let mut altered = value.clone();
        altered[at] ^= 0x80;
        URL_SAFE_NO_PAD.encode(altered)
    };
    let whole = URL_SAFE_NO_PAD.encode(&value);
    let other = |ring, name, purpose| Sealer::new(ring, name, purpose).unwrap();
    let failures = [
        sealer.open(altered(5).as_bytes()),
        sealer.open(altered(29).as_bytes()),
        sealer.open(altered(61).as_bytes()),
        sealer.open(altered(value.len() - 1).as_bytes()),
        other(ring(ID, first()), "s", "session").open(whole.as_bytes()),
        other(ring(ID, first()), "__Host-session", "s").open(whole.as_bytes()),
        other(ring(ID, second()), "__Host-session", "session").open(whole.as_bytes()),
    ];
    for failure in failures {
        assert_eq!(format!("{failure:?}"), "Err(BadSeal)");
    }
}

/// The commitment alone tells keys apart: without it, one ciphertext could be made to open under two keys.
#[test]
fn the_commitment_is_of_the_key() {
    let salts = random();
    let part = |material| {
        let sealer = Sealer::new(ring(ID, material), "__Host-session", "session").unwrap();
        URL_SAFE_NO_PAD.decode(sealer.seal(b"x", &salts).unwrap()).unwrap()[29..61].to_vec()
    };
    assert_eq!(part(first()), part(first()));
    assert_ne!(part(first()), part(second()));
}

#[test]
fn a9_1_2_a11_2_2_a_key_seals_as_primary_opens_while_retiring_and_is_then_unknown() {
    const HOUR: Duration = Duration::from_secs(3600);
    let schedule = Schedule::for_lifetime(24 * HOUR).unwrap();
    let next = KeyId::from_bytes([5; 4]);
    let make = |ring: &KeyRing| Sealer::new(Arc::new(ring.clone()), "__Host-session", "session").unwrap();

    let mut ring = KeyRing::new(ID, first(), Timestamp::ZERO).unwrap();
    let before = make(&ring);
    let old_value = before.seal(b"x", &random()).unwrap();
    ring.publish(next, second(), Timestamp::ZERO + HOUR).unwrap();
    let published = make(&ring);
    assert_eq!(before.open(published.seal(b"x", &random()).unwrap().as_bytes()), Ok(b"x".to_vec()));
    ring.promote(next, Timestamp::ZERO + 2 * HOUR, &schedule).unwrap();
    let promoted = make(&ring);
    let new_value = promoted.seal(b"x", &random()).unwrap();
    assert_eq!(promoted.open(old_value.as_bytes()), Ok(b"x".to_vec()));
    assert_eq!(published.open(new_value.as_bytes()), Ok(b"x".to_vec()), "a node that is a step behind");
    assert_eq!(before.open(new_value.as_bytes()), Err(Rejected::UnknownKey(next)), "two steps behind");
    ring.remove(ID, Timestamp::ZERO + 27 * HOUR, &schedule).unwrap();
    let removed = make(&ring);
    assert_eq!(removed.open(old_value.as_bytes()), Err(Rejected::UnknownKey(ID)));
    assert_eq!(removed.open(new_value.as_bytes()), Ok(b"x".to_vec()));
}

#[test]
fn sealed_values_of_one_plaintext_have_nothing_in_common() {
    let sealer = sealer();
    let mut salts = HashSet::new();
    let mut ciphertexts = HashSet::new();
    for _ in 0..10_000 {
        let sealed = URL_SAFE_NO_PAD.decode(sealer.seal(b"two umbrellas", &random()).unwrap()).unwrap();
        assert!(salts.insert(sealed[5..29].to_vec()));
        assert!(ciphertexts.insert(sealed[29..].to_vec()));
    }
}

/// Pairs of key and nonce are chosen by the salt, one to one; so a salt that occurred twice would be a repeated pair, and
/// nothing else would. The salts are those that were sealed with, read back from the values.
#[test]
fn a11_3_4_ten_million_seals_never_repeat_a_key_and_nonce() {
    const SEALS: usize = 10_000_000;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let sealer = &sealer();
    let mut salts: Vec<u128> = std::thread::scope(|scope| {
        let work = |count: usize| {
            move || -> Vec<u128> {
                let mut random = [0; 24 * 512];
                let mut salts = Vec::with_capacity(count);
                while salts.len() < count {
                    getrandom::fill(&mut random).unwrap();
                    for salt in random.as_chunks::<24>().0.iter().take(count - salts.len()) {
                        let value = sealer.seal(b"", salt).unwrap();
                        // Characters 4 to 39 are bytes 3 to 29; of the salt's, 5 to 28, two thirds will do.
                        let sealed = URL_SAFE_NO_PAD.decode(&value.as_bytes()[4..40]).unwrap();
                        salts.push(u128::from_le_bytes(sealed[2..18].try_into().unwrap()));
                    }
                }
                salts
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work(SEALS / threads))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    salts.sort_unstable();
    assert!(salts.len() > SEALS - threads && salts.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a16_2_5_debug_shows_no_key() {
    let shown = format!("{:?}", sealer());
    assert_eq!(shown, "Sealer({Key(9f3a01c2 primary since 0 ms)})");
}

proptest! {
    #[test]
    fn what_is_sealed_opens(plaintext in proptest::collection::vec(any::<u8>(), 0..2900), salt: [u8; 24]) {
        let value = sealer().seal(&plaintext, &salt).unwrap();
        prop_assert_eq!(value.len(), sealed_len(plaintext.len()));
        prop_assert_eq!(sealer().open(value.as_bytes()).unwrap(), plaintext);
    }

    #[test]
    fn cs_hostile_any_bytes_are_rejected(value in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(sealer().open(&value).is_err());
    }

    #[test]
    fn cs_hostile_any_base64url_with_our_header_is_rejected(body in proptest::collection::vec(any::<u8>(), 0..600)) {
        let sealed = [&[1][..], ID.as_bytes(), &body].concat();
        let expected = if sealed.len() < OVERHEAD { Rejected::Malformed } else { Rejected::BadSeal };
        prop_assert_eq!(sealer().open(URL_SAFE_NO_PAD.encode(sealed).as_bytes()), Err(expected));
    }

    #[test]
    fn cs_hostile_spliced_values_are_rejected(salts: [[u8; 24]; 2], cut in 1usize..90) {
        let sealer = sealer();
        let [one, two] = salts.map(|salt| URL_SAFE_NO_PAD.decode(sealer.seal(&[salt[0]; 13], &salt).unwrap()).unwrap());
        let spliced = [&one[..cut], &two[cut..]].concat();
        let opened = sealer.open(URL_SAFE_NO_PAD.encode(&spliced).as_bytes());
        prop_assert!(opened.is_err() || spliced == one || spliced == two);
    }
}
