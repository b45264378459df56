//! The tables, and how they come to be.

use std::time::Duration;

use cloakroom::Error;
use mysql_async::{Conn, Row, prelude::Queryable as _};

use crate::failure::Failure;

/// The steps to the present schema, in order.
pub(crate) const STEPS: &[&str] = &[include_str!("sql/schema_1.sql")];

const VERSION: u32 = 1;

/// How long to wait for another process that is at it.
const LOCK_WAIT_S: u32 = 30;

/// How long making the tables may take, with that wait.
pub(crate) const PREPARE_MAX: Duration = Duration::from_secs(120);

/// Makes the tables or brings them up to date, or finds out that they aren't.
pub(crate) async fn prepare(db: &mut Conn, migrates: bool) -> Result<(), Failure> {
    if !migrates {
        return check(present(db).await?);
    }
    // A lock's name has 64 characters at most. MySQL 9 has no SHA1 any more.
    let name: Option<String> =
        db.query_first("SELECT SHA2(CONCAT('cloakroom:', COALESCE(DATABASE(), '')), 224)").await?;
    let Some(name) = name else { return Err(Error::invalid("MySQL has no SHA2 function").into()) };
    let locked: Option<Option<u8>> = db.exec_first("SELECT GET_LOCK(?, ?)", (&name, LOCK_WAIT_S)).await?;
    if locked.flatten() != Some(1) {
        return Err(Error::unavailable(
            "another process is changing the session tables, and doesn't come to an end",
            format!("waited {LOCK_WAIT_S} s for its lock"),
        )
        .into());
    }
    let migrated = migrate(db).await;
    let released = db.exec_drop("DO RELEASE_LOCK(?)", (&name,)).await;
    migrated.and(released.map_err(Failure::from))
}

const NO_SUCH_TABLE: u16 = 1146;

async fn migrate(db: &mut Conn) -> Result<(), Failure> {
    let version = present(db).await?;
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        for statement in statements(step) {
            db.query_drop(statement).await?;
        }
    }
    check(present(db).await?)
}

/// Zero: there are no tables.
async fn present(db: &mut Conn) -> Result<u32, Failure> {
    let row = db.query_first::<Row, _>("SELECT MAX(version) FROM cloakroom_migration").await;
    match row.map_err(Failure::from) {
        Ok(row) => Ok(row.and_then(|mut row| row.take::<Option<u32>, _>(0)).flatten().unwrap_or(0)),
        Err(failure) if failure.code() == Some(NO_SUCH_TABLE) => Ok(0),
        Err(failure) => Err(failure),
    }
}

/// What is wrong with the tables, and what to do.
pub(crate) async fn fault(db: &mut Conn) -> Result<Option<Error>, Failure> {
    match check(present(db).await?) {
        Err(Failure::Store(fault)) => Ok(Some(fault)),
        Err(failure) => Err(failure),
        Ok(()) => Ok(None),
    }
}

fn check(version: u32) -> Result<(), Failure> {
    match version {
        VERSION => Ok(()),
        0 => Err(Error::invalid(
            "the session tables aren't there: a program that opens the store makes them, unless its URL says `migrate=false`; \
             or run what `cloakroom migrations mysql:` prints as the database's owner",
        )
        .into()),
        older if older < VERSION => Err(Error::invalid(format!(
            "the session tables are at version {older}, and this program needs {VERSION}: leave `migrate=false` out, or \
             run the later steps of what `cloakroom migrations mysql:` prints"
        ))
        .into()),
        newer => Err(Error::invalid(format!(
            "the session tables were changed by a newer version of Cloakroom ({newer}, and this one knows {VERSION}): \
             use that one"
        ))
        .into()),
    }
}

/// A step's statements, without its comments, which hold semicolons too.
fn statements(step: &str) -> Vec<String> {
    let code: Vec<_> = step.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    code.join("\n")
        .split(';')
        .map(|statement| statement.trim().to_owned())
        .filter(|s| !s.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_split_into_its_statements() {
        let statements = statements(STEPS[0]);
        assert_eq!(statements.len(), 7);
        assert!(
            statements
                .iter()
                .all(|statement| statement.starts_with("CREATE") || statement.starts_with("INSERT"))
        );
        assert_eq!(STEPS.len(), usize::try_from(VERSION).unwrap());
    }
}
