//! Values on their way to the server.

use bytes::{BufMut as _, BytesMut};
use cloakroom::{SessionId, Timestamp, Version};
use std::{error, fmt};
use tokio_postgres::types::{IsNull, ToSql, Type};

/// A value of a statement. `Debug` shows nothing of it: the driver prints values into its log when asked to.
pub(crate) enum Value {
    Null,
    Number(i64),
    /// On the wire, a text, a JSON text, a UUID, an array and a row's place are their bytes.
    Bytes(Vec<u8>),
}

/// What the server calls the type.
const UUID: i32 = 2950;

impl Value {
    /// The place where a page of the table begins.
    pub(crate) fn page(page: u32) -> Self {
        Self::Bytes([&page.to_be_bytes()[..], &[0; 2]].concat())
    }

    /// An array of ids.
    pub(crate) fn ids(ids: impl ExactSizeIterator<Item = SessionId>) -> Self {
        // One dimension, no NULLs, of UUIDs, so many, counted from one.
        let many = i32::try_from(ids.len()).unwrap_or(i32::MAX);
        let mut array: Vec<u8> = [1, 0, UUID, many, 1].map(i32::to_be_bytes).concat();
        for id in ids {
            array.extend(16_i32.to_be_bytes());
            array.extend(id.as_bytes());
        }
        Self::Bytes(array)
    }

    /// A value, or NULL.
    pub(crate) fn optional(value: Option<impl Into<Self>>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<SessionId> for Value {
    fn from(id: SessionId) -> Self {
        Self::Bytes(id.as_bytes().to_vec())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

/// The far future beyond what sums of the columns can hold, 73 million years from now, is one instant.
impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Number(i64::try_from(time.as_millis()).unwrap_or(i64::MAX).min(i64::MAX >> 2))
    }
}

/// The same bits, as a signed number.
impl From<Version> for Value {
    fn from(version: Version) -> Self {
        Self::Number(version.write_id().cast_signed())
    }
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Number(number) => return number.to_sql(kind, out),
            Self::Bytes(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    /// Each statement says of which types its values are.
    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_for_the_drivers_log() {
        let values = [Value::from("ada"), Value::Number(7), Value::page(1)];
        assert_eq!(format!("{values:?}"), "[…, …, …]");
    }

    #[test]
    fn the_far_future_fits() {
        let Value::Number(millis) = Value::from(Timestamp::from_millis(u64::MAX)) else { panic!("a number") };
        assert!(millis.checked_add(i64::from(u32::MAX) * 1_000).is_some());
    }
}
