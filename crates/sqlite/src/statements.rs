//! The store's operations, each on one connection, inside whatever transaction there is. Nearly all are one statement,
//! so that one that fails undoes itself and nothing else.

use cloakroom::{
    SessionId, Subject, Timestamp, Version,
    store::{Loaded, Revocation, Summary, Tombstone, Written},
};
use rusqlite::{Connection, Params, params, types::ValueRef};

use crate::{
    failure::Failure,
    row::{Column, Encoded, loaded, revocation, summary},
};

pub(crate) fn load(db: &Connection, id: SessionId, now: Timestamp) -> Result<Loaded, Failure> {
    let mut statement = db.prepare_cached(include_str!("sql/load.sql"))?;
    let mut rows = statement.query(params![id.to_string(), Column(now)])?;
    let Some(row) = rows.next()? else { return Ok(Loaded::Absent) };
    loaded(id, row).map_err(|error| Failure::row(format!("session {id}: {error}")))
}

pub(crate) fn create(db: &Connection, new: &Encoded) -> Result<Written, Failure> {
    let (record, times) = (&new.record, &new.record.times);
    let values = params![
        record.id.to_string(),
        record.id.as_bytes(),
        Column(record.version),
        new.subject(),
        Column(times.created),
        Column(times.started),
        Column(times.active),
        Column(times.end),
        times.idle_s,
        record.client.as_deref(),
        record.authority.epoch(),
        new.authority,
        new.data,
    ];
    let is_created = execute(db, include_str!("sql/create.sql"), values)?;
    Ok(if is_created { Written::Stored } else { Written::Conflict })
}

pub(crate) fn replace(
    db: &Connection,
    new: &Encoded,
    expected: Version,
    now: Timestamp,
) -> Result<Written, Failure> {
    let (record, times) = (&new.record, &new.record.times);
    let values = params![
        record.id.to_string(),
        Column(record.version),
        new.subject(),
        Column(times.created),
        Column(times.started),
        Column(times.active),
        Column(times.end),
        times.idle_s,
        record.client.as_deref(),
        record.authority.epoch(),
        new.authority,
        new.data,
        Column(expected),
        Column(now),
    ];
    let is_replaced = execute(db, include_str!("sql/replace.sql"), values)?
        || execute(db, include_str!("sql/replace_with_subject.sql"), values)?;
    if is_replaced { Ok(Written::Stored) } else { why_not(db, record.id, now) }
}

pub(crate) fn touch(
    db: &Connection,
    id: SessionId,
    active: Timestamp,
    now: Timestamp,
) -> Result<Written, Failure> {
    let values = params![id.to_string(), Column(active), Column(now)];
    let is_touched = execute(db, include_str!("sql/touch.sql"), values)?;
    Ok(if is_touched { Written::Stored } else { Written::Gone })
}

pub(crate) fn end(
    db: &Connection,
    tombstone: &Tombstone,
    expected: Option<Version>,
    now: Timestamp,
) -> Result<Written, Failure> {
    let values = params![
        tombstone.id.to_string(),
        Column(tombstone.version),
        Column(tombstone.at),
        tombstone.reason.as_str(),
        Column(tombstone.expires),
        expected.map(Column),
        Column(now),
    ];
    let is_ended = execute(db, include_str!("sql/end.sql"), values)?;
    if is_ended { Ok(Written::Stored) } else { why_not(db, tombstone.id, now) }
}

/// Why a compare-and-swap changed nothing.
fn why_not(db: &Connection, id: SessionId, now: Timestamp) -> Result<Written, Failure> {
    let mut statement = db.prepare_cached(include_str!("sql/is_alive.sql"))?;
    let is_alive = statement.exists(params![id.to_string(), Column(now)])?;
    Ok(if is_alive { Written::Conflict } else { Written::Gone })
}

pub(crate) fn list(
    db: &Connection,
    subject: &Subject,
    after: Option<SessionId>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Summary>, Failure> {
    let mut statement = db.prepare_cached(include_str!("sql/list.sql"))?;
    let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
    let mut rows = statement.query(params![subject.as_str(), after, Column(now), count(limit)])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        match summary(row) {
            Ok(summary) => page.push(summary),
            // One damaged row must not hide a user's other sessions.
            Err(error) => {
                tracing::warn!(%error, "left out of a list: a row of the session file that can't be read")
            }
        }
    }
    Ok(page)
}

/// Notes the revocation and ends the sessions. Should the second statement fail, the note may stay: all it does is to
/// make logins in progress withdraw.
pub(crate) fn end_subject(
    db: &Connection,
    subject: &Subject,
    revocation: &Revocation,
    now: Timestamp,
) -> Result<Vec<SessionId>, Failure> {
    let except = revocation.except.map(|id| id.to_string());
    let note = params![
        subject.as_str(),
        Column(revocation.at),
        except,
        revocation.reason.as_str(),
        Column(revocation.version),
        Column(revocation.tombstones_expire),
    ];
    execute(db, include_str!("sql/note_revocation.sql"), note)?;
    let values = params![
        subject.as_str(),
        Column(revocation.version),
        Column(revocation.at),
        revocation.reason.as_str(),
        Column(revocation.tombstones_expire),
        except,
        Column(now),
    ];
    let mut statement = db.prepare_cached(include_str!("sql/end_subject.sql"))?;
    let ids = statement.query_map(values, |row| row.get(0).map(|Column(id)| id))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn last_revocation(
    db: &Connection,
    subject: &Subject,
    now: Timestamp,
) -> Result<Option<Revocation>, Failure> {
    let mut statement = db.prepare_cached(include_str!("sql/last_revocation.sql"))?;
    let mut rows = statement.query(params![subject.as_str(), forgotten(now)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let unreadable = |error| Failure::row(format!("the last revocation of the subject: {error}"));
    revocation(row).map(Some).map_err(unreadable)
}

pub(crate) fn end_started_before(db: &Connection, instant: Timestamp) -> Result<(), Failure> {
    execute(db, include_str!("sql/end_started_before.sql"), params![Column(instant)])?;
    Ok(())
}

/// What a walk over the rows found.
pub(crate) struct Walk {
    /// Rows that can be removed.
    pub(crate) rows: Vec<i64>,
    /// The last row looked at, from which the next walk goes on.
    pub(crate) last: i64,
    /// Whether some rows weren't looked at, in this walk or those before it.
    pub(crate) is_more: bool,
    pub(crate) has_old_revocations: bool,
}

/// Rows that one walk looks at, at most: about ten milliseconds of reading.
const WALK_ROWS_MAX: usize = 20_000;

/// Looks for rows to remove, `limit` at most, from the row after `from` to the last one and on from the first.
pub(crate) fn walk(db: &Connection, from: i64, now: Timestamp, limit: usize) -> Result<Walk, Failure> {
    let mut walk = Walk { rows: Vec::new(), last: from, is_more: true, has_old_revocations: false };
    let mut left = WALK_ROWS_MAX;
    let mut statement = db.prepare_cached(include_str!("sql/walk.sql"))?;
    for (after, to) in [(from, i64::MAX), (i64::MIN, from)] {
        let mut rows = statement.query(params![after, to, Column(now), count(left)])?;
        while walk.rows.len() < limit
            && let Some(row) = rows.next()?
        {
            (walk.last, left) = (row.get(0)?, left - 1);
            if row.get(1)? {
                walk.rows.push(walk.last);
            }
        }
        let is_full = walk.rows.len() >= limit;
        if is_full || left == 0 {
            walk.is_more |= is_full;
            break;
        }
        // Past the last row. What lies before `from` was looked at in earlier walks; there is time to look again.
        walk.is_more = false;
    }
    let mut statement = db.prepare_cached(include_str!("sql/has_old_revocations.sql"))?;
    walk.has_old_revocations = statement.exists(params![forgotten(now)])?;
    Ok(walk)
}

/// Sessions that had expired, and whose they were.
type Expired = Vec<(SessionId, Option<Subject>)>;

/// Removes those of the rows that have still expired.
pub(crate) fn sweep(db: &Connection, rows: &[i64], now: Timestamp) -> Result<Expired, Failure> {
    let mut expired = Vec::new();
    let mut statement = db.prepare_cached(include_str!("sql/sweep.sql"))?;
    let mut removed = statement.query(params![serde_json::json!(rows).to_string(), Column(now)])?;
    while let Some(row) = removed.next()? {
        let is_tombstone = row.get_ref(2)? != ValueRef::Null;
        if !is_tombstone && let Ok(Column(id)) = row.get(0) {
            let subject = row.get::<_, Option<Column<Subject>>>(1).ok().flatten();
            expired.push((id, subject.map(|Column(subject)| subject)));
        }
    }
    Ok(expired)
}

/// Removes some of the revocations that nobody asks for any more, and answers whether there may be more.
pub(crate) fn sweep_revocations(db: &Connection, now: Timestamp) -> Result<bool, Failure> {
    const LIMIT: usize = 256;
    let mut statement = db.prepare_cached(include_str!("sql/sweep_revocations.sql"))?;
    Ok(statement.execute(params![forgotten(now), count(LIMIT)])? == LIMIT)
}

/// Revocations asked for at this instant or before are forgotten: a day is longer than any login takes.
fn forgotten(now: Timestamp) -> i64 {
    const KEPT_MS: i64 = 86_400_000;
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX) - KEPT_MS
}

fn execute(db: &Connection, sql: &str, values: impl Params) -> Result<bool, Failure> {
    Ok(db.prepare_cached(sql)?.execute(values)? > 0)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::database;

    #[test]
    fn no_request_scans_the_sessions() {
        let db = database();
        let by_subject = "session USING INDEX session_by_subject (subject=?";
        for (sql, plan) in [
            (include_str!("sql/load.sql"), "SEARCH session USING INDEX sqlite_autoindex_session_1 (id=?)"),
            (include_str!("sql/replace.sql"), "SEARCH session USING INDEX sqlite_autoindex_session_1 (id=?)"),
            (include_str!("sql/touch.sql"), "SEARCH session USING INDEX sqlite_autoindex_session_1 (id=?)"),
            (include_str!("sql/end.sql"), "SEARCH session USING INDEX sqlite_autoindex_session_1 (id=?)"),
            (include_str!("sql/list.sql"), by_subject),
            (include_str!("sql/end_subject.sql"), by_subject),
            (include_str!("sql/walk.sql"), "SEARCH session USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (include_str!("sql/sweep.sql"), "SEARCH session USING INTEGER PRIMARY KEY (rowid=?)"),
            (include_str!("sql/has_old_revocations.sql"), "INDEX revocation_by_time (at_ms<?)"),
        ] {
            let steps = plan_of(&db, sql);
            assert!(steps.contains(plan), "{sql}\n{steps}");
            assert!(!steps.contains("SCAN session") && !steps.contains("TEMP B-TREE"), "{sql}\n{steps}");
        }
    }

    fn plan_of(db: &Connection, sql: &str) -> String {
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
        let steps =
            statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    /// Between a walk and a removal, rows can be touched.
    #[test]
    fn a_row_that_lives_again_is_not_removed() {
        let db = database();
        let insert =
            "INSERT INTO session (id, id_bytes, version, created_ms, started_ms, active_ms, end_ms, idle_s)
            VALUES (printf('%022d', ?1), zeroblob(16), 1, 0, 0, 0, 100000, 10)";
        for n in 1..=3 {
            db.execute(insert, [n]).unwrap();
        }
        let now = Timestamp::from_millis(10_000);
        let walk = walk(&db, i64::MIN, now, 100).unwrap();
        assert_eq!((&walk.rows[..], walk.is_more), (&[1, 2, 3][..], false));
        db.execute("UPDATE session SET active_ms = 1 WHERE rowid = 2", []).unwrap();
        assert_eq!(sweep(&db, &walk.rows, now).unwrap().len(), 2);
        assert_eq!(db.query_row("SELECT rowid FROM session", [], |row| row.get(0)), Ok(2));
    }
}
