//! Records as rows, and rows as records.

use std::sync::Arc;

use cloakroom::{
    Data, Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Revocation, Summary, Times, Tombstone},
};
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

/// A record, and those of its parts that have to be encoded for their columns. The caller encodes them, so that the one
/// writer has less to do.
pub(crate) struct Encoded {
    pub(crate) record: Arc<Record>,
    pub(crate) authority: Vec<u8>,
    pub(crate) data: String,
}

impl Encoded {
    pub(crate) fn of(record: Arc<Record>) -> Result<Self, Error> {
        let (authority, data) = (record.authority.encode()?, record.data.to_json());
        Ok(Self { record, authority, data })
    }

    pub(crate) fn subject(&self) -> Option<&str> {
        self.record.subject.as_ref().map(Subject::as_str)
    }
}

/// What a row of `load.sql` holds.
pub(crate) fn loaded(id: SessionId, row: &Row<'_>) -> rusqlite::Result<Loaded> {
    let Column(version) = row.get(0)?;
    if let Some(Column(at)) = row.get(7)? {
        let (Column(reason), Column(expires)) = (row.get(8)?, row.get(5)?);
        return Ok(Loaded::Ended(Tombstone { id, version, at, reason, expires }));
    }
    let subject = row.get::<_, Option<Column<Subject>>>(1)?.map(|Column(subject)| subject);
    let (Column(authority), Column(data)) = (row.get(10)?, row.get(11)?);
    let (times, client) = (times(row, 2)?, row.get(9)?);
    Ok(Loaded::Found(Arc::new(Record { id, version, subject, authority, times, client, data })))
}

/// What a row of `list.sql` holds.
pub(crate) fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    let Column(id) = row.get(0)?;
    Ok(Summary { id, times: times(row, 1)?, client: row.get(6)? })
}

/// What a row of `last_revocation.sql` holds.
pub(crate) fn revocation(row: &Row<'_>) -> rusqlite::Result<Revocation> {
    let (Column(at), Column(reason), Column(version)) = (row.get(0)?, row.get(2)?, row.get(3)?);
    let except = row.get::<_, Option<Column<SessionId>>>(1)?.map(|Column(id)| id);
    let Column(tombstones_expire) = row.get(4)?;
    Ok(Revocation { at, except, reason, version, tombstones_expire })
}

fn times(row: &Row<'_>, first: usize) -> rusqlite::Result<Times> {
    let (Column(created), Column(started)) = (row.get(first)?, row.get(first + 1)?);
    let (Column(active), Column(end)) = (row.get(first + 2)?, row.get(first + 3)?);
    Ok(Times { created, started, active, end, idle_s: row.get(first + 4)? })
}

/// A value in the form its column has.
pub(crate) struct Column<T>(pub(crate) T);

/// The far future beyond what a signed number holds, 292 million years from now, is one instant.
impl ToSql for Column<Timestamp> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Column<Timestamp> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let millis = value.as_i64()?;
        u64::try_from(millis)
            .map(Timestamp::from_millis)
            .map(Self)
            .map_err(|_| FromSqlError::OutOfRange(millis))
    }
}

/// The same bits, as a signed number.
impl ToSql for Column<Version> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.write_id().cast_signed().into())
    }
}

impl FromSql for Column<Version> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(Version::from_write_id(value.as_i64()?.cast_unsigned())))
    }
}

/// As its text, where people read it, or as its bytes.
impl FromSql for Column<SessionId> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Text(_) => value.as_str()?.parse().map(Self).map_err(FromSqlError::other),
            _ => <[u8; 16]>::column_result(value).map(SessionId::from_bytes).map(Self),
        }
    }
}

impl FromSql for Column<Subject> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Subject::new(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

impl FromSql for Column<Authority> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Authority::decode(value.as_blob()?).map(Self).map_err(FromSqlError::other)
    }
}

impl FromSql for Column<Data> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Data::from_json(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

impl FromSql for Column<EndReason> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        EndReason::parse(value.as_str()?).map(Self).ok_or(FromSqlError::InvalidType)
    }
}
