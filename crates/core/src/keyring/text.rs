//! The ring as text: for a file, an environment variable, or sealed in a shared store.

use std::fmt::Write;

use super::{Key, KeyRing, Material, State};
use crate::{Error, Timestamp};

const HEADER: &str = "cloakroom-keys 1";

/// Longer than a full ring with comments. Bounds the work on what is no ring.
const TEXT_BYTES_MAX: usize = 64 * 1024;

impl KeyRing {
    /// The ring as text, keys and all. Whoever reads it can forge sessions: it belongs in a file that only its owner
    /// reads, or in a secret store.
    ///
    /// ```text
    /// cloakroom-keys 1
    /// # id     state    created              since                key
    /// 9f3a01c2 primary  2026-10-01T00:00:00Z 2026-10-01T01:00:00Z mK2c1xQ0vB9dTfZ7LrN4sHyEoWgUaJ6kPiXbCtVeR8A
    /// ```
    #[must_use]
    pub fn expose(&self) -> String {
        let mut text = format!("{HEADER}\n# id     state    created              since                key\n");
        for key in &self.keys {
            let (created, since) = (key.created, key.since);
            // Writing to a string doesn't fail.
            let _ = writeln!(text, "{} {:<8} {created} {since} {}", key.id, key.state, key.material.expose());
        }
        text
    }

    /// Reads [the text form](KeyRing::expose). Lines end with a line break or, to fit an environment variable, a
    /// semicolon; blank lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// [`Error::is_invalid`], with the line at fault and how to mend it, and never with what the line says: a wrong
    /// column could hold the key. Short, repeated and sample keys are refused, and rings without exactly one primary.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!("a key ring has {TEXT_BYTES_MAX} bytes at most")));
        }
        let lines = text.split(['\n', ';']).map(str::trim).enumerate();
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        match lines.next() {
            Some((_, HEADER)) => {}
            Some((_, line)) if line.starts_with("cloakroom-keys ") => {
                return Err(Error::invalid("the key ring was written by a newer version of Cloakroom"));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "a key ring begins with the line `{HEADER}`; make one with `cloakroom keys new`"
                )));
            }
        }
        let mut ring = Self { keys: Vec::new() };
        for (index, line) in lines {
            let at = |error: Error| Error::invalid(format!("line {}: {error}", index + 1));
            ring.add(parse_key(line).map_err(at)?).map_err(at)?;
        }
        let count = |state| ring.keys.iter().filter(|key| key.state == state).count();
        match (count(State::Primary), count(State::Pending)) {
            (1, 0 | 1) => Ok(ring),
            (1, _) => Err(Error::invalid("a key ring has one pending key at most")),
            (primaries, _) => Err(Error::invalid(format!(
                "a key ring has exactly one primary key, and this one has {primaries}"
            ))),
        }
    }
}

fn parse_key(line: &str) -> Result<Key, Error> {
    let mut columns = line.split_ascii_whitespace();
    let mut column = || columns.next().ok_or_else(columns_wrong);
    let (id, state, created, since, material) = (column()?, column()?, column()?, column()?, column()?);
    if columns.next().is_some() {
        return Err(columns_wrong());
    }
    let state = match state {
        "pending" => State::Pending,
        "primary" => State::Primary,
        "retiring" => State::Retiring,
        _ => return Err(Error::invalid("a key's state is pending, primary or retiring")),
    };
    let (created, since) = (parse_time(created)?, parse_time(since)?);
    if since < created {
        return Err(Error::invalid("a key can't be in its state since before it was made"));
    }
    Ok(Key { id: id.parse()?, material: Material::parse(material)?, state, created, since })
}

fn columns_wrong() -> Error {
    Error::invalid("a key's line has five columns: id, state, created, since, key")
}

fn parse_time(text: &str) -> Result<Timestamp, Error> {
    Timestamp::parse(text).ok_or_else(|| Error::invalid("a key's times are written as 2026-10-01T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{KeyId, Schedule};
    use proptest::prelude::*;
    use std::time::Duration;

    fn material(seed: u8) -> Material {
        Material::new(std::array::from_fn(|i| (i as u8).wrapping_mul(37 + 2 * seed) ^ (i * i) as u8)).unwrap()
    }

    fn ring() -> KeyRing {
        let start = Timestamp::from_millis(1_790_812_800_000);
        let hour = Duration::from_secs(3600);
        let schedule = Schedule::for_lifetime(24 * hour).unwrap();
        let mut ring = KeyRing::new(KeyId::from_bytes([0x9f, 0x3a, 1, 0xc2]), material(1), start).unwrap();
        ring.publish(KeyId::from_bytes([2; 4]), material(2), start + hour).unwrap();
        ring.promote(KeyId::from_bytes([2; 4]), start + 3 * hour, &schedule).unwrap();
        ring.publish(KeyId::from_bytes([3; 4]), material(3), start + 4 * hour).unwrap();
        ring
    }

    #[test]
    fn a_ring_is_readable_and_round_trips() {
        let text = ring().expose();
        assert!(text.starts_with("cloakroom-keys 1\n"), "{text}");
        assert!(text.contains("\n9f3a01c2 retiring 2026-10-01T00:00:00Z 2026-10-01T03:00:00Z "), "{text}");
        assert!(text.contains("\n03030303 pending  2026-10-01T04:00:00Z 2026-10-01T04:00:00Z "), "{text}");
        assert_eq!(KeyRing::parse(&text).unwrap().expose(), text);
        assert_eq!(KeyRing::parse(&text.trim().replace('\n', ";")).unwrap().expose(), text);
    }

    #[test]
    fn k_sample_errors_name_the_line_and_repeat_nothing_of_it() {
        let text = ring().expose();
        let secret = text.lines().nth(2).unwrap().split_whitespace().last().unwrap().to_owned();
        let cases = [
            (text.replace("cloakroom-keys 1\n", ""), "begins with the line"),
            (text.replace("keys 1", "keys 2"), "newer version"),
            (text.replace("retiring", "retired"), "line 3: a key's state"),
            (text.replace("T03:00:00Z", "T24:00:00Z"), "line 3: a key's times"),
            (text.replace("2026-10-01", "2026-02-30"), "line 3: a key's times"),
            (text.replace("9f3a01c2", "9f3a01c"), "line 3: a key id"),
            (text.replace("9f3a01c2", "00000000"), "line 3: the key id 00000000"),
            (text.replace("02020202", "9f3a01c2"), "line 4: the key id 9f3a01c2 is in the ring twice"),
            (text.replace(&secret, &secret[..40]), "line 3: a key has 30 bytes"),
            (text.replace(&secret, ""), "line 3: a key's line has five columns"),
            (text.replace(&secret, &format!("{secret} x")), "line 3: a key's line has five columns"),
            (text.replace("T03:00:00Z", "T03:00:00Z ").replace("01T00", "01T05"), "line 3: a key can't be"),
            (text.replace("primary ", "retiring"), "exactly one primary key, and this one has 0"),
            (text.replace("pending ", "primary "), "exactly one primary key, and this one has 2"),
            (text.replace("retiring", "pending "), "one pending key"),
            (
                text.replace(&secret, &material(2).expose()),
                "line 4: the keys 9f3a01c2 and 02020202 are the same",
            ),
            (
                text.replace(&secret, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
                "line 3: a key is one byte",
            ),
            ("#".repeat(TEXT_BYTES_MAX + 1), "bytes at most"),
            (String::new(), "begins with the line"),
            ("cloakroom-keys 1\n".to_owned(), "exactly one primary"),
        ];
        for (text, expected) in cases {
            let error = KeyRing::parse(&text).unwrap_err();
            assert!(error.is_invalid());
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(!error.to_string().contains(&secret[..12]), "{error}");
        }
    }

    #[test]
    fn a16_2_5_debug_shows_no_key() {
        let (ring, text) = (ring(), ring().expose());
        let shown = format!("{ring:?}");
        for line in text.lines().skip(2) {
            assert!(!shown.contains(line.split_whitespace().last().unwrap()), "{shown}");
        }
        assert!(shown.contains("9f3a01c2 retiring"), "{shown}");
    }

    proptest! {
        #[test]
        fn cs_hostile_any_text_is_a_ring_or_an_error(text in "(cloakroom-keys 1\n)?[ -~\n;éß]{0,300}") {
            let _ = KeyRing::parse(&text);
        }

        #[test]
        fn cs_hostile_an_altered_ring_is_an_error_or_another_ring(at in 0usize..400, byte in 0x20u8..0x7f) {
            let mut text = ring().expose().into_bytes();
            let at = at % text.len();
            text[at] = byte;
            if let Ok(ring) = KeyRing::parse(str::from_utf8(&text).unwrap()) {
                prop_assert_eq!(KeyRing::parse(&ring.expose()).unwrap().expose(), ring.expose());
            }
        }
    }
}
