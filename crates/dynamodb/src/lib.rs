//! Cloakroom sessions in a DynamoDB table.
//!
//! - **Consistent.** Every read is strongly consistent. The index by subject is written in one transaction with the
//!   record, in the same table: there is no secondary index, which would lag, and no scan.
//! - **Atomic.** Every change is one conditional write, or one transaction; the service answers whether it was made, and
//!   if not, why, in the same round trip.
//! - **Self-cleaning.** What has expired is gone at once, by the caller's clock; DynamoDB's time to live removes it later.
//! - **Readable.** Ids, subjects, times and data are attributes of their own. Secrets aren't stored, only hashes of them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use cloakroom::Sessions;
//! use cloakroom_dynamodb::DynamoDbStore;
//!
//! let store = DynamoDbStore::open("dynamodb://sessions?region=eu-central-1").await?;
//! let sessions = Sessions::builder(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The URL
//!
//! `dynamodb://TABLE`, and behind a `?` any of these, joined by `&`:
//!
//! | option | meaning | unless given |
//! |---|---|---|
//! | `region` | the table's region | the environment's (`AWS_REGION`, the profile, the machine) |
//! | `profile` | a profile of the AWS configuration files | `AWS_PROFILE`, or `default` |
//! | `endpoint` | another address: an emulator's, or a private endpoint's | the region's |
//! | `prefix` | what this application's keys begin with, so that several share a table | `cloakroom` |
//! | `create` | `true`: make the table if it is missing, and enable time to live | `false` |
//! | `connections` | how many calls are under way at once, and so how many connections there are | 64 |
//!
//! Credentials are never part of the URL. They come from the environment, a profile, a web identity, or the role of the
//! container or machine; single sign-on and credential processes aren't compiled in. With an endpoint on this machine and
//! no credentials, a placeholder is sent: emulators take any.
//!
//! # The table
//!
//! Its partition key is `pk` and its sort key `sk`, both of type String; time to live is enabled on `ttl`. `create=true`
//! makes it, or on the command line:
//!
//! ```sh
//! aws dynamodb create-table --table-name sessions --billing-mode PAY_PER_REQUEST \
//!   --attribute-definitions AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=S \
//!   --key-schema AttributeName=pk,KeyType=HASH AttributeName=sk,KeyType=RANGE
//! aws dynamodb wait table-exists --table-name sessions
//! aws dynamodb update-time-to-live --table-name sessions \
//!   --time-to-live-specification Enabled=true,AttributeName=ttl
//! ```
//!
//! In CloudFormation:
//!
//! ```yaml
//! Sessions:
//!   Type: AWS::DynamoDB::Table
//!   Properties:
//!     TableName: sessions
//!     BillingMode: PAY_PER_REQUEST
//!     AttributeDefinitions:
//!       - { AttributeName: pk, AttributeType: S }
//!       - { AttributeName: sk, AttributeType: S }
//!     KeySchema:
//!       - { AttributeName: pk, KeyType: HASH }
//!       - { AttributeName: sk, KeyType: RANGE }
//!     TimeToLiveSpecification: { AttributeName: ttl, Enabled: true }
//! ```
//!
//! The rights it takes; `create=true` takes `dynamodb:CreateTable` and `dynamodb:UpdateTimeToLive` besides:
//!
//! ```json
//! {
//!   "Version": "2012-10-17",
//!   "Statement": [{
//!     "Effect": "Allow",
//!     "Action": [
//!       "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive",
//!       "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query",
//!       "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"
//!     ],
//!     "Resource": "arn:aws:dynamodb:*:*:table/sessions"
//!   }]
//! }
//! ```
//!
//! A global table replicates with a lag, and each region checks conditions on its own: sessions belong into a table that
//! is written in one region.
//!
//! # What operations cost
//!
//! | operation | round trips | units, up to 4 KB read and 1 KB written |
//! |---|---|---|
//! | load | 1 | 1 read |
//! | create, replace, end, of an anonymous session; touch; replace that leaves subject and end as they are | 1 | 1 write |
//! | create, end, login, logout, change of the absolute end, of a subject's session: a transaction | 1 | 4 writes, 6 from one subject to another |
//! | login as a whole | 2 | the change, and a read for a revocation in the meantime |
//! | listing | 2 for each hundred entries | a read for each session, and one for each 4 KB of entries |
//! | end of a subject's sessions | 1 for the note, 1 for each hundred entries, then 1 for each 16 sessions | 4 writes for each session |
//! | end of all that started before an instant | 2, and a wait of 0.3 s | 1 write, 1 read |
//!
//! A change needs to know which entry of the index goes with the session. What was last seen of it, in a small memory of
//! this process, goes into the change's condition. A process that hasn't seen the session guesses, and if it guesses wrong,
//! the change takes one round trip more; nothing else depends on that memory.
//!
//! The instant before which all sessions have ended stands in one item. Reading it with each load would double the read
//! units, and make one key as hot as the whole table. So a reading of it is good for a quarter of a second, and who sets a
//! later instant is answered when that has passed: every call that begins after the answer goes by it. A process that is
//! in use reads it eight times a second at most, beside a load and not before it. One that made no call for a quarter of a
//! second reads it before its next change, which then takes one round trip more. This counts on clocks that run equally
//! fast, not on clocks that agree; a machine that slept, or whose clock was set, reads it anew. One partition answers 3,000
//! such readings a second, so some 370 processes at the same time are the limit.
//!
//! # When something fails
//!
//! Readings are made again, up to three times, after random pauses that grow. So are transactions, which bear a token by
//! which the service knows them again. A change without a transaction isn't, unless the service turned it away before
//! doing anything (throttling, or a transaction in the way), because a change that was done meets its own condition: it is
//! answered as unavailable, and Cloakroom finds out by the stamp of the stored version. Dropping a call closes its
//! connection; no other call can see its answer.
//!
//! # Limits
//!
//! An item holds 400 KB, so a session's data at most a little less. The emulator listens on all of a machine's addresses:
//! it is for tests. Entries of sessions that expired stay in the index until DynamoDB removes them, at the absolute end
//! and up to two days later, or a listing comes across them an hour after the session's end.

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
///
/// It takes a Tokio runtime with time and IO enabled. Dropping it closes its connections.
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
        Self::open_with(Settings::parse(url)?).await
    }

    /// The same, but no table is made, whatever the URL says. For a diagnosis.
    ///
    /// # Errors
    /// As [`DynamoDbStore::open`].
    pub async fn inspect(url: &str) -> Result<Self, Error> {
        Self::open_with(Settings { create: false, ..Settings::parse(url)? }).await
    }

    async fn open_with(settings: Settings) -> Result<Self, Error> {
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
