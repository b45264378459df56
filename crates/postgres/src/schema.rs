//! The tables, and how they come to be.

use cloakroom::Error;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::failure::{Failure, Refusal};

/// The steps to the present schema, in order.
const STEPS: &[&str] = &[include_str!("sql/schema_1.sql")];

/// The same, for people: each is made whole or not at all, and one that was made before fails and changes nothing.
pub(crate) const STEPS_BY_HAND: &[&str] =
    &[concat!("BEGIN;\n\n", include_str!("sql/schema_1.sql"), "\nCOMMIT;\n")];

const VERSION: u32 = 1;

/// Others wait for their turn, and not for ever. The number is any that nobody else is likely to use: `cloakroo`.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL lock_timeout = '30s';
    SELECT pg_advisory_xact_lock(x'636c6f616b726f6f'::bigint)";

/// Makes the tables or brings them up to date, or finds out that they aren't. A connection that is dropped on the way has
/// changed nothing.
pub(crate) async fn prepare(client: &Client, migrates: bool) -> Result<(), Failure> {
    check_encoding(client).await?;
    let version = present(client).await?;
    if version == VERSION || !migrates {
        return check(version);
    }
    client.batch_execute(BEGIN).await.map_err(Refusal::from)?;
    let version = present(client).await?;
    if version > VERSION {
        return check(version);
    }
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        client.batch_execute(step).await.map_err(Refusal::from)?;
    }
    client.batch_execute("COMMIT").await.map_err(Refusal::from)?;
    Ok(())
}

/// The version of the tables, 0 if there are none.
pub(crate) async fn present(client: &Client) -> Result<u32, Failure> {
    // Looking into the catalogue makes the server take note of tables that were made while this waited for the lock.
    let table = "SELECT 1 FROM pg_class WHERE oid = to_regclass('cloakroom_migration')";
    if value(client, table).await?.is_none() {
        return Ok(0);
    }
    let version = value(client, "SELECT max(version) FROM cloakroom_migration").await?;
    Ok(version.and_then(|version| version.parse().ok()).unwrap_or(0))
}

/// Sessions hold any text.
async fn check_encoding(client: &Client) -> Result<(), Failure> {
    let encoding = value(client, "SHOW server_encoding").await?.unwrap_or_default();
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the database has the encoding {encoding}, which can't hold every text: make one with ENCODING 'UTF8'"
    ))
    .into())
}

/// The first column of the first row.
async fn value(client: &Client, query: &str) -> Result<Option<String>, Failure> {
    let messages = client.simple_query(query).await?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
        _ => None,
    }))
}

fn check(version: u32) -> Result<(), Failure> {
    match version {
        VERSION => Ok(()),
        0 => Err(Error::invalid(
            "the session tables aren't there: a program that opens the store makes them, unless its URL says `migrate=false`; \
             or run what `cloakroom migrations postgres:` prints as the database's owner",
        )
        .into()),
        older if older < VERSION => Err(Error::invalid(format!(
            "the session tables are at version {older}, and this program needs {VERSION}: leave `migrate=false` out, or \
             run the later steps of what `cloakroom migrations postgres:` prints"
        ))
        .into()),
        newer => Err(Error::invalid(format!(
            "the session tables were changed by a newer version of Cloakroom ({newer}, and this one knows {VERSION}): \
             use that one"
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_notes_its_version() {
        assert_eq!(STEPS.len(), usize::try_from(VERSION).unwrap());
        assert_eq!(STEPS.len(), STEPS_BY_HAND.len());
        for (version, step) in (1..).zip(STEPS) {
            let note = format!("INSERT INTO cloakroom_migration (version) VALUES ({version});");
            assert!(step.contains(&note), "{version}");
        }
    }
}
