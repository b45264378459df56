//! JSON strings without escapes, read without a parser.

use std::cell::Cell;

use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value::BorrowedStrDeserializer, value::Error},
    forward_to_deserialize_any,
};

/// A JSON string that stands for itself: between its quotes is nothing that is written otherwise.
#[derive(Clone, Copy)]
pub(crate) struct PlainText<'de>(&'de str);

impl<'de> PlainText<'de> {
    /// The text of this JSON; `None` says nothing about it.
    pub(crate) fn of(json: &'de [u8]) -> Option<Self> {
        let [b'"', text @ .., b'"'] = json else { return None };
        let (eights, rest) = text.as_chunks::<8>();
        let is_other = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
        // All are looked at, for a loop that can't end early is done several at a time.
        let others = eights.iter().fold(0, |others, eight| others | others_in(u64::from_ne_bytes(*eight)));
        if others != 0 || rest.iter().any(is_other) {
            return None;
        }
        str::from_utf8(text).ok().map(Self)
    }

    /// The value that the parser would read. `None` says nothing: then the parser is to be asked, which may know better, and
    /// has the better messages.
    #[inline]
    pub(crate) fn read<T: Deserialize<'de>>(self) -> Option<T> {
        let is_taken = Cell::new(false);
        let value = T::deserialize(Reader { text: self.0, is_taken: &is_taken }).ok();
        // A type that didn't get the text may have made up its mind without it.
        value.filter(|_| is_taken.get())
    }
}

/// Gives a type the text, if that is how it looks at it.
struct Reader<'de, 'a> {
    text: &'de str,
    is_taken: &'a Cell<bool>,
}

/// No bit, if none of eight bytes is a quote, a backslash or a control character.
#[inline]
fn others_in(bytes: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    // Subtracting borrows from the highest bit of the first byte that is less, if that bit wasn't set. Bits above it may
    // be wrong, which doesn't matter here.
    let less = |bytes: u64, than: u8| bytes.wrapping_sub(ONES * u64::from(than)) & !bytes;
    let equal = |byte: u8| less(bytes ^ (ONES * u64::from(byte)), 1);
    (less(bytes, b' ') | equal(b'"') | equal(b'\\')) & (ONES << 7)
}

/// No more than a string can be asked of a string, and how else it is looked at is left to the parser.
fn other<T>() -> Result<T, Error> {
    Err(serde::de::Error::custom(""))
}

macro_rules! left_to_the_parser {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            other()
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is_taken.set(true);
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.is_taken.set(true);
        BorrowedStrDeserializer::new(self.text).deserialize_enum(name, variants, visitor)
    }

    /// `serde_json` gives some names of its own a meaning.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name.starts_with('$') { other() } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        other()
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Error> {
        other()
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        other()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Error> {
        other()
    }

    left_to_the_parser! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map
        deserialize_ignored_any
    }

    forward_to_deserialize_any! { str string char identifier }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::IpAddr};

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize, de::DeserializeOwned};
    use serde_json::value::RawValue;

    use super::*;

    fn plainly<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
        PlainText::of(json)?.read()
    }

    /// What is read at a glance is what the parser reads, for as many kinds of types as look at a string.
    fn is_as_parsed<T: DeserializeOwned + Serialize>(json: &[u8]) -> bool {
        let text = |value: T| serde_json::to_string(&value).unwrap();
        plainly::<T>(json).is_none_or(|value| text(value) == text(serde_json::from_slice(json).unwrap()))
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Name(String);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Plan {
        Free,
        Paid(u32),
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u32),
        Text(String),
    }

    /// As applications write it that read what older versions of theirs have stored.
    struct Lenient<T>(Option<T>);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(T::deserialize(deserializer).ok()))
        }
    }

    /// Looks at nothing.
    struct Blind;

    impl<'de> Deserialize<'de> for Blind {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }

    /// The bug: a type that makes do without a value that it can't read was told that a string couldn't be read as bytes,
    /// which the parser gives; so it made do, and an update stored that. The cause: its success was taken for an answer to
    /// the text. The mend: only what was given the text counts.
    #[test]
    fn who_makes_do_without_is_left_to_the_parser() {
        assert!(plainly::<Lenient<Box<RawValue>>>(b"\"abc\"").is_none());
        assert!(plainly::<Lenient<serde::de::IgnoredAny>>(b"\"abc\"").is_none());
        assert!(plainly::<Lenient<Vec<u8>>>(b"\"abc\"").is_none());
        assert!(plainly::<Blind>(b"\"abc\"").is_none());
        assert_eq!(plainly::<Lenient<String>>(b"\"abc\"").unwrap().0.as_deref(), Some("abc"));
        // This one was given it, and doesn't like it: as with the parser.
        assert!(plainly::<Lenient<IpAddr>>(b"\"abc\"").unwrap().0.is_none());
    }

    /// Each byte at each place of each length that the eights divide differently.
    #[test]
    fn every_byte_is_looked_at_wherever_it_stands() {
        for length in 1..=24 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut json = vec![b'a'; length + 2];
                    (json[0], json[length + 1], json[place + 1]) = (b'"', b'"', byte);
                    let parsed =
                        serde_json::from_slice::<String>(&json).ok().filter(|text| text.len() == length);
                    assert_eq!(plainly::<String>(&json), parsed, "{byte} at {place} of {length}");
                }
            }
        }
    }

    fn are_as_parsed(json: &[u8]) -> bool {
        is_as_parsed::<String>(json)
            && is_as_parsed::<Box<str>>(json)
            && is_as_parsed::<Option<String>>(json)
            && is_as_parsed::<char>(json)
            && is_as_parsed::<Name>(json)
            && is_as_parsed::<Plan>(json)
            && is_as_parsed::<Either>(json)
            && is_as_parsed::<IpAddr>(json)
            && is_as_parsed::<Box<RawValue>>(json)
            && is_as_parsed::<serde_json::Value>(json)
            && is_as_parsed::<Vec<u8>>(json)
            && is_as_parsed::<BTreeMap<String, String>>(json)
            && is_as_parsed::<()>(json)
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_the_parser_reads_it(text: String) {
            let json = serde_json::to_vec(&text).unwrap();
            prop_assert!(are_as_parsed(&json));
            prop_assert_eq!(PlainText::of(&json).is_some(), json.len() == text.len() + 2);
        }

        #[test]
        fn cs_hostile_any_bytes_are_read_as_the_parser_reads_them(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            prop_assert!(are_as_parsed(&bytes));
            let quoted = [b"\"", &bytes[..], b"\""].concat();
            prop_assert!(are_as_parsed(&quoted));
            prop_assert!(PlainText::of(&quoted).is_none() || serde_json::from_slice::<String>(&quoted).is_ok());
        }
    }

    #[test]
    fn types_that_look_at_strings_get_them() {
        assert_eq!(plainly::<String>(b"\"caf\xc3\xa9\"").unwrap(), "café");
        assert_eq!(plainly::<Option<Name>>(b"\"x\"").unwrap(), Some(Name("x".to_owned())));
        assert_eq!(plainly::<Plan>(b"\"Free\"").unwrap(), Plan::Free);
        assert!(plainly::<IpAddr>(b"\"::1\"").is_some() && plainly::<char>(b"\"x\"").is_some());
    }

    #[test]
    fn everything_else_is_left_to_the_parser() {
        assert!(plainly::<Plan>(b"\"Paid\"").is_none());
        assert!(plainly::<u32>(b"\"1\"").is_none() && plainly::<Vec<u8>>(b"\"x\"").is_none());
        assert!(plainly::<String>(b" \"x\"").is_none());
        for json in [&b"1"[..], b"\"", b"", b"\"a\\nb\"", b"\"a\"b\"", b"\"\xff\"", b"\"a\nb\""] {
            assert!(PlainText::of(json).is_none(), "{json:?}");
        }
    }
}
