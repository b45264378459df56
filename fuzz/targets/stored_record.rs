//! Any bytes as a record out of a store: a record that is written as it was read, or an error.
#![no_main]

use cloakroom_core::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        let written = record.encode().expect("what was read can be written");
        let again = Record::decode(&written).expect("what was written can be read");
        assert_eq!(again.encode().expect("as before"), written);
        // Times out of range are the far past or future, never a panic.
        let _ = record.is_alive(record.times.active);
        let _ = record.expires();
    }
});
