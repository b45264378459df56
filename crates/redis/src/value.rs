//! What keys hold. A session is a head that the scripts read, and behind it the record as the library encodes it.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{EndReason, Loaded, Revocation, Tombstone},
};

/// How long keys stay after what they hold has expired by the caller's clock: more than clocks of callers differ. What
/// has expired is gone to all calls, and its id is still taken.
pub(crate) const KEPT_AFTER: Duration = Duration::from_secs(60);

/// The longest time to live that is asked of the engine: 35,000 years, which its arithmetic bears.
pub(crate) const TTL_MAX_MS: u64 = 1 << 50;

const RECORD: u8 = b'R';
const TOMBSTONE: u8 = b'T';

/// Kind, version, three times, the idle timeout and the length of the subject.
const HEAD_BYTES: usize = 1 + 8 + 3 * 8 + 4 + 1;

/// How long a key stays that holds something until `expires`, in milliseconds. The engine is told how long, never until
/// when: its clock takes no part in what is alive.
pub(crate) fn ttl_ms(expires: Timestamp, now: Timestamp) -> u64 {
    let left = expires.since(now).saturating_add(KEPT_AFTER);
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(TTL_MAX_MS)
}

pub(crate) fn time(time: Timestamp) -> [u8; 8] {
    time.as_millis().to_be_bytes()
}

pub(crate) fn version(version: Version) -> [u8; 8] {
    version.write_id().to_be_bytes()
}

pub(crate) fn record(record: &Record) -> Result<Vec<u8>, Error> {
    let subject = record.subject.as_ref().map_or("", Subject::as_str);
    let length = u8::try_from(subject.len())
        .map_err(|_| Error::invalid("a subject of more than 255 bytes can't be stored"))?;
    let body = record.encode()?;
    let times = &record.times;
    let mut value = Vec::with_capacity(HEAD_BYTES + subject.len() + body.len());
    value.push(RECORD);
    value.extend(version(record.version));
    value.extend([times.active, times.end, times.started].map(time).concat());
    value.extend(times.idle_s.to_be_bytes());
    value.push(length);
    value.extend(subject.as_bytes());
    value.extend(body);
    Ok(value)
}

pub(crate) fn tombstone(tombstone: &Tombstone) -> Vec<u8> {
    let mut value = vec![TOMBSTONE];
    value.extend(version(tombstone.version));
    value.extend([tombstone.at, tombstone.expires].map(time).concat());
    value.extend(tombstone.reason.as_str().as_bytes());
    value
}

/// What a load answers that found this value, and this watermark in its shard. None: no value.
pub(crate) fn loaded(
    id: SessionId,
    value: Option<&[u8]>,
    watermark: Option<&[u8]>,
    now: Timestamp,
) -> Result<Option<Loaded>, Error> {
    let Some(value) = value else { return Ok(None) };
    let mut reader = Reader(value);
    let loaded = match reader.byte() {
        Some(RECORD) => living(reader, watermark, now),
        Some(TOMBSTONE) => ended(id, reader, now),
        _ => None,
    };
    loaded.unwrap_or_else(|| Err(corrupt("session", &id.to_string()))).map(Some)
}

fn living(mut reader: Reader<'_>, watermark: Option<&[u8]>, now: Timestamp) -> Option<Result<Loaded, Error>> {
    reader.take(8)?;
    let (active, end, started) = (reader.time()?, reader.time()?, reader.time()?);
    let idle_s = u32::from_be_bytes(reader.take(4)?.try_into().ok()?);
    let length = reader.byte()?;
    reader.take(length.into())?;
    // It outlives every session of its shard: where it is missing the engine has thrown it away, and what it had ended
    // must not come back.
    let is_cut = match watermark {
        Some(watermark) => started < Reader(watermark).time()?,
        None => true,
    };
    let expires = (active + Duration::from_secs(idle_s.into())).min(end);
    if is_cut || now >= expires {
        return Some(Ok(Loaded::Absent));
    }
    Some(Record::decode(reader.0).map_err(Error::from).map(|mut record| {
        // A touch changes the head alone.
        record.times.active = active;
        Loaded::Found(Arc::new(record))
    }))
}

fn ended(id: SessionId, mut reader: Reader<'_>, now: Timestamp) -> Option<Result<Loaded, Error>> {
    let (version, at, expires) = (reader.version()?, reader.time()?, reader.time()?);
    let reason = reader.reason()?;
    let tombstone = Tombstone { id, version, at, reason, expires };
    Some(Ok(if now < expires { Loaded::Ended(tombstone) } else { Loaded::Absent }))
}

pub(crate) fn note(revocation: &Revocation) -> Vec<u8> {
    let Revocation { at, except, reason, version: stamp, tombstones_expire } = revocation;
    let mut value = time(*at).to_vec();
    value.extend(version(*stamp));
    value.extend(time(*tombstones_expire));
    value.push(except.is_some().into());
    value.extend(except.map_or([0; 16], |id| *id.as_bytes()));
    value.extend(reason.as_str().as_bytes());
    value
}

pub(crate) fn revocation(value: &[u8]) -> Result<Revocation, Error> {
    let read = |mut reader: Reader<'_>| {
        let (at, version, tombstones_expire) = (reader.time()?, reader.version()?, reader.time()?);
        let (has_except, id) = (reader.byte()?, reader.id()?);
        let except = (has_except == 1).then_some(id);
        Some(Revocation { at, except, reason: reader.reason()?, version, tombstones_expire })
    };
    read(Reader(value)).ok_or_else(|| corrupt("note of", "a revocation"))
}

/// The id in an index entry, which has two times behind it.
pub(crate) fn entry_id(entry: &[u8]) -> Option<SessionId> {
    (entry.len() == 32).then(|| Reader(entry).id()).flatten()
}

pub(crate) fn corrupt(what: &str, name: &str) -> Error {
    Error::corrupt(format!(
        "the {what} {name} holds something else than this version writes: another program uses the same prefix, or a \
         newer version; give each its own `?prefix=`"
    ))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.number().map(Timestamp::from_millis)
    }

    fn version(&mut self) -> Option<Version> {
        self.number().map(Version::from_write_id)
    }

    fn id(&mut self) -> Option<SessionId> {
        self.take(16)?.try_into().ok().map(SessionId::from_bytes)
    }

    /// All that is left.
    fn reason(&mut self) -> Option<EndReason> {
        str::from_utf8(std::mem::take(&mut self.0)).ok().and_then(EndReason::parse)
    }
}
