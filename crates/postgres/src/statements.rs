//! The store's operations, each on one connection. Each is one statement that commits itself, so that one that fails
//! undoes itself and nothing else; only a revocation is several.

use std::{ops::Range, sync::Arc, time::Duration};

use cloakroom::{
    Error, SessionId, Subject, Timestamp, Version,
    store::{Revocation, Summary, Swept, Tombstone, Written},
};
use tokio::time::Instant;
use tokio_postgres::Row;

use crate::{
    failure::{Failure, Refusal},
    line::{Line, Outcome},
    row::{self, Columns},
    sql::Sql,
    value::Value,
};

type Done<T> = Result<T, Failure>;

pub(crate) async fn load(line: Arc<Line>, id: SessionId, now: Timestamp) -> Done<Option<Row>> {
    let found = line.make(Sql::Load, &[id.into(), now.into()]).await?;
    Ok(loaded(found, &[id])?.pop().map(|(_, row)| row))
}

/// Of those that are there.
pub(crate) async fn load_several(
    line: Arc<Line>,
    ids: Vec<SessionId>,
    now: Timestamp,
) -> Done<Vec<(SessionId, Row)>> {
    let found = line.make(Sql::LoadSeveral, &[Value::ids(ids.iter().copied()), now.into()]).await?;
    loaded(found, &ids)
}

/// An answer to another's question must not pass for an absence.
fn loaded(found: Outcome, asked: &[SessionId]) -> Done<Vec<(SessionId, Row)>> {
    let with_id = |row| match Columns(&row).id(row::LOADED_COLUMNS) {
        Ok(id) if asked.contains(&id) => Ok((id, row)),
        _ => Err(Refusal::foreign().into()),
    };
    found.rows.into_iter().map(with_id).collect()
}

pub(crate) async fn create(line: Arc<Line>, columns: Vec<Value>) -> Done<Written> {
    let is_created = change(&line, Sql::Create, &columns).await?.changed > 0;
    Ok(if is_created { Written::Stored } else { Written::Conflict })
}

pub(crate) async fn replace(
    line: Arc<Line>,
    id: SessionId,
    mut values: Vec<Value>,
    expected: Version,
    now: Timestamp,
) -> Done<Written> {
    values.extend([expected.into(), now.into()]);
    let is_replaced = change(&line, Sql::Replace, &values).await?.changed > 0;
    if is_replaced { Ok(Written::Stored) } else { why_not(&line, id, now).await }
}

pub(crate) async fn touch(
    line: Arc<Line>,
    id: SessionId,
    active: Timestamp,
    now: Timestamp,
) -> Done<Written> {
    let values = [id.into(), active.into(), now.into()];
    let is_touched = change(&line, Sql::Touch, &values).await?.changed > 0;
    Ok(if is_touched { Written::Stored } else { Written::Gone })
}

pub(crate) async fn end(
    line: Arc<Line>,
    tombstone: Tombstone,
    expected: Option<Version>,
    now: Timestamp,
) -> Done<Written> {
    let values = [
        tombstone.id.into(),
        tombstone.version.into(),
        tombstone.expires.into(),
        tombstone.at.into(),
        tombstone.reason.as_str().into(),
        Value::optional(expected),
        now.into(),
    ];
    let is_ended = change(&line, Sql::End, &values).await?.changed > 0;
    if is_ended { Ok(Written::Stored) } else { why_not(&line, tombstone.id, now).await }
}

/// Why a compare-and-swap changed nothing. It asks again, for what it waited for was done after its statement began.
async fn why_not(line: &Line, id: SessionId, now: Timestamp) -> Done<Written> {
    let alive = line.make(Sql::IsAlive, &[id.into(), now.into()]).await?;
    Ok(if alive.rows.is_empty() { Written::Gone } else { Written::Conflict })
}

pub(crate) async fn list(
    line: Arc<Line>,
    subject: Subject,
    after: Option<SessionId>,
    limit: usize,
    now: Timestamp,
) -> Done<Vec<Summary>> {
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let values = [subject.as_str().into(), from.into(), now.into(), number(limit)];
    let found = line.make(Sql::List, &values).await?;
    // One damaged row must not hide a user's other sessions.
    let readable = |row| match row::summary(row) {
        Ok(summary) => Some(summary),
        Err(error) => {
            tracing::warn!(%error, "left out of a list: a row of the session table that can't be read");
            None
        }
    };
    Ok(found.rows.iter().filter_map(readable).collect())
}

/// The least id that comes after this one.
fn first_after(id: Option<SessionId>) -> Option<SessionId> {
    let Some(id) = id else { return Some(SessionId::from_bytes([0; 16])) };
    let next = u128::from_be_bytes(*id.as_bytes()).checked_add(1)?;
    Some(SessionId::from_bytes(next.to_be_bytes()))
}

/// Of two revocations the later one stays noted, in whichever order they arrive: it means the sessions of both. Sessions
/// are looked up once the note is committed.
pub(crate) async fn end_subject(
    line: Arc<Line>,
    subject: Subject,
    revocation: Revocation,
    now: Timestamp,
) -> Done<Vec<SessionId>> {
    let note = [
        subject.as_str().into(),
        revocation.at.into(),
        Value::optional(revocation.except),
        revocation.reason.as_str().into(),
        revocation.version.into(),
        revocation.tombstones_expire.into(),
    ];
    change(&line, Sql::NoteRevocation, &note).await?;
    let (mut ended, mut after) = (Vec::new(), None);
    while let Some(from) = first_after(after) {
        let values = [
            subject.as_str().into(),
            from.into(),
            Value::optional(revocation.except),
            now.into(),
            number(PAGE),
            revocation.version.into(),
            revocation.tombstones_expire.into(),
            revocation.at.into(),
            revocation.reason.as_str().into(),
        ];
        let page = change(&line, Sql::EndSubject, &values).await?;
        for row in &page.rows {
            let row = Columns(row);
            let id = row.id(0)?;
            after = after.max(Some(id));
            if row.flag(1)? {
                ended.push(id);
            }
        }
        if page.rows.len() < PAGE {
            break;
        }
    }
    Ok(ended)
}

/// Sessions ended in one transaction: some ten milliseconds' work, for which their rows are locked.
const PAGE: usize = 500;

pub(crate) async fn last_revocation(
    line: Arc<Line>,
    subject: Subject,
    now: Timestamp,
) -> Done<Option<Revocation>> {
    let values = [subject.as_str().into(), forgotten(now)];
    let found = line.make(Sql::LastRevocation, &values).await?;
    Ok(found.rows.first().map(row::revocation).transpose()?)
}

pub(crate) async fn end_started_before(line: Arc<Line>, instant: Timestamp) -> Done<()> {
    match change(&line, Sql::EndStartedBefore, &[instant.into()]).await?.changed {
        0 => Err(row::settings_lost().into()),
        _ => Ok(()),
    }
}

/// Pages of the table, of 8 KB mostly, that one statement looks at: a megabyte.
const SLICE_PAGES: u32 = 128;

/// Slices that one sweep looks at, at most: some ten milliseconds of reading, from memory.
const SLICES_MAX: u32 = 32;

/// A walk over a table that takes several sweeps is followed by a rest so many times as long, but not for ever: so that a
/// large table isn't read all the time.
const REST_FACTOR: u32 = 9;
const REST_MAX: Duration = Duration::from_secs(600);

/// Where the sweeps are.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    /// The page at which the next one goes on.
    page: u32,
    /// When the walk over the whole table began.
    began: Instant,
    rests_until: Option<Instant>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { page: 0, began: Instant::now(), rests_until: None }
    }
}

impl Walk {
    /// Past the last page. What was passed over, or has expired since, is for the next walk.
    fn end(&mut self) {
        let rest = (self.began.elapsed() * REST_FACTOR).min(REST_MAX);
        *self = Self { rests_until: Some(Instant::now() + rest), ..Self::default() };
    }
}

/// Removes expired rows, `limit` at most: of a small table from all its pages, of a large one from some.
pub(crate) async fn sweep(
    line: Arc<Line>,
    mut walk: Walk,
    now: Timestamp,
    limit: usize,
) -> Done<(Swept, Walk)> {
    let pages = line.make(Sql::Pages, &[]).await?;
    let pages = pages.rows.first().map_or(Ok(0), |row| Columns(row).number(0))?;
    let pages = u32::try_from(pages).unwrap_or(u32::MAX);
    let slices = pages.div_ceil(SLICE_PAGES);
    let is_large = slices > SLICES_MAX;
    let mut swept = Swept::default();
    if !is_large || walk.rests_until.is_none_or(|until| Instant::now() >= until) {
        swept.is_more = is_large;
        let mut left = limit;
        if walk.rests_until.take().is_some() {
            walk.began = Instant::now();
        }
        for _ in 0..slices.min(SLICES_MAX) {
            if walk.page >= pages {
                walk.page = 0;
            }
            let to = walk.page.saturating_add(SLICE_PAGES);
            left -= remove(&line, walk.page..to, now, left, &mut swept).await?.min(left);
            if left == 0 {
                swept.is_more = true;
                break;
            }
            walk.page = to;
            if is_large && to >= pages {
                swept.is_more = false;
                walk.end();
                break;
            }
        }
    }
    let forgotten = change(&line, Sql::SweepRevocations, &[forgotten(now)]).await?.changed;
    swept.is_more |= forgotten == REVOCATIONS_MAX;
    Ok((swept, walk))
}

/// Removes what has expired from these pages, and answers how many rows that was.
async fn remove(
    line: &Line,
    pages: Range<u32>,
    now: Timestamp,
    limit: usize,
    swept: &mut Swept,
) -> Done<usize> {
    let values = [Value::page(pages.start), Value::page(pages.end), now.into(), number(limit)];
    let removed = change(line, Sql::Sweep, &values).await?.rows;
    for row in &removed {
        let row = Columns(row);
        if row.optional_time(2)?.is_none() {
            swept.expired.push((row.id(0)?, row.subject(1).unwrap_or_default()));
        }
    }
    Ok(removed.len())
}

/// As `sweep_revocations.sql` has it.
const REVOCATIONS_MAX: u64 = 256;

/// Revocations asked for at this instant or before are forgotten: a day is longer than any login takes.
fn forgotten(now: Timestamp) -> Value {
    const KEPT_MS: i64 = 86_400_000;
    match now.into() {
        Value::Number(now) => Value::Number(now - KEPT_MS),
        other => other,
    }
}

fn number(count: usize) -> Value {
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

/// How often a statement is made anew that the server chose to give way. In the isolation that is PostgreSQL's default
/// none does.
const ATTEMPTS_MAX: u32 = 5;

async fn change(line: &Line, sql: Sql, values: &[Value]) -> Done<Outcome> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match line.make(sql, values).await {
            Err(failure) if failure.has_given_way() && attempt < ATTEMPTS_MAX => line.settled().await,
            Err(failure) if failure.has_given_way() => {
                let source = Error::from(failure).to_string();
                return Err(Error::unavailable("PostgreSQL is too busy with this session", source).into());
            }
            result => return result,
        }
    }
}
