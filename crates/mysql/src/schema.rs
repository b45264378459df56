//! The tables, and how they come to be.

use cloakroom::Error;
use mysql_async::{Conn, Row, prelude::Queryable as _};

use crate::failure::Failure;

/// The steps to the present schema, in order.
pub(crate) const STEPS: &[&str] = &[include_str!("sql/schema_1.sql")];

const VERSION: u32 = 1;

/// How long to wait for another process that is at it.
const LOCK_WAIT_S: u32 = 30;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS cloakroom_migration (version INT UNSIGNED NOT NULL PRIMARY KEY) \
                     ENGINE = InnoDB";

/// Makes the tables or brings them up to date, or finds out that they aren't.
pub(crate) async fn prepare(db: &mut Conn, migrates: bool) -> Result<(), Failure> {
    if !migrates {
        return match present(db).await {
            Ok(version) => check(version),
            Err(failure) if failure.code() == Some(NO_SUCH_TABLE) => check(0),
            Err(failure) => Err(failure),
        };
    }
    let name: Option<String> =
        db.query_first("SELECT SHA1(CONCAT('cloakroom:', COALESCE(DATABASE(), '')))").await?;
    let Some(name) = name else { return Err(Error::invalid("MySQL has no SHA1 function").into()) };
    let locked: Option<Option<u8>> = db.exec_first("SELECT GET_LOCK(?, ?)", (&name, LOCK_WAIT_S)).await?;
    if locked.flatten() != Some(1) {
        return Err(Error::unavailable(
            "another process is changing the session tables, and doesn't come to an end",
            format!("waited {LOCK_WAIT_S} s for its lock"),
        )
        .into());
    }
    let migrated = migrate(db).await;
    db.exec_drop("DO RELEASE_LOCK(?)", (&name,)).await?;
    migrated
}

const NO_SUCH_TABLE: u16 = 1146;

async fn migrate(db: &mut Conn) -> Result<(), Failure> {
    db.query_drop(TABLE).await?;
    let version = present(db).await?;
    if version > VERSION {
        return check(version);
    }
    for (number, step) in (1..).zip(STEPS).skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        // A step that was broken off is made again: each of its statements can be.
        for statement in statements(step) {
            db.query_drop(statement).await?;
        }
        db.exec_drop("INSERT IGNORE INTO cloakroom_migration (version) VALUES (?)", (number,)).await?;
    }
    Ok(())
}

async fn present(db: &mut Conn) -> Result<u32, Failure> {
    let row: Option<Row> = db.query_first("SELECT MAX(version) FROM cloakroom_migration").await?;
    Ok(row.and_then(|mut row| row.take::<Option<u32>, _>(0)).flatten().unwrap_or(0))
}

fn check(version: u32) -> Result<(), Failure> {
    match version {
        VERSION => Ok(()),
        0 => Err(Error::invalid(
            "the session tables aren't there: leave `migrate=false` out, or run the statements of \
             `MySqlStore::migrations` as the database's owner",
        )
        .into()),
        older if older < VERSION => Err(Error::invalid(format!(
            "the session tables are at version {older}, and this program needs {VERSION}: leave `migrate=false` out, or \
             run the later steps of `MySqlStore::migrations`"
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
        assert_eq!(statements.len(), 5);
        assert!(
            statements
                .iter()
                .all(|statement| statement.starts_with("CREATE") || statement.starts_with("INSERT"))
        );
        assert_eq!(STEPS.len(), usize::try_from(VERSION).unwrap());
    }
}
