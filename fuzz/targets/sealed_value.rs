//! Any bytes as a sealed value: without the key nothing opens, and what was sealed opens only as it is.
#![no_main]

use std::sync::{Arc, LazyLock};

use cloakroom_core::{
    Timestamp,
    keyring::{KeyId, KeyRing, Material},
};
use cloakroom_sealed::Sealer;
use libfuzzer_sys::fuzz_target;

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    let material = Material::new(std::array::from_fn(|place| (place * place * 57 + place * 13 + 101) as u8))
        .expect("it is no sample key");
    let ring = KeyRing::new(KeyId::from_bytes([7; 4]), material, Timestamp::ZERO).expect("one key is a ring");
    Sealer::new(Arc::new(ring), "__Host-session", "session").expect("the name is a cookie's")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    match how % 3 {
        0 => assert!(SEALER.open(rest).is_err(), "forged"),
        // The value is the input's, the seal is true.
        1 => match SEALER.seal(rest, &[9; 24]) {
            Ok(sealed) => assert!(SEALER.open(sealed.as_bytes()).is_ok_and(|opened| opened == rest)),
            Err(_) => assert!(rest.len() > 2_900, "it would have fitted into a cookie"),
        },
        // The seal is true, and then altered as the input says.
        _ => {
            let sealed = SEALER.seal(b"a session", &[9; 24]).expect("it isn't too long");
            let mut altered = sealed.clone().into_bytes();
            for pair in rest.chunks_exact(2) {
                let place = usize::from(pair[0]) % altered.len();
                altered[place] ^= pair[1];
            }
            altered.extend(rest.first().filter(|first| **first > 0xf0));
            assert_eq!(SEALER.open(&altered).is_ok(), altered == sealed.as_bytes(), "altered, and opened");
        }
    }
});
