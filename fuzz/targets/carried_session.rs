//! Any bytes as what was sealed into a cookie: a session that is written as it was read, or an error.
#![no_main]

use cloakroom_core::carried::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((record, stamp)) = decode(bytes) {
        let written = encode(&record, stamp).expect("what was read can be written");
        let (again, stamp_again) = decode(&written).expect("what was written can be read");
        assert_eq!(encode(&again, stamp_again).expect("as before"), written);
    }
});
