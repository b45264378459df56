//! Cloakroom sessions in a DynamoDB table.

mod connect;
mod cut;
mod diagnose;
mod failure;
mod heal;
mod hints;
mod index;
mod item;
mod settings;
mod table;
mod write;

use std::{fmt, sync::Arc};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Answer, Finding, Index, Loaded, Revocation, Revoke, Store, Summary, Tombstone, Written},
};

use crate::{cut::Cut, hints::Hints, item::Keys, settings::Settings, table::Table};

/// Sessions in a DynamoDB table.
pub struct DynamoDbStore {
    table: Table,
    keys: Keys,
    cut: Cut,
    hints: Hints,
    settings: Settings,
}

impl DynamoDbStore {
    /// Opens the table that a URL names. It looks up credentials, and asks for the table's description.
    ///
    /// # Errors
    /// [`Error::is_invalid`], with what to change, if that can't work: the URL has a mistake, there is no region, there
    /// are no credentials or they lack a right, the table doesn't exist or has other keys. [`Error::is_unavailable`] if
    /// DynamoDB can't be reached.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let settings = Settings::parse(url)?;
        let client = connect::client(&settings).await?;
        let table = Table::new(client, settings.table.clone(), settings.connections);
        connect::check(&table, &settings).await?;
        let keys = Keys { prefix: settings.prefix.clone() };
        Ok(Self { table, keys, cut: Cut::new(), hints: Hints::new(), settings })
    }

    /// Finds out what can be found out about a URL without a connection.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if it has a mistake, with what to change. The message never repeats the URL.
    ///
    /// ```
    /// use cloakroom_dynamodb::DynamoDbStore;
    ///
    /// DynamoDbStore::check("dynamodb://sessions?region=eu-central-1")?;
    /// let error = DynamoDbStore::check("dynamodb://key:secret@sessions").unwrap_err();
    /// assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn check(url: &str) -> Result<(), Error> {
        Settings::parse(url).map(|_| ())
    }

    async fn load_record(&self, id: SessionId, now: Timestamp) -> Result<Loaded, Error> {
        let (item, cut) = self.with_cut(self.get(self.keys.session(id))).await?;
        let loaded = item.map_or(Ok(Loaded::Absent), |item| item::loaded(id, &item, cut, now))?;
        if let Loaded::Found(record) = &loaded {
            self.hints.set(id, (&**record).into());
        }
        Ok(loaded)
    }
}

impl Store for DynamoDbStore {
    fn kind(&self) -> &'static str {
        "dynamodb"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::later(self.load_record(id, now))
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.create_record(record, now))
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.replace_record(record, expected, now))
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.touch_record(id, active, now))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.end_record(tombstone, expected, now))
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }

    /// Its calls change nothing: writes are tried under conditions that don't hold.
    fn diagnose(&self, now: Timestamp) -> Answer<'_, Vec<Finding>> {
        Answer::later(self.find_out(now))
    }

    fn close(&self) -> Answer<'_, ()> {
        Answer::later(async {
            self.table.close().await;
            Ok(())
        })
    }
}

impl Index for DynamoDbStore {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let subject = subject.clone();
        Answer::later(async move { self.list_sessions(&subject, after, limit, now).await })
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        Answer::later(self.cut_at(instant))
    }
}

impl Revoke for DynamoDbStore {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        Answer::later(async move { self.end_sessions_of(&subject, revocation, now).await.map(Some) })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subject = subject.clone();
        Answer::later(async move { self.noted_revocation(&subject, now).await })
    }
}

impl fmt::Debug for DynamoDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbStore")
            .field("table", &self.table.name)
            .field("prefix", &self.keys.prefix)
            .finish_non_exhaustive()
    }
}
