//! Any text as a session's data: the same data when it is written and read again, or an error.
#![no_main]

use cloakroom_core::Data;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(data) = Data::from_json(text) {
        let again = Data::from_json(&data.to_json()).expect("what was written can be read");
        assert!(again == data);
        let stored = Data::from_bytes(data.as_bytes()).expect("what is stored can be read");
        assert!(stored == data);
    }
});
