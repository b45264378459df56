//! The store's operations, each on one connection. Nearly all are one statement, so that one that fails undoes itself
//! and nothing else.

use cloakroom::{
    Error, SessionId, Subject, Timestamp, Version,
    store::{Revocation, Summary, Swept, Tombstone, Written},
};
use mysql_async::{Conn, Params, Row, TxOpts, Value, params, prelude::Queryable as _};

use crate::{
    failure::Failure,
    loads,
    row::{self, Columns, Encoded, id as id_value, millis, version},
};

type Done<T> = Result<T, Failure>;

pub(crate) async fn load(db: &mut Conn, id: SessionId, now: Timestamp) -> Done<Option<Row>> {
    let values = params! { "id" => id_value(id), "now" => millis(now) };
    let row: Option<Row> = db.exec_first(include_str!("sql/load.sql"), values).await?;
    row.map(|row| Ok(of_one(row, &[id])?.1)).transpose()
}

/// Of those that are there.
pub(crate) async fn load_several(
    db: &mut Conn,
    ids: Vec<SessionId>,
    now: Timestamp,
) -> Done<Vec<(SessionId, Row)>> {
    let (statement, size) = loads::several(ids.len());
    // What is asked for twice is found once.
    let places = ids.iter().chain(ids.last().into_iter().cycle()).take(size);
    let values: Vec<Value> = places.map(|id| id_value(*id).into()).chain([millis(now).into()]).collect();
    let rows: Vec<Row> = db.exec(statement, values).await?;
    rows.into_iter().map(|row| of_one(row, &ids)).collect()
}

/// A row, and whose it is. One that wasn't asked for must not pass for an absence.
fn of_one(row: Row, asked: &[SessionId]) -> Done<(SessionId, Row)> {
    let id = row.get_opt(row::LOADED_COLUMNS).and_then(Result::ok).map(row::session_id);
    match id {
        Some(Ok(id)) if asked.contains(&id) => Ok((id, row)),
        _ => Err(Failure::Foreign),
    }
}

pub(crate) async fn create(db: &mut Conn, new: Encoded) -> Done<Written> {
    match change(db, include_str!("sql/create.sql"), new.params(None)).await {
        Ok(_) => Ok(Written::Stored),
        Err(failure) if failure.is_duplicate() => Ok(Written::Conflict),
        Err(failure) => Err(failure),
    }
}

pub(crate) async fn replace(db: &mut Conn, new: Encoded, expected: Version, now: Timestamp) -> Done<Written> {
    let id = new.record.id;
    let values = new.params(Some((expected, now)));
    let is_replaced = change(db, include_str!("sql/replace.sql"), values).await? > 0;
    if is_replaced { Ok(Written::Stored) } else { why_not(db, id, now).await }
}

pub(crate) async fn touch(db: &mut Conn, id: SessionId, active: Timestamp, now: Timestamp) -> Done<Written> {
    let values = params! { "id" => id_value(id), "active" => millis(active), "now" => millis(now) };
    let is_touched = change(db, include_str!("sql/touch.sql"), values).await? > 0;
    Ok(if is_touched { Written::Stored } else { Written::Gone })
}

pub(crate) async fn end(
    db: &mut Conn,
    tombstone: Tombstone,
    expected: Option<Version>,
    now: Timestamp,
) -> Done<Written> {
    let values = params! {
        "id" => id_value(tombstone.id),
        "version" => version(tombstone.version),
        "at" => millis(tombstone.at),
        "why" => tombstone.reason.as_str(),
        "kept_to" => millis(tombstone.expires),
        "expected" => expected.map(version),
        "now" => millis(now),
    };
    let is_ended = change(db, include_str!("sql/end.sql"), values).await? > 0;
    if is_ended { Ok(Written::Stored) } else { why_not(db, tombstone.id, now).await }
}

/// Why a compare-and-swap changed nothing.
async fn why_not(db: &mut Conn, id: SessionId, now: Timestamp) -> Done<Written> {
    let values = params! { "id" => id_value(id), "now" => millis(now) };
    let alive: Option<Row> = db.exec_first(include_str!("sql/is_alive.sql"), values).await?;
    Ok(if alive.is_some() { Written::Conflict } else { Written::Gone })
}

pub(crate) async fn list(
    db: &mut Conn,
    subject: Subject,
    after: Option<SessionId>,
    limit: usize,
    now: Timestamp,
) -> Done<Vec<Summary>> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let rows: Vec<Row> = match after {
        Some(after) => {
            let after = id_value(after);
            let values = params! { "subject" => subject.as_str(), "after" => after, "now" => millis(now), "limit" => limit };
            db.exec(include_str!("sql/list.sql"), values).await?
        }
        None => {
            let values = params! { "subject" => subject.as_str(), "now" => millis(now), "limit" => limit };
            db.exec(include_str!("sql/list_first.sql"), values).await?
        }
    };
    // One damaged row must not hide a user's other sessions.
    let readable = |row| match row::summary(row) {
        Ok(summary) => Some(summary),
        Err(error) => {
            tracing::warn!(%error, "left out of a list: a row of the session table that can't be read");
            None
        }
    };
    Ok(rows.into_iter().filter_map(readable).collect())
}

/// Of two revocations the later one stays noted, in whichever order they arrive: it means the sessions of both. Sessions
/// are looked up when the note is committed, and ended a page at a time.
pub(crate) async fn end_subject(
    db: &mut Conn,
    subject: Subject,
    revocation: Revocation,
    now: Timestamp,
) -> Done<Vec<SessionId>> {
    let note = params! {
        "subject" => subject.as_str(),
        "at" => millis(revocation.at),
        "except" => revocation.except.map(id_value),
        "why" => revocation.reason.as_str(),
        "version" => version(revocation.version),
        "kept_to" => millis(revocation.tombstones_expire),
    };
    change(db, include_str!("sql/note_revocation.sql"), note).await?;
    let (mut ended, mut after, mut attempts) = (Vec::new(), Vec::new(), 0);
    loop {
        match end_page(db, &subject, after.clone(), &revocation, now).await {
            Ok(Page { last: None, .. }) => return Ok(ended),
            Ok(Page { last: Some(last), ended: more }) => {
                ended.extend(more);
                after = id_value(last);
            }
            Err(failure) if failure.has_given_way() && attempts < ATTEMPTS_MAX => attempts += 1,
            Err(failure) => return Err(failure),
        }
    }
}

/// Some of a subject's sessions.
struct Page {
    ended: Vec<SessionId>,
    /// Of all that were looked at. None: there are no more.
    last: Option<SessionId>,
}

const PAGE: usize = 500;

/// Ends the next sessions, in one transaction. What has expired by this clock may be alive by another: with an absolute end
/// of zero it has expired by all of them, and isn't reported.
async fn end_page(
    db: &mut Conn,
    subject: &Subject,
    after: Vec<u8>,
    revocation: &Revocation,
    now: Timestamp,
) -> Done<Page> {
    let mut transaction = db.start_transaction(TxOpts::default()).await?;
    let values = params! {
        "subject" => subject.as_str(), "after" => after, "now" => millis(now), "limit" => PAGE as u64,
    };
    let rows: Vec<Row> = transaction.exec(include_str!("sql/sessions_of.sql"), values).await?;
    let (mut last, mut living, mut expired) = (None, Vec::new(), Vec::new());
    for row in rows {
        let mut row = Columns(row);
        let (id, is_alive) = (row.id(0)?, row.take::<Option<bool>>(1)?.unwrap_or(false));
        last = Some(id);
        if Some(id) != revocation.except {
            if is_alive { &mut living } else { &mut expired }.push(id);
        }
    }
    if !living.is_empty() {
        let end = format!(
            "UPDATE cloakroom_session SET version = ?, end_ms = ?, ended_ms = ?, ended_why = ?, subject = NULL, \
             client = NULL, epoch = NULL, authority = NULL, data = NULL WHERE id IN ({})",
            marks(living.len())
        );
        let mut values: Vec<Value> = vec![
            version(revocation.version).into(),
            millis(revocation.tombstones_expire).into(),
            millis(revocation.at).into(),
            revocation.reason.as_str().into(),
        ];
        values.extend(living.iter().map(|id| Value::from(id_value(*id))));
        transaction.exec_drop(end, Params::Positional(values)).await?;
    }
    if !expired.is_empty() {
        let end = format!("UPDATE cloakroom_session SET end_ms = 0 WHERE id IN ({})", marks(expired.len()));
        let values = expired.iter().map(|id| Value::from(id_value(*id))).collect();
        transaction.exec_drop(end, Params::Positional(values)).await?;
    }
    transaction.commit().await?;
    Ok(Page { ended: living, last })
}

pub(crate) async fn last_revocation(
    db: &mut Conn,
    subject: Subject,
    now: Timestamp,
) -> Done<Option<Revocation>> {
    let values = params! { "subject" => subject.as_str(), "since" => forgotten(now) };
    let row: Option<Row> = db.exec_first(include_str!("sql/last_revocation.sql"), values).await?;
    Ok(row.map(row::revocation).transpose()?)
}

pub(crate) async fn end_started_before(db: &mut Conn, instant: Timestamp) -> Done<()> {
    let values = params! { "instant" => millis(instant) };
    change(db, include_str!("sql/end_started_before.sql"), values).await?;
    Ok(())
}

/// Rows that one walk looks at, at most: some ten milliseconds of reading.
const WALK_ROWS_MAX: usize = 10_000;

/// Rows that are removed in one transaction: a few milliseconds' work.
const REMOVED_MAX: usize = 64;

/// Removes expired rows, `limit` at most, from the row after `from` to the last one and on from the first. Answers the
/// last row looked at, too.
pub(crate) async fn sweep(
    db: &mut Conn,
    from: [u8; 16],
    now: Timestamp,
    limit: usize,
) -> Done<(Swept, [u8; 16])> {
    let (mut found, mut last, mut left) = (Vec::new(), from, WALK_ROWS_MAX.max(limit));
    for (after, to) in [(from, [0xff; 16]), ([0; 16], from)] {
        let values = params! {
            "now" => millis(now),
            "after" => after.to_vec(),
            "to" => to.to_vec(),
            "limit" => u64::try_from(left).unwrap_or(u64::MAX),
        };
        let rows: Vec<(Vec<u8>, bool)> = db.exec(include_str!("sql/walk.sql"), values).await?;
        for (id, is_expired) in rows {
            if found.len() == limit {
                break;
            }
            let id = row::session_id(id)?;
            (last, left) = (*id.as_bytes(), left - 1);
            if is_expired {
                found.push(id);
            }
        }
        if found.len() == limit || left == 0 {
            break;
        }
    }
    // A larger table is walked a part at a time, one in each period: what has expired is gone, and there is no hurry to
    // remove it.
    let mut swept = Swept { is_more: found.len() == limit, ..Swept::default() };
    for ids in found.chunks(REMOVED_MAX) {
        swept.expired.extend(remove(db, ids, now).await?);
    }
    let values = params! { "since" => forgotten(now) };
    swept.is_more |= change(db, include_str!("sql/sweep_revocations.sql"), values).await? == 256;
    Ok((swept, last))
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Removes those of the rows that have still expired: they may have been touched, or used again, since they were found.
async fn remove(db: &mut Conn, ids: &[SessionId], now: Timestamp) -> Done<Vec<(SessionId, Option<Subject>)>> {
    let mut transaction = db.start_transaction(TxOpts::default()).await?;
    let select = format!(
        "SELECT id, subject, ended_ms FROM cloakroom_session WHERE id IN ({}) AND (expires_ms <= ? OR (ended_ms IS NULL \
         AND started_ms < (SELECT started_before_ms FROM cloakroom_setting WHERE id = 1))) FOR UPDATE",
        marks(ids.len())
    );
    let mut values: Vec<Value> = ids.iter().map(|id| id_value(*id).into()).collect();
    values.push(millis(now).into());
    let rows: Vec<Row> = transaction.exec(select, Params::Positional(values)).await?;
    let (mut removed, mut expired) = (Vec::new(), Vec::new());
    for row in rows {
        let mut row = Columns(row);
        let id = row.id(0)?;
        removed.push(Value::from(id_value(id)));
        if row.optional_time(2)?.is_none() {
            expired.push((id, row.subject(1).unwrap_or_default()));
        }
    }
    if !removed.is_empty() {
        let delete = format!("DELETE FROM cloakroom_session WHERE id IN ({})", marks(removed.len()));
        transaction.exec_drop(delete, Params::Positional(removed)).await?;
    }
    transaction.commit().await?;
    Ok(expired)
}

/// Revocations asked for at this instant or before are forgotten: a day is longer than any login takes.
fn forgotten(now: Timestamp) -> i64 {
    const KEPT_MS: i64 = 86_400_000;
    millis(now) - KEPT_MS
}

/// How often a statement is made anew that the server chose to give way.
const ATTEMPTS_MAX: u32 = 5;

/// Makes a change, and answers how many rows its condition met.
async fn change(db: &mut Conn, sql: &'static str, values: Params) -> Done<u64> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match db.exec_drop(sql, values.clone()).await.map_err(Failure::from) {
            Ok(()) => return Ok(db.affected_rows()),
            Err(failure) if failure.has_given_way() && attempt < ATTEMPTS_MAX => {}
            Err(failure) if failure.has_given_way() => {
                let source = Error::from(failure).to_string();
                return Err(Error::unavailable("MySQL is too busy with this session", source).into());
            }
            Err(failure) => return Err(failure),
        }
    }
}
