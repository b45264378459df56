//! The part of Memcached's protocol that the store speaks: the meta commands `mg`, `ms` and `mn`, and `stats`.

use std::{io::Write as _, str::FromStr};

use crate::key::Key;

/// A question.
pub(crate) enum Request {
    /// What is under a key?
    Get(Key),
    /// Put this under a key, for so many seconds.
    Set { key: Key, value: Vec<u8>, ttl: i32, condition: If },
    /// Are you there?
    Nothing,
    /// Which version are you?
    Version,
    /// What do you count, of this kind?
    Stats(&'static str),
}

/// The form of the answer.
#[derive(Clone, Copy)]
pub(crate) enum Expects {
    /// A meta command's; with the number of its question, where the server repeats it.
    Meta(u32),
    /// One line.
    Line,
    /// Lines up to `END`.
    Lines,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// What is stored, with the number that changes at every change of it.
    Value(Vec<u8>, u64),
    /// It is done; the number of what is stored now.
    Done(u64),
    /// There is nothing under the key.
    Missing,
    /// Something is under the key already.
    NotStored,
    /// What is under the key has another number.
    Exists,
    /// The server can't: it is out of memory, or the value is too large.
    Refused(String),
    /// Text.
    Text(String),
}

/// What the server says can't be an answer to what was asked: nothing behind it can be trusted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Garbled(pub(crate) String);

/// Under which condition something is stored.
#[derive(Clone, Copy)]
pub(crate) enum If {
    /// If there is nothing under the key.
    Free,
    /// If what is stored still has this number.
    Unchanged(Number),
}

/// The server's number of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) cas: u64,
    /// How many connections to the server had been made before it was asked.
    pub(crate) connected: u64,
}

impl Request {
    /// Writes the question. What the server answers it will bear this number.
    pub(crate) fn write(&self, prefix: &str, number: u32, output: &mut Vec<u8>) -> Expects {
        // A vector takes whatever is written to it.
        let _ = match self {
            Self::Get(key) => {
                output.extend_from_slice(b"mg ");
                key.write(prefix, output);
                write!(output, " v c O{number}")
            }
            Self::Set { key, value, ttl, condition } => {
                output.extend_from_slice(b"ms ");
                key.write(prefix, output);
                let _ = write!(output, " {} T{ttl} c O{number} ", value.len());
                let _ = match condition {
                    If::Free => write!(output, "ME\r\n"),
                    If::Unchanged(Number { cas, .. }) => write!(output, "C{cas}\r\n"),
                };
                output.write_all(value)
            }
            Self::Nothing => write!(output, "mn"),
            Self::Version => write!(output, "version"),
            Self::Stats("") => write!(output, "stats"),
            Self::Stats(kind) => write!(output, "stats {kind}"),
        };
        output.extend_from_slice(b"\r\n");
        match self {
            Self::Get(_) | Self::Set { .. } => Expects::Meta(number),
            Self::Nothing | Self::Version => Expects::Line,
            Self::Stats(_) => Expects::Lines,
        }
    }

    /// Whether it means something to the server behind this connection. The server's numbers do only to the one that
    /// they were learnt from: a connection made later may lead to a server that was restarted, and counts anew.
    pub(crate) fn suits(&self, connection: u64) -> bool {
        match self {
            Self::Set { condition: If::Unchanged(Number { connected, .. }), .. } => connection <= *connected,
            _ => true,
        }
    }
}

/// No line of the protocol is as long.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Nor is any value: Memcached itself takes 1 MiB unless told otherwise.
const VALUE_BYTES_MAX: usize = 1024 * 1024 * 1024;
const STATS_BYTES_MAX: usize = 1024 * 1024;

impl Expects {
    /// Reads an answer off the front of what has come, and tells its length; `None` if more has to come.
    pub(crate) fn read(self, input: &[u8]) -> Result<Option<(Response, usize)>, Garbled> {
        let Some(line) = line(input)? else { return Ok(None) };
        let end = line.len() + 2;
        if let Some(error) = refusal(line) {
            return error.map(|refused| Some((refused, end)));
        }
        match self {
            Self::Line => Ok(Some((Response::Text(text(line)), end))),
            Self::Lines => lines(input),
            Self::Meta(number) => meta(line, number, input),
        }
    }
}

fn line(input: &[u8]) -> Result<Option<&[u8]>, Garbled> {
    let searched = &input[..input.len().min(LINE_BYTES_MAX)];
    match searched.iter().position(|byte| *byte == b'\n') {
        Some(at) => match searched[..at].strip_suffix(b"\r") {
            Some(line) => Ok(Some(line)),
            None => Err(garbled(&searched[..at])),
        },
        None if searched.len() < LINE_BYTES_MAX => Ok(None),
        None => Err(garbled(&searched[..64])),
    }
}

/// A server that doesn't understand the question may take its value for another one.
fn refusal(line: &[u8]) -> Option<Result<Response, Garbled>> {
    if let Some(why) = line.strip_prefix(b"SERVER_ERROR") {
        return Some(Ok(Response::Refused(text(why).trim().to_owned())));
    }
    (line.starts_with(b"ERROR") || line.starts_with(b"CLIENT_ERROR")).then(|| Err(garbled(line)))
}

fn lines(input: &[u8]) -> Result<Option<(Response, usize)>, Garbled> {
    const END: &[u8] = b"END\r\n";
    let ends = |at: &usize| input[*at..].starts_with(END) && (*at == 0 || input[at - 1] == b'\n');
    match (0..input.len()).find(ends) {
        Some(at) => Ok(Some((Response::Text(text(&input[..at])), at + END.len()))),
        None if input.len() < STATS_BYTES_MAX => Ok(None),
        None => Err(garbled(&input[..64])),
    }
}

fn meta(line: &[u8], number: u32, input: &[u8]) -> Result<Option<(Response, usize)>, Garbled> {
    let mut words = line.split(|byte| *byte == b' ');
    let (code, mut end) = (words.next().unwrap_or_default(), line.len() + 2);
    let bytes = if code == b"VA" {
        let length = words.next().and_then(parsed::<usize>);
        let length = length.filter(|length| *length <= VALUE_BYTES_MAX).ok_or_else(|| garbled(line))?;
        let value = end..end + length;
        end += length + 2;
        if input.len() < end {
            return Ok(None);
        }
        if &input[value.end..end] != b"\r\n" {
            return Err(garbled(line));
        }
        value
    } else {
        0..0
    };
    let mut cas = 0;
    for flag in words {
        match flag {
            [b'c', value @ ..] => cas = parsed(value).ok_or_else(|| garbled(line))?,
            // An answer to somebody else's question.
            [b'O', value @ ..] if parsed(value) != Some(number) => return Err(garbled(line)),
            _ => {}
        }
    }
    let response = match code {
        b"VA" => Response::Value(input[bytes].to_vec(), cas),
        b"HD" => Response::Done(cas),
        b"EN" | b"NF" => Response::Missing,
        b"NS" => Response::NotStored,
        b"EX" => Response::Exists,
        _ => return Err(garbled(line)),
    };
    Ok(Some((response, end)))
}

fn parsed<T: FromStr>(digits: &[u8]) -> Option<T> {
    str::from_utf8(digits).ok()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Only the line's head: should the stream be out of step, the rest may be anybody's data.
fn garbled(line: &[u8]) -> Garbled {
    let is_word = |byte: &&u8| byte.is_ascii_uppercase() || **byte == b'_';
    let head: Vec<_> = line.iter().take(16).take_while(is_word).copied().collect();
    let is_error = head.ends_with(b"ERROR");
    Garbled(if is_error { text(&line[..line.len().min(80)]) } else { text(&head) })
}

#[cfg(test)]
mod tests {
    use cloakroom::SessionId;

    use super::*;

    fn read(input: &[u8]) -> Result<Option<(Response, usize)>, Garbled> {
        Expects::Meta(7).read(input)
    }

    #[test]
    fn questions_are_written_as_the_protocol_has_them() {
        let key = Key::Session(SessionId::from_bytes([7; 16]));
        let name = "p:s:BwcHBwcHBwcHBwcHBwcHBw";
        let set = |value: &[u8], condition| Request::Set { key, value: value.into(), ttl: 60, condition };
        let unchanged = If::Unchanged(Number { cas: 5, connected: 1 });
        for (request, written) in [
            (Request::Get(key), format!("mg {name} v c O7\r\n")),
            (set(b"a\r\nb", If::Free), format!("ms {name} 4 T60 c O7 ME\r\na\r\nb\r\n")),
            (set(b"", unchanged), format!("ms {name} 0 T60 c O7 C5\r\n\r\n")),
            (Request::Stats(""), "stats\r\n".to_owned()),
            (Request::Stats("settings"), "stats settings\r\n".to_owned()),
        ] {
            let mut output = Vec::new();
            let _ = request.write("p:", 7, &mut output);
            assert_eq!(String::from_utf8(output).unwrap(), written);
        }
    }

    #[test]
    fn answers_are_read_whole_however_they_come() {
        let all: &[(&[u8], Response)] = &[
            (b"VA 4 c9 O7\r\na\r\nb\r\n", Response::Value(b"a\r\nb".into(), 9)),
            (b"VA 0 c1 O7\r\n\r\n", Response::Value(Vec::new(), 1)),
            (b"HD c18446744073709551615 O7\r\n", Response::Done(u64::MAX)),
            (b"EN\r\n", Response::Missing),
            (b"NF c0 O7\r\n", Response::Missing),
            (b"NS c0 O7\r\n", Response::NotStored),
            (b"EX c0 O7\r\n", Response::Exists),
            (b"SERVER_ERROR out of memory\r\n", Response::Refused("out of memory".into())),
        ];
        for (bytes, response) in all {
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{cut} bytes of {response:?}");
            }
            let (read, length) = read(&[bytes, b"EN\r\n".as_slice()].concat()).unwrap().unwrap();
            assert_eq!((&read, length), (response, bytes.len()));
        }
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_refused() {
        for bytes in [
            b"VA 2 c1 O8\r\nab\r\n".as_slice(),
            b"VA 2 c1 O7\r\nabcd\r\n",
            b"VA -1 c1\r\n",
            b"VA 99999999999999 c1\r\n",
            b"HD c1 O8\r\n",
            b"HD cx O7\r\n",
            b"OK\r\n",
            b"\r\n",
            b"EN\n",
            b"ERROR\r\n",
            b"CLIENT_ERROR bad data chunk\r\n",
            &[b'x'; LINE_BYTES_MAX],
        ] {
            assert!(read(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn lines_end_with_the_word_for_it() {
        let stats = b"STAT a END\r\nSTAT b 2\r\nEND\r\nEN\r\n";
        let (text, length) = Expects::Lines.read(stats).unwrap().unwrap();
        assert_eq!((text, length), (Response::Text("STAT a END\r\nSTAT b 2\r\n".into()), stats.len() - 4));
        assert_eq!(Expects::Lines.read(&stats[..20]), Ok(None));
        assert_eq!(Expects::Lines.read(b"END\r\n"), Ok(Some((Response::Text(String::new()), 5))));
    }
}
