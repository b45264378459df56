//! Any text as a key ring: the same ring when it is written and read again, or an error that repeats no line of it.
#![no_main]

use cloakroom_core::keyring::KeyRing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match KeyRing::parse(text) {
        Ok(ring) => {
            let again = KeyRing::parse(&ring.expose()).expect("what was written can be read");
            assert!(again.is_same(&ring));
        }
        Err(error) => {
            let said = error.to_string();
            let secrets = text.split_whitespace().filter(|word| word.len() >= 40);
            assert!(secrets.into_iter().all(|word| !said.contains(word)), "an error tells a key");
        }
    }
});
