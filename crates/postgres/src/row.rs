//! Records as rows, and rows as records.

use std::sync::Arc;

use cloakroom::{
    Data, Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Revocation, Summary, Times, Tombstone},
};
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use crate::value::Value;

/// A record's columns, in the order of `create.sql`.
pub(crate) fn columns(record: &Record) -> Result<Vec<Value>, Error> {
    let Record { id, version, subject, times, client, authority, data } = record;
    let encoded = authority.encode()?;
    Ok(vec![
        (*id).into(),
        (*version).into(),
        Value::optional(subject.as_ref().map(Subject::as_str)),
        times.created.into(),
        times.started.into(),
        times.active.into(),
        times.end.into(),
        Value::Number(times.idle_s.into()),
        Value::optional(client.as_deref()),
        Value::Number(authority.epoch().into()),
        Value::Bytes(encoded),
        Value::Bytes(data.to_json().into_bytes()),
    ])
}

/// How many columns a record takes in `load.sql` and `load_several.sql`. The id follows them.
pub(crate) const LOADED_COLUMNS: usize = 13;

/// What such a row holds.
pub(crate) fn loaded(id: SessionId, row: &Row, now: Timestamp) -> Result<Loaded, Error> {
    let row = Columns(row);
    let (version, subject) = (row.version(0)?, row.subject(1)?);
    if let Some(at) = row.optional_time(7)? {
        let (reason, expires) = (row.reason(8)?, row.time(5)?);
        let tombstone = Tombstone { id, version, at, reason, expires };
        return Ok(if now < expires { Loaded::Ended(tombstone) } else { Loaded::Absent });
    }
    let times = row.times(2)?;
    if times.started < row.optional_time(12)?.ok_or_else(settings_lost)? {
        return Ok(Loaded::Absent);
    }
    let client = row.optional_text(9)?.map(Arc::from);
    let authority = Authority::decode(row.bytes(10)?)?;
    let data = Data::from_json(row.optional_text(11)?.ok_or_else(unreadable)?)?;
    let record = Record { id, version, subject, authority, times, client, data };
    Ok(if now < record.expires() { Loaded::Found(Arc::new(record)) } else { Loaded::Absent })
}

/// What a row of `list.sql` holds.
pub(crate) fn summary(row: &Row) -> Result<Summary, Error> {
    let row = Columns(row);
    let (id, times) = (row.id(0)?, row.times(1)?);
    Ok(Summary { id, times, client: row.optional_text(6)?.map(Arc::from) })
}

/// What a row of `last_revocation.sql` holds.
pub(crate) fn revocation(row: &Row) -> Result<Revocation, Error> {
    let row = Columns(row);
    let except = row.optional(1)?.map(session_id).transpose()?;
    let (at, reason, version) = (row.time(0)?, row.reason(2)?, row.version(3)?);
    Ok(Revocation { at, except, reason, version, tombstones_expire: row.time(4)? })
}

/// A row whose columns are taken one by one. What isn't of the right type was written by another program.
pub(crate) struct Columns<'a>(pub(crate) &'a Row);

impl<'a> Columns<'a> {
    fn optional(&self, column: usize) -> Result<Option<&'a [u8]>, Error> {
        let raw: Option<Raw<'a>> = self.0.try_get(column).map_err(|_| unreadable())?;
        Ok(raw.map(|raw| raw.0))
    }

    fn bytes(&self, column: usize) -> Result<&'a [u8], Error> {
        self.optional(column)?.ok_or_else(unreadable)
    }

    fn optional_text(&self, column: usize) -> Result<Option<&'a str>, Error> {
        self.optional(column)?.map(std::str::from_utf8).transpose().map_err(|_| unreadable())
    }

    pub(crate) fn number(&self, column: usize) -> Result<i64, Error> {
        self.0.try_get(column).map_err(|_| unreadable())
    }

    pub(crate) fn flag(&self, column: usize) -> Result<bool, Error> {
        self.0.try_get(column).map_err(|_| unreadable())
    }

    fn time(&self, column: usize) -> Result<Timestamp, Error> {
        self.optional_time(column)?.ok_or_else(unreadable)
    }

    pub(crate) fn optional_time(&self, column: usize) -> Result<Option<Timestamp>, Error> {
        let millis: Option<i64> = self.0.try_get(column).map_err(|_| unreadable())?;
        millis
            .map(|millis| u64::try_from(millis).map(Timestamp::from_millis).map_err(|_| unreadable()))
            .transpose()
    }

    fn version(&self, column: usize) -> Result<Version, Error> {
        self.number(column).map(|version| Version::from_write_id(version.cast_unsigned()))
    }

    fn reason(&self, column: usize) -> Result<EndReason, Error> {
        self.optional_text(column)?.and_then(EndReason::parse).ok_or_else(unreadable)
    }

    pub(crate) fn subject(&self, column: usize) -> Result<Option<Subject>, Error> {
        Ok(self.optional_text(column)?.map(Subject::new).transpose()?)
    }

    pub(crate) fn id(&self, column: usize) -> Result<SessionId, Error> {
        self.bytes(column).and_then(session_id)
    }

    fn times(&self, first: usize) -> Result<Times, Error> {
        Ok(Times {
            created: self.time(first)?,
            started: self.time(first + 1)?,
            active: self.time(first + 2)?,
            end: self.time(first + 3)?,
            idle_s: u32::try_from(self.number(first + 4)?).map_err(|_| unreadable())?,
        })
    }
}

/// A column's bytes as they came, of whichever type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn session_id(bytes: &[u8]) -> Result<SessionId, Error> {
    bytes.try_into().map(SessionId::from_bytes).map_err(|_| unreadable())
}

/// Which sessions have ended can't be told without it: nobody is logged out for that.
pub(crate) fn settings_lost() -> Error {
    Error::unavailable("PostgreSQL has lost the row of cloakroom_setting", "restore it; (1, 0) ends nothing")
}

fn unreadable() -> Error {
    Error::corrupt("a row of the session tables has another form than this version writes")
}
