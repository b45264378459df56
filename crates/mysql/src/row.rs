//! Records as rows, and rows as records.

use std::sync::Arc;

use cloakroom::{
    Data, Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Revocation, Summary, Times, Tombstone},
};
use mysql_async::{Params, Row, params};

/// A record, and those of its parts that have to be encoded for their columns.
pub(crate) struct Encoded {
    pub(crate) record: Arc<Record>,
    authority: Vec<u8>,
    data: String,
}

impl Encoded {
    pub(crate) fn of(record: Arc<Record>) -> Result<Self, Error> {
        let (authority, data) = (record.authority.encode()?, record.data.to_json());
        Ok(Self { record, authority, data })
    }

    /// The values of its columns, and those that the condition needs.
    pub(crate) fn params(self, condition: Option<(Version, Timestamp)>) -> Params {
        let (record, times) = (&self.record, &self.record.times);
        let mut values = params! {
            "id" => id(record.id),
            "version" => version(record.version),
            "subject" => record.subject.as_ref().map(Subject::as_str),
            "created" => millis(times.created),
            "started" => millis(times.started),
            "active" => millis(times.active),
            "end" => millis(times.end),
            "idle_s" => times.idle_s,
            "client" => record.client.as_deref(),
            "epoch" => record.authority.epoch(),
            "authority" => self.authority,
            "data" => self.data,
        };
        if let (Params::Named(values), Some((expected, now))) = (&mut values, condition) {
            values.insert(b"expected".to_vec(), version(expected).into());
            values.insert(b"now".to_vec(), millis(now).into());
        }
        values
    }
}

pub(crate) fn id(id: SessionId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// The far future beyond what sums of the columns can hold, 73 million years from now, is one instant.
pub(crate) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).min(i64::MAX >> 2)
}

/// The same bits, as a signed number.
pub(crate) fn version(version: Version) -> i64 {
    version.write_id().cast_signed()
}

/// How many columns a record takes in `load.sql` and `load_several.sql`. The id follows them.
pub(crate) const LOADED_COLUMNS: usize = 13;

/// What such a row holds.
pub(crate) fn loaded(id: SessionId, row: Row, now: Timestamp) -> Result<Loaded, Error> {
    let mut row = Columns(row);
    let (version, subject) = (row.version(0)?, row.subject(1)?);
    if let Some(at) = row.optional_time(7)? {
        let (reason, expires) = (row.reason(8)?, row.time(5)?);
        let tombstone = Tombstone { id, version, at, reason, expires };
        return Ok(if now < expires { Loaded::Ended(tombstone) } else { Loaded::Absent });
    }
    let times = row.times(2)?;
    // Without that row everything would seem to have ended, and everybody be logged out in silence.
    let started_before = row.optional_time(12)?.ok_or_else(|| {
        Error::unavailable("MySQL has lost the row of cloakroom_setting", "restore it; (1, 0) ends nothing")
    })?;
    if times.started < started_before {
        return Ok(Loaded::Absent);
    }
    let client = row.take::<Option<String>>(9)?.map(Arc::from);
    let authority = Authority::decode(&row.take::<Vec<u8>>(10)?)?;
    let data = Data::from_json(&row.take::<String>(11)?)?;
    let record = Record { id, version, subject, authority, times, client, data };
    Ok(if now < record.expires() { Loaded::Found(Arc::new(record)) } else { Loaded::Absent })
}

/// What a row of `list.sql` holds.
pub(crate) fn summary(row: Row) -> Result<Summary, Error> {
    let mut row = Columns(row);
    let (id, times) = (row.id(0)?, row.times(1)?);
    Ok(Summary { id, times, client: row.take::<Option<String>>(6)?.map(Arc::from) })
}

/// What a row of `last_revocation.sql` holds.
pub(crate) fn revocation(row: Row) -> Result<Revocation, Error> {
    let mut row = Columns(row);
    let except = row.take::<Option<Vec<u8>>>(1)?.map(session_id).transpose()?;
    let (at, reason, version) = (row.time(0)?, row.reason(2)?, row.version(3)?);
    Ok(Revocation { at, except, reason, version, tombstones_expire: row.time(4)? })
}

pub(crate) fn session_id(bytes: Vec<u8>) -> Result<SessionId, Error> {
    <[u8; 16]>::try_from(bytes).map(SessionId::from_bytes).map_err(|_| unreadable())
}

pub(crate) fn subject(bytes: Option<Vec<u8>>) -> Result<Option<Subject>, Error> {
    let Some(bytes) = bytes else { return Ok(None) };
    let name = String::from_utf8(bytes).map_err(|_| unreadable())?;
    Ok(Some(Subject::new(name)?))
}

/// A row whose columns are taken one by one. What isn't of the right type was written by another program.
pub(crate) struct Columns(pub(crate) Row);

impl Columns {
    pub(crate) fn take<T: mysql_async::prelude::FromValue>(&mut self, column: usize) -> Result<T, Error> {
        self.0.take_opt(column).ok_or_else(unreadable)?.map_err(|_| unreadable())
    }

    fn time(&mut self, column: usize) -> Result<Timestamp, Error> {
        self.optional_time(column)?.ok_or_else(unreadable)
    }

    pub(crate) fn optional_time(&mut self, column: usize) -> Result<Option<Timestamp>, Error> {
        let millis = self.take::<Option<i64>>(column)?;
        millis
            .map(|millis| u64::try_from(millis).map(Timestamp::from_millis).map_err(|_| unreadable()))
            .transpose()
    }

    fn version(&mut self, column: usize) -> Result<Version, Error> {
        self.take::<i64>(column).map(|version| Version::from_write_id(version.cast_unsigned()))
    }

    fn reason(&mut self, column: usize) -> Result<EndReason, Error> {
        EndReason::parse(&self.take::<String>(column)?).ok_or_else(unreadable)
    }

    pub(crate) fn subject(&mut self, column: usize) -> Result<Option<Subject>, Error> {
        subject(self.take(column)?)
    }

    pub(crate) fn id(&mut self, column: usize) -> Result<SessionId, Error> {
        session_id(self.take(column)?)
    }

    fn times(&mut self, first: usize) -> Result<Times, Error> {
        Ok(Times {
            created: self.time(first)?,
            started: self.time(first + 1)?,
            active: self.time(first + 2)?,
            end: self.time(first + 3)?,
            idle_s: self.take(first + 4)?,
        })
    }
}

fn unreadable() -> Error {
    Error::corrupt("a row of the session tables has another form than this version writes")
}
