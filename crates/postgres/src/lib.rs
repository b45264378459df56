//! Cloakroom sessions in PostgreSQL (14 and later).
//!
//! ```no_run
//! # async fn example() -> Result<(), cloakroom::Error> {
//! use cloakroom::Sessions;
//! use cloakroom_postgres::PostgresStore;
//!
//! let store = PostgresStore::connect("postgres://shop:secret@db.example/shop").await?;
//! let sessions = Sessions::builder(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! - **One statement a call.** Loading is one SELECT by primary key; each change is one UPDATE or INSERT that holds the
//!   comparison, committed by itself. Only what meets another's change asks a second time, why. Nothing is left behind
//!   in a connection, no setting, no lock and no transaction.
//! - **Touches are cheap.** Noting activity changes columns that no index has, on a page with room for it (HOT).
//! - **Readable.** `SELECT * FROM cloakroom_sessions` shows ids, subjects, times and data as JSON, of which
//!   `data -> 'cart'` is one entry. Secrets aren't in the database, only hashes of them.
//!
//! # The URL
//!
//! `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with `postgresql://` for the same. Of several hosts, separated by
//! commas, the one that takes changes is used. Options, behind a question mark:
//!
//! | option | meaning |
//! |---|---|
//! | `connections=16` | how many connections there are at most; a quarter of them is for reading |
//! | `migrate=false` | the tables are there; the user of the URL needn't be allowed to make them |
//! | `sslmode=verify-full` | encrypted, and the server's certificate is checked: the default, unless the server is on this machine. `require`: encrypted, by whoever answers; `prefer`: if the server offers it; `disable`: not at all, the default on this machine. All but the last need the feature `tls` |
//! | `sslrootcert=FILE` | the certificate authorities to check against, instead of those of the system |
//! | `host=/run/postgresql` | connect by the socket in this folder |
//! | `prepared=false` | statements aren't prepared, even if they could be; see below |
//!
//! # Round trips
//!
//! | request | untouched | anonymous | read | write | rotate | logout | login |
//! |---|--:|--:|--:|--:|--:|--:|--:|
//! | round trips | 0 | 0 | 1 | 2 | 2 | 2 | 2 |
//!
//! A write that meets another's takes two more for each attempt; the end of all of a user's sessions takes two, and one more
//! for each five hundred. Reads run at 0.87 of a bare SELECT through the same client
//! (`cargo run --release -p cloakroom-postgres --example read_cost`).
//!
//! # Rights
//!
//! The tables are made and brought up to date when the store is opened, by whoever comes first; they lie where the user's
//! `search_path` begins. Where a database's owner makes them, [`PostgresStore::migrations`] gives the statements, and the
//! application's user needs no more than
//!
//! ```sql
//! GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_session, cloakroom_revocation TO shop;
//! GRANT SELECT, UPDATE ON cloakroom_setting TO shop;
//! GRANT SELECT ON cloakroom_migration TO shop;
//! ```
//!
//! # Poolers
//!
//! PgBouncer works in session mode and in transaction mode. In transaction mode statements can only be prepared if it
//! knows of them (1.21 and later, with `max_prepared_statements`); if it doesn't, that is found out when the store is
//! opened, and each call then brings its statement's text; `prepared=false` says so beforehand. Behind it a connection is
//! asked one thing at a time, so give the store two or more: ending a user with thousands of sessions takes a while. News of
//! changes don't come through it in transaction mode: revocations are asked for instead.
//!
//! # Outages and failovers
//!
//! Calls share connections; each is given its own answer, and one that the engine gives up on is still answered to, for
//! nobody. Connections that broke are replaced at the next call. After a failover to a standby that lags behind, the
//! changes it had not received are lost, an end among them: `synchronous_standby_names` narrows that to nothing
//! acknowledged.

mod address;
mod connect;
mod diagnosis;
mod failure;
mod line;
mod loads;
mod news;
mod pool;
mod row;
mod schema;
mod sql;
mod statements;
mod tls;
mod value;

use std::{fmt, sync::Arc};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{
        Answer, Finding, Index, Loaded, Revocation, Revoke, Store, Summary, Swept, Tombstone, Watch, Written,
    },
};
use tokio::sync::Mutex;

use crate::{
    address::Address,
    connect::Connector,
    diagnosis::Own,
    failure::Failure,
    loads::Loads,
    news::News,
    pool::{Pool, Use},
    statements::Walk,
};

/// Sessions in a PostgreSQL database.
pub struct PostgresStore {
    pool: Pool,
    loads: Loads,
    news: Arc<News>,
    connections: usize,
    shown: String,
    /// How far sweeps have come. Held during one, so that two don't look at the same rows.
    walk: Mutex<Walk>,
}

impl PostgresStore {
    /// Finds out what is wrong with a URL without connecting.
    ///
    /// # Errors
    /// [`Error::is_invalid`], with what to change.
    pub fn check(url: &str) -> Result<(), Error> {
        Address::parse(url).map(|_| ())
    }

    /// Connects, and makes the tables or brings them up to date.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a URL that can't work, a refused login, a database that isn't there, missing rights or
    /// tables of a newer version; [`Error::is_unavailable`] if the server can't be reached.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::open(Address::parse(url)?).await
    }

    /// Connects, and changes nothing. For a diagnosis.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`]; [`Error::is_invalid`], too, if the tables aren't there or aren't up to date.
    pub async fn inspect(url: &str) -> Result<Self, Error> {
        Self::open(Address { migrates: false, ..Address::parse(url)? }).await
    }

    async fn open(address: Address) -> Result<Self, Error> {
        let Address { configs, tls, connections, migrates, prepares, shown } = address;
        let connector = Arc::new(Connector::new(configs, tls, prepares));
        let (client, _) = connector.client().await.map_err(|refusal| Failure::from(refusal).at_start())?;
        schema::prepare(&client, migrates).await.map_err(Failure::at_start)?;
        drop(client);
        let (pool, news) = (Pool::new(Arc::clone(&connector), connections), News::new(connector));
        pool.open().await.map_err(Failure::at_start)?;
        let loads = Loads::new(pool.clone());
        Ok(Self { pool, loads, news, connections, shown, walk: Mutex::default() })
    }

    /// The steps that make the tables, for people who run them by themselves, in this order: each is one transaction.
    /// `cloakroom migrations postgres:` prints them.
    #[must_use]
    pub fn migrations() -> &'static [&'static str] {
        schema::STEPS_BY_HAND
    }

    /// The answer to a change, and news of it once it is stored.
    fn told<'a>(
        &'a self,
        id: SessionId,
        change: impl Future<Output = Result<Written, Error>> + Send + 'a,
    ) -> Answer<'a, Written> {
        Answer::later(async move {
            let written = change.await?;
            if written == Written::Stored {
                self.news.tell(id);
            }
            Ok(written)
        })
    }
}

impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::later(self.loads.load(id, now))
    }

    fn create(&self, record: Arc<Record>, _now: Timestamp) -> Answer<'_, Written> {
        let id = record.id;
        match row::columns(&record) {
            Ok(columns) => {
                self.told(id, self.pool.call(Use::Write, move |line| statements::create(line, columns)))
            }
            Err(error) => Answer::ready(Err(error)),
        }
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        let id = record.id;
        match row::columns(&record) {
            Ok(columns) => self.told(
                id,
                self.pool.call(Use::Write, move |line| statements::replace(line, id, columns, expected, now)),
            ),
            Err(error) => Answer::ready(Err(error)),
        }
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.pool.call(Use::Write, move |line| statements::touch(line, id, active, now)))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.pool.call(Use::Write, move |line| statements::end(line, tombstone, expected, now)))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        Answer::later(async move {
            let mut walk = self.walk.lock().await;
            let from = *walk;
            let sweeping = self.pool.call(Use::Write, move |line| statements::sweep(line, from, now, limit));
            let (swept, next) = sweeping.await?;
            *walk = next;
            Ok(swept)
        })
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }

    fn watch(&self, id: SessionId) -> Option<Watch> {
        self.news.watch(id)
    }

    fn diagnose(&self, _now: Timestamp) -> Answer<'_, Vec<Finding>> {
        let own =
            Own { connections: self.connections, can_prepare: self.pool.connector().means().can_prepare() };
        Answer::later(self.pool.call(Use::Write, move |line| diagnosis::diagnose(line, own)))
    }

    fn close(&self) -> Answer<'_, ()> {
        Answer::later(async {
            self.news.close();
            self.pool.close().await;
            Ok(())
        })
    }
}

impl Revoke for PostgresStore {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        let ending =
            self.pool.call(Use::Write, move |line| statements::end_subject(line, subject, revocation, now));
        Answer::later(async move { ending.await.map(Some) })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subject = subject.clone();
        Answer::later(self.pool.call(Use::Read, move |line| statements::last_revocation(line, subject, now)))
    }
}

impl Index for PostgresStore {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let subject = subject.clone();
        Answer::later(
            self.pool.call(Use::Read, move |line| statements::list(line, subject, after, limit, now)),
        )
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        Answer::later(self.pool.call(Use::Write, move |line| statements::end_started_before(line, instant)))
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("at", &self.shown).finish_non_exhaustive()
    }
}
