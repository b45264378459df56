//! A session that travels in its cookie: what is sealed into it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Data, Error, Record, SessionId, Subject, Timestamp, Version, exchange, lifetime::Times,
    record::Authority, token::Verifier,
};

/// What revocation goes by, beside the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Rises with each cookie that is issued for the session, so that two that were issued at once are noticed. It
    /// says nothing about what a cookie is worth: its holder raises it by every change.
    pub generation: u32,
    /// Which of the session's cookies this is one of. Each move of its authority draws another line at random, and
    /// cookies of all others are refused. Zero before the first.
    pub line: u64,
    /// The subject's epoch at the login. Ending all of a subject's sessions draws another.
    pub epoch: u64,
    /// The list that revocations are looked up in. A list that was lost is never taken for one without entries.
    pub list: u64,
    /// How many of the list's entries, ever, the cookie's issuer knew, none of which refuses it. A node that knows fewer
    /// can't tell what the cookie is worth, and a list that has fewer lost some.
    pub entries: u64,
}

/// The record and its stamp as bytes to be sealed. The record's authority isn't among them: who has the cookie has
/// the session.
///
/// # Errors
/// [`Error::is_corrupt`] if a part is too large to be written.
pub fn encode(record: &Record, stamp: Stamp) -> Result<Vec<u8>, Error> {
    let (subject, client) = (record.subject.as_ref().map(Subject::as_str), record.client.as_deref());
    let written = Form {
        format: FORMAT,
        fixed: &fixed(record, stamp),
        line: stamp.line,
        epoch: stamp.epoch,
        entries: stamp.entries,
        subject,
        client,
        data: record.data.as_bytes(),
    };
    let lengths = [subject.map_or(0, str::len), client.map_or(0, str::len), written.data.len()];
    // Written in its place: a buffer that grows would be asked for room byte by byte.
    let mut bytes = vec![0; FIXED_BYTES_MAX + lengths.iter().sum::<usize>()];
    let length = postcard::to_slice(&written, &mut bytes)
        .map_err(|error| Error::corrupt("the session can't be written into a cookie").because(error))?
        .len();
    bytes.truncate(length);
    Ok(bytes)
}

/// Reads what [`encode`] wrote. Only for bytes that a seal has vouched for.
///
/// # Errors
/// [`Error::is_corrupt`] if another version of the library wrote them.
pub fn decode(bytes: &[u8]) -> Result<(Record, Stamp), Error> {
    let (read, rest): (Form<'_>, _) = postcard::take_from_bytes(bytes)
        .map_err(|error| Error::corrupt("the cookie's session can't be read").because(error))?;
    let known = parts(read.fixed).filter(|_| read.format == FORMAT && rest.is_empty());
    let Some((id, numbers)) = known else {
        return Err(Error::corrupt("the cookie's session has a format this version doesn't know"));
    };
    let [version, list, created, started, active, end, short] = numbers;
    let [created, started, active, end] = [created, started, active, end].map(Timestamp::from_millis);
    let (idle_s, generation) = (short as u32, (short >> 32) as u32);
    let record = Record {
        id: SessionId::from_bytes(id),
        version: Version::from_write_id(version),
        subject: read.subject.map(Subject::new).transpose()?,
        authority: Authority::new(Verifier::NONE),
        times: Times { created, started, active, end, idle_s },
        client: read.client.map(Arc::from),
        data: Data::from_sealed(read.data),
    };
    let Form { line, epoch, entries, .. } = read;
    let stamp = Stamp { generation, line, epoch, list, entries };
    Ok((record, stamp))
}

/// The longest that everything but subject, client and data takes.
pub const FIXED_BYTES_MAX: usize = 1 + (1 + FIXED_BYTES) + 10 + 10 + 10 + (1 + 2) + (1 + 2) + 3;

/// Lets a planned change take effect at once: a secret that is to be seen first has no meaning where the whole session
/// is in the cookie.
pub fn settle(record: &mut Record, now: Timestamp) {
    exchange::promote(record, record.authority.newest(), now);
    record.authority = Authority::new(Verifier::NONE);
}

/// A record that no secret opens: for what a carrier itself keeps in a store, under an id of its own. It is no session:
/// ending all that were started before some time doesn't end it.
#[must_use]
pub fn note(id: SessionId, version: Version, data: Data, now: Timestamp, end: Timestamp) -> Record {
    Record {
        id,
        version,
        subject: None,
        authority: Authority::new(Verifier::NONE),
        times: Times { created: now, started: end, active: now, end, idle_s: u32::MAX },
        client: None,
        data,
    }
}

const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Form<'a> {
    format: u8,
    /// What every session has, in bytes that are read at once and not one by one.
    fixed: &'a [u8],
    line: u64,
    epoch: u64,
    entries: u64,
    subject: Option<&'a str>,
    client: Option<&'a str>,
    data: &'a [u8],
}

/// The id, and seven numbers: version, list, the four times, and in one the idle timeout and, above it, the generation.
const FIXED_BYTES: usize = 16 + 7 * 8;

fn fixed(record: &Record, stamp: Stamp) -> [u8; FIXED_BYTES] {
    let Times { created, started, active, end, idle_s } = record.times;
    let [created, started, active, end] = [created, started, active, end].map(Timestamp::as_millis);
    let short = u64::from(stamp.generation) << 32 | u64::from(idle_s);
    let numbers = [record.version.write_id(), stamp.list, created, started, active, end, short];
    let mut fixed = [0; FIXED_BYTES];
    fixed[..16].copy_from_slice(record.id.as_bytes());
    fixed[16..].copy_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
    fixed
}

fn parts(fixed: &[u8]) -> Option<([u8; 16], [u64; 7])> {
    let (id, numbers) = fixed.split_first_chunk()?;
    let (numbers, []) = numbers.as_chunks() else { return None };
    let numbers: [[u8; 8]; 7] = numbers.try_into().ok()?;
    Some((*id, numbers.map(u64::from_le_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lifetime, Secret};

    fn record(data: &str) -> Record {
        let (id, secret) = (SessionId::from_bytes([7; 16]), Secret::from_bytes([9; 16]));
        let now = Timestamp::from_millis(1_760_000_000_000);
        Record {
            id,
            version: Version::from_write_id(u64::MAX - 1),
            subject: Some(Subject::new("ada").unwrap()),
            authority: Authority::new(secret.verifier(&id)),
            times: Times::start(Lifetime::default(), now, now),
            client: Some(Arc::from("Firefox on Linux")),
            data: Data::from_json(data).unwrap(),
        }
    }

    #[test]
    fn everything_but_the_authority_round_trips() {
        let (record, stamp) = (
            record(r#"{"cart":["umbrella"],"n":1}"#),
            Stamp { generation: u32::MAX, line: 3, epoch: u64::MAX, list: 5, entries: 300 },
        );
        let bytes = encode(&record, stamp).unwrap();
        let (read, read_stamp) = decode(&bytes).unwrap();
        assert_eq!((read_stamp, read.id, read.version), (stamp, record.id, record.version));
        assert_eq!((read.subject, read.times, read.client), (record.subject, record.times, record.client));
        assert_eq!(read.data, record.data);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn the_fixed_part_is_never_longer_than_stated() {
        let far = Timestamp::from_millis(u64::MAX);
        let times = Times { created: far, started: far, active: far, end: far, idle_s: u32::MAX };
        let record = Record { times, ..record("{}") };
        let far = u64::MAX;
        let stamp = Stamp { generation: u32::MAX, line: far, epoch: far, list: far, entries: far };
        let variable = "ada".len() + "Firefox on Linux".len() + record.data.as_bytes().len();
        let bytes = encode(&record, stamp).unwrap().len();
        assert!(bytes <= FIXED_BYTES_MAX + variable && bytes + 8 > FIXED_BYTES_MAX + variable, "{bytes}");
    }
}
