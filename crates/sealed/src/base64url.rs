//! base64url without padding, strict and canonical, with the processor's vector instructions where it has them: a
//! table look-up for each character would cost as much as the cipher.

use base64::Engine;

/// Left at the end for the rest of a cookie.
const ROOM_BYTES: usize = 160;

pub(crate) fn encode(bytes: &[u8]) -> String {
    let length = bytes.len().saturating_mul(4).div_ceil(3);
    let mut text = String::with_capacity(length + ROOM_BYTES);
    engine().encode_string(bytes, &mut text);
    text
}

/// `None` unless it is exactly what [`encode`] gives for some bytes.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    engine().decode(text).ok()
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn engine() -> &'static impl Engine {
    use base64::engine::{Simd, general_purpose::NO_PAD};
    use std::sync::LazyLock;

    static ENGINE: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));
    &*ENGINE
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn engine() -> &'static impl Engine {
    &base64::engine::general_purpose::URL_SAFE_NO_PAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_round_trip_and_no_other_text_decodes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(text.as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn cs_hostile_what_decodes_is_canonical(
            text in "[A-Za-z0-9_-]{0,300}[A-Za-z0-9_+/= -]{0,3}[A-Za-z0-9_-]{0,100}",
        ) {
            if let Some(bytes) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
