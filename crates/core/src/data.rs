//! A session's data: names and JSON values, each value encoded on its own.

use std::{any, borrow::Cow, fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, plain_text::PlainText};

/// A typed name for one entry of a session's data: a constant of the application.
///
/// ```
/// use cloakroom_core::Key;
///
/// const CART: Key<Vec<String>> = Key::new("cart");
/// assert_eq!(CART.name(), "cart");
/// ```
///
/// A name has 1 to 64 bytes and doesn't start with `cloakroom.`, which the library keeps for itself. A constant with
/// any other name doesn't compile:
///
/// ```compile_fail
/// const BAD: cloakroom_core::Key<u32> = cloakroom_core::Key::new("cloakroom.cart");
/// ```
pub struct Key<T> {
    name: Cow<'static, str>,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// Longest name of an entry, in bytes.
    pub const NAME_BYTES_MAX: usize = 64;

    /// The key of this name.
    ///
    /// # Panics
    /// If the name is empty, longer than 64 bytes or starts with `cloakroom.`; in a constant, when it is compiled.
    #[must_use]
    #[track_caller]
    pub const fn new(name: &'static str) -> Self {
        assert!(is_name(name), "a key's name has 1 to 64 bytes and doesn't start with `cloakroom.`");
        Self { name: Cow::Borrowed(name), value: PhantomData }
    }

    /// The key of a name known only at run time.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a name that [`Key::new`] would refuse.
    pub fn named(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        if !is_name(&name) {
            return Err(Error::invalid("a key's name has 1 to 64 bytes and doesn't start with `cloakroom.`"));
        }
        Ok(Self { name: Cow::Owned(name), value: PhantomData })
    }

    /// The entry's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, if it is a constant of the program.
    #[must_use]
    pub fn constant_name(&self) -> Option<&'static str> {
        match self.name {
            Cow::Borrowed(name) => Some(name),
            Cow::Owned(_) => None,
        }
    }

    pub(crate) fn into_name(self) -> Cow<'static, str> {
        self.name
    }
}

impl<T: Serialize> Key<T> {
    /// The value as it is stored: JSON text.
    ///
    /// # Errors
    /// [`Error::is_value`] if it can't be written as JSON.
    pub fn encode(&self, value: &T) -> Result<Vec<u8>, Error> {
        encode(&self.name, value)
    }
}

impl<T: DeserializeOwned> Key<T> {
    /// Decodes a stored value of this key.
    ///
    /// # Errors
    /// [`Error::is_value`] if it was written as another type.
    #[inline]
    pub fn decode(&self, value: &[u8]) -> Result<T, Error> {
        decode(&self.name, value)
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key<{}>({:?})", any::type_name::<T>(), self.name)
    }
}

/// One value: compact JSON text.
pub(crate) type Value = Vec<u8>;

pub(crate) fn encode<T: Serialize>(name: &str, value: &T) -> Result<Value, Error> {
    serde_json::to_vec(value).map_err(|error| Error::encode(name, error))
}

#[inline]
pub(crate) fn decode<T: DeserializeOwned>(name: &str, value: &[u8]) -> Result<T, Error> {
    // Most values are short texts, which are read at a glance. Whatever doesn't want one is told so by the parser.
    if let Some(value) = PlainText::of(value).and_then(PlainText::read) {
        return Ok(value);
    }
    match serde_json::from_slice(value) {
        Ok(value) => Ok(value),
        Err(error) => Err(Error::decode(name, any::type_name::<T>(), &error)),
    }
}

/// Prefix of the names that belong to the library (its CSRF token, flash values). They never survive a login.
pub(crate) const RESERVED_PREFIX: &str = "cloakroom.";

const fn is_name(name: &str) -> bool {
    let (name, prefix) = (name.as_bytes(), RESERVED_PREFIX.as_bytes());
    if name.is_empty() || name.len() > 64 {
        return false;
    }
    let mut at = 0;
    while at < prefix.len() {
        if at == name.len() || name[at] != prefix[at] {
            return true;
        }
        at += 1;
    }
    false
}

/// A session's entries, in one buffer sorted by name.
///
/// A session has a handful of small entries: scanning one buffer beats a tree of allocations, and a value is decoded
/// only when a handler asks for it. `Debug` shows names, never values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data {
    /// Each entry: the name's length in one byte, the name, the value's length as LEB128, the value.
    bytes: Box<[u8]>,
}

impl Data {
    /// No entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries of a JSON object, such as one [`Data::to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] if it isn't one, or has an entry without a name or with a name over 255 bytes.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let entries: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
            serde_json::from_str(json).map_err(|_| Error::corrupt("the stored data isn't a JSON object"))?;
        if entries.keys().any(|name| name.is_empty() || name.len() > 255) {
            return Err(Error::corrupt("the stored data has an entry whose name isn't 1 to 255 bytes long"));
        }
        Ok(Self::from_sorted(entries.iter().map(|(name, value)| (name.as_str(), value.get().as_bytes()))))
    }

    /// The entries as the text of one JSON object, for stores that people read.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.bytes.len() + 16);
        json.push('{');
        for (name, value) in self.iter() {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(name).to_string());
            json.push(':');
            json.push_str(&String::from_utf8_lossy(value));
        }
        json.push('}');
        json
    }

    /// Reads the buffer that [`Data::as_bytes`] gave.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] unless it is exactly such a buffer.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        let mut rest = &bytes[..];
        let mut before = None;
        while !rest.is_empty() {
            let (name, value, after) =
                split_entry(rest).ok_or_else(|| Error::corrupt("the stored data is cut off"))?;
            let name = str::from_utf8(name).map_err(|_| Error::corrupt("a stored name isn't UTF-8"))?;
            // Not compared with a text of no length, which may lie nowhere: that took glibc's AVX-512 `memcmp` 80 ns.
            let is_sorted = !name.is_empty() && before.is_none_or(|before| before < name);
            if !is_sorted || !is_json(value) {
                return Err(Error::corrupt("the stored data isn't a sorted list of JSON values"));
            }
            (before, rest) = (Some(name), after);
        }
        Ok(Self { bytes })
    }

    /// As [`Data::from_bytes`], of bytes whose seal says that this library wrote them: they aren't checked again.
    pub(crate) fn from_sealed(bytes: impl Into<Box<[u8]>>) -> Self {
        Self { bytes: bytes.into() }
    }

    /// The entries as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The JSON text of one entry.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut rest = &self.bytes[..];
        while let Some((entry, value, after)) = split_entry(rest) {
            // Most differ in their first byte or their length, which is found out without a call.
            if entry.first() == name.as_bytes().first() && entry == name.as_bytes() {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    /// Names and JSON texts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (name, value, after) = split_entry(rest)?;
            rest = after;
            Some((str::from_utf8(name).ok()?, value))
        })
    }

    /// Keeps only the entries of the names that `keep` accepts.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if self.iter().any(|(name, _)| !keep(name)) {
            let kept: Vec<_> = self.iter().filter(|(name, _)| keep(name)).collect();
            *self = Self::from_sorted(kept.into_iter());
        }
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Joins entries that are sorted by name, each name once and at most 255 bytes.
    pub(crate) fn from_sorted<'a>(entries: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> Self {
        Self::new().with(entries.map(|(name, value)| (name, Some(value))))
    }

    /// This data with other values for some names, or without them. The changes are sorted by name, each name once and
    /// at most 255 bytes. What lies between them is copied as it is.
    pub(crate) fn with<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    ) -> Self {
        let size = |name, value: Option<&[u8]>| value.map_or(0, |value| entry_bytes(name, value.len()));
        let bytes = changes.clone().fold(self.bytes.len(), |bytes, (name, value)| {
            bytes + size(name, value) - size(name, self.get(name))
        });
        let mut bytes = Vec::with_capacity(bytes);
        let mut rest = &self.bytes[..];
        for (name, value) in changes {
            let mut from = rest;
            while let Some((entry, _, after)) = split_entry(from)
                && entry < name.as_bytes()
            {
                from = after;
            }
            bytes.extend_from_slice(&rest[..rest.len() - from.len()]);
            rest = match split_entry(from) {
                Some((entry, _, after)) if entry == name.as_bytes() => after,
                _ => from,
            };
            if let Some(value) = value {
                push_entry(&mut bytes, name, value);
            }
        }
        bytes.extend_from_slice(rest);
        Self { bytes: bytes.into_boxed_slice() }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Bytes that an entry takes in the buffer.
pub(crate) fn entry_bytes(name: &str, value_bytes: usize) -> usize {
    let length_bytes = (usize::BITS - value_bytes.leading_zeros()).max(1).div_ceil(7) as usize;
    1 + name.len() + length_bytes + value_bytes
}

fn push_entry(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name.as_bytes());
    push_length(bytes, value.len());
    bytes.extend_from_slice(value);
}

fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

/// The first entry and what follows it; `None` at the end or where the buffer is no list of entries.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_bytes, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*name_bytes))?;
    // Most values are short.
    let (value_bytes, rest) = match rest {
        [byte @ 0..0x80, rest @ ..] => (usize::from(*byte), rest),
        rest => split_length(rest)?,
    };
    let (value, rest) = rest.split_at_checked(value_bytes)?;
    Some((name, value, rest))
}

fn split_length(mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let mut value_bytes = 0_usize;
    for shift in (0..28).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value_bytes |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value_bytes, rest));
        }
    }
    None
}

/// Whether this is one JSON value and nothing beside it. Most are texts, whole numbers and words, for which no parser is
/// needed.
fn is_json(value: &[u8]) -> bool {
    let is_plain = match value {
        b"true" | b"false" | b"null" | b"0" => true,
        [b'1'..=b'9', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => PlainText::of(value).is_some(),
    };
    is_plain || serde_json::from_slice::<&serde_json::value::RawValue>(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn data(entries: &BTreeMap<String, serde_json::Value>) -> Data {
        let entries: Vec<_> =
            entries.iter().map(|(name, value)| (name.clone(), serde_json::to_vec(value).unwrap())).collect();
        Data::from_sorted(entries.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
    }

    fn entries() -> impl Strategy<Value = BTreeMap<String, serde_json::Value>> {
        let value = prop_oneof![
            any::<String>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            proptest::collection::vec(any::<bool>(), 0..200).prop_map(serde_json::Value::from),
        ];
        proptest::collection::btree_map("\\PC{1,20}", value, 0..8)
    }

    proptest! {
        #[test]
        fn entries_round_trip_as_bytes_and_as_json(entries in entries()) {
            let data = data(&entries);
            prop_assert_eq!(Data::from_bytes(data.as_bytes()).unwrap(), data.clone());
            prop_assert_eq!(Data::from_json(&data.to_json()).unwrap(), data.clone());
            prop_assert_eq!(data.as_bytes().len(), data.iter().map(|(n, v)| entry_bytes(n, v.len())).sum::<usize>());
            for (name, value) in &entries {
                let found: serde_json::Value = decode(name, data.get(name).unwrap()).unwrap();
                prop_assert_eq!(&found, value);
            }
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(data) = Data::from_bytes(bytes.clone()) {
                prop_assert_eq!(data.as_bytes(), &bytes[..]);
                let _ = data.to_json();
            }
        }

        #[test]
        fn names_are_there_and_sorted_and_each_is_once(first in "[a-c]{0,2}", second in "[a-c]{0,2}") {
            let data = Data::from_sorted([(&*first, &b"1"[..]), (&*second, b"2")].into_iter());
            prop_assert_eq!(Data::from_bytes(data.as_bytes()).is_ok(), !first.is_empty() && first < second);
        }

        /// What is known of a value at first sight is what the parser says.
        #[test]
        fn json_is_what_the_parser_takes(
            value in prop_oneof![
                "[-0-9]{0,6}",
                "[-+0-9.eE]{0,6}",
                " ?(true|false|null|nul|0|\"\"|\"a\"|\"|\"\\\\\")[ ,0-9]?",
                "\"\\PC{0,8}\"",
                "[\\[\\]{}\":,a0 ]{0,8}",
            ],
            byte in proptest::option::of(any::<u8>()),
        ) {
            let mut value = value.into_bytes();
            value.extend(byte);
            let parsed = serde_json::from_slice::<&serde_json::value::RawValue>(&value).is_ok();
            prop_assert_eq!(is_json(&value), parsed, "{:?}", value);
        }

        #[test]
        fn a_cut_buffer_is_corrupt(entries in entries(), cut in 1_usize..40) {
            let bytes = data(&entries).as_bytes().to_vec();
            if cut < bytes.len() {
                let kept = &bytes[..bytes.len() - cut];
                let whole = Data::from_bytes(kept).is_ok();
                let boundary = data(&entries).iter().scan(0, |at, (n, v)| { *at += entry_bytes(n, v.len()); Some(*at) })
                    .any(|end| end == kept.len());
                prop_assert_eq!(whole, boundary);
            }
        }
    }

    #[test]
    fn names_at_run_time_keep_the_rule_of_constants() {
        assert!(Key::<u8>::named("cart").is_ok());
        for bad in ["", "cloakroom.", "cloakroom.csrf", &"n".repeat(65)] {
            assert!(Key::<u8>::named(bad).unwrap_err().is_invalid(), "{bad}");
        }
        assert!(Key::<u8>::named("cloakroo").is_ok());
    }

    #[test]
    fn a16_2_5_debug_and_errors_show_no_values() {
        let data = Data::from_json(r#"{"pin":"hunter2"}"#).unwrap();
        assert_eq!(format!("{data:?}"), r#"["pin"]"#);
        let error = decode::<u32>("pin", data.get("pin").unwrap()).unwrap_err();
        assert!(error.is_value() && !format!("{error} {error:?}").contains("hunter2"));
    }
}
