//! A session's bytes, made smaller before they are sealed.
//!
//! ```text
//! 2 | length of what follows (2, little-endian) | deflated | zeros up to the next multiple of 256
//! ```
//!
//! Padding hides most of what a length tells of the data. What isn't packed begins with another byte, so both are read,
//! whatever the setting is.

use std::{borrow::Cow, sync::LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use miniz_oxide::{deflate::compress_to_vec, inflate::decompress_to_vec_with_limit};

const MARK: u8 = 2;
const HEADER_BYTES: usize = 3;
const STEP_BYTES: usize = 256;
/// As zlib's default: more effort saves hardly a byte of so little.
const LEVEL: u8 = 6;

/// `None` if it is too long to be packed.
pub(crate) fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    let deflated = compress_to_vec(plain, LEVEL);
    let length = u16::try_from(deflated.len()).ok()?;
    let mut packed = vec![MARK];
    packed.extend_from_slice(&length.to_le_bytes());
    packed.extend_from_slice(&deflated);
    packed.resize(packed.len().next_multiple_of(STEP_BYTES), 0);
    Some(packed)
}

/// The most bytes that take no more than this many when they are packed, whatever they are. What can't be deflated is
/// stored, in blocks of up to 64 KiB with a head of five bytes.
pub(crate) const fn sure(packed_bytes: usize) -> usize {
    packed_bytes.saturating_sub(HEADER_BYTES + 16 + STEP_BYTES)
}

/// So many bytes that can't be packed, always the same: in the place of what isn't known yet.
pub(crate) fn filler(bytes: usize) -> &'static [u8] {
    static FILLER: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..32_u8).flat_map(|number| digest(&SHA256, &[number]).as_ref().to_vec()).collect()
    });
    &FILLER[..bytes.min(FILLER.len())]
}

/// Only for bytes that a seal has vouched for; and even then to no more than so many. `None` if they aren't whole.
pub(crate) fn unpack(bytes: &[u8], plain_bytes_max: usize) -> Option<Cow<'_, [u8]>> {
    let [MARK, low, high, rest @ ..] = bytes else { return Some(Cow::Borrowed(bytes)) };
    let (deflated, padding) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
    let is_padding = padding.len() < STEP_BYTES && padding.iter().all(|byte| *byte == 0);
    let is_whole = bytes.len().is_multiple_of(STEP_BYTES) && bytes.len() > HEADER_BYTES && is_padding;
    if !is_whole {
        return None;
    }
    decompress_to_vec_with_limit(deflated, plain_bytes_max).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_was_packed_is_unpacked(plain in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3_000)) {
            let packed = pack(&plain).unwrap();
            proptest::prop_assert!(packed.len().is_multiple_of(STEP_BYTES));
            proptest::prop_assert_eq!(&*unpack(&packed, 3_000).unwrap(), &plain[..]);
        }

        #[test]
        fn cs_hostile_any_bytes_are_unpacked_or_not(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            let marked = [&[MARK][..], &bytes].concat();
            if let Some(plain) = unpack(&marked, 10_000) {
                proptest::prop_assert!(plain.len() <= 10_000);
            }
        }
    }

    #[test]
    fn what_surely_fits_does() {
        for packed_bytes in [256, 512, 2_816, 3_000, 11_000] {
            let bytes = sure(packed_bytes);
            assert!(
                pack(&filler(1_024).repeat(11)[..bytes]).unwrap().len() <= packed_bytes,
                "{packed_bytes}"
            );
            let mut noise = vec![0; bytes];
            getrandom::fill(&mut noise).unwrap();
            assert!(pack(&noise).unwrap().len() <= packed_bytes, "{packed_bytes}");
        }
        assert_eq!(filler(1_024).len(), 1_024);
        assert_eq!(pack(filler(1_024)).unwrap().len(), 1_280, "nothing of it can be packed");
    }

    #[test]
    fn a_bomb_is_bounded() {
        let packed = pack(&vec![0; 1_000_000]).unwrap();
        assert!(packed.len() < 2_000 && unpack(&packed, 16_384).is_none());
        assert_eq!(unpack(&packed, 1_000_000).unwrap().len(), 1_000_000);
    }

    #[test]
    fn lengths_tell_little_and_what_isnt_packed_is_left_alone() {
        let lengths = [10, 40, 80].map(|bytes| pack(&vec![b'x'; bytes]).unwrap().len());
        assert_eq!(lengths, [256; 3]);
        assert_eq!(unpack(&[1, 2, 3], 10).as_deref(), Some(&[1, 2, 3][..]));
        let mut packed = pack(b"umbrella").unwrap();
        packed[255] = 1;
        assert!(unpack(&packed, 100).is_none(), "padding is nothing else");
    }
}
