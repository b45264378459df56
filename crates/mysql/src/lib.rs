//! Cloakroom sessions in MySQL (8.0 and later; tested on 9.7) or MariaDB (10.5 and later; tested on 10.11).
//!
//! ```no_run
//! # async fn example() -> Result<(), cloakroom::Error> {
//! use cloakroom::Sessions;
//! use cloakroom_mysql::MySqlStore;
//!
//! let store = MySqlStore::connect("mysql://shop:secret@db.example/shop").await?;
//! let sessions = Sessions::builder(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! - **One statement a call.** Loading is one SELECT by primary key; each change is one UPDATE or INSERT that holds the
//!   comparison, committed by itself. Only what meets another's change asks a second time, why.
//! - **Touches are cheap.** Noting activity changes one column, which no index has.
//! - **Readable.** `SELECT * FROM cloakroom_sessions` shows ids, subjects, times and data as JSON. Secrets aren't in the
//!   database, only hashes of them.
//!
//! # The URL
//!
//! `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, with `mariadb://` for the same. Options, behind a question mark:
//!
//! | option | meaning |
//! |---|---|
//! | `connections=16` | how many connections there are at most |
//! | `migrate=false` | the tables are there; the user of the URL needn't be allowed to make them |
//! | `socket=/run/mysqld/mysqld.sock` | connect by this file |
//! | `sslmode=disable` | `disable` (the default), or `verify`: encrypted, and the server's certificate is checked. Needs the feature `tls` |
//! | `ca=FILE` | with `sslmode=verify`: a certificate authority that is trusted besides the usual ones, as PEM |
//!
//! # Rights
//!
//! The tables are made and brought up to date when the store is opened, by whoever comes first. Where a database's owner
//! does that, `cloakroom migrations mysql:` prints the statements ([`MySqlStore::migrations`]), and with `migrate=false`
//! the application's user needs no more than
//!
//! ```sql
//! GRANT SELECT, INSERT, UPDATE, DELETE ON shop.cloakroom_session TO 'shop';
//! GRANT SELECT, INSERT, UPDATE, DELETE ON shop.cloakroom_revocation TO 'shop';
//! GRANT SELECT, UPDATE ON shop.cloakroom_setting TO 'shop';
//! GRANT SELECT ON shop.cloakroom_migration TO 'shop';
//! ```
//!
//! The tables are made under a lock of the server (`GET_LOCK`). In a Galera cluster each node has its own: there, let one
//! process start first.
//!
//! # Outages and failovers
//!
//! A call that the engine gives up on goes on by itself, on a connection that nobody else uses until its answer was read:
//! so no call ever sees another's answer. It is given up after eight seconds, or two seconds after its caller. Connections
//! that broke are replaced at the next call, and a reading is made once more by itself. No connection is used for longer
//! than a minute, nor to a server that is read-only: where the name in the URL follows the primary, so does the store, and a
//! primary that was made a replica is left at the first refused change. After a failover to a replica that lags behind, the
//! changes it had not received are lost, an end among them: semi-synchronous replication narrows that to nothing
//! acknowledged.

mod address;
mod diagnosis;
mod failure;
mod loads;
mod pool;
mod row;
mod schema;
mod statements;

use std::{fmt, sync::Arc};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Answer, Finding, Index, Loaded, Revocation, Revoke, Store, Summary, Swept, Tombstone, Written},
};
use tokio::sync::Mutex;

use crate::{
    address::{Address, Privacy},
    loads::Loads,
    pool::Pool,
    row::Encoded,
    schema::PREPARE_MAX,
};

/// Sessions in a MySQL or MariaDB database.
pub struct MySqlStore {
    pool: Pool,
    loads: Loads,
    privacy: Privacy,
    shown: String,
    /// The last row that a sweep looked at. Held during a sweep, so that two don't look at the same rows.
    swept_to: Mutex<[u8; 16]>,
}

impl MySqlStore {
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
        let address = Address::parse(url)?;
        let migrates = address.migrates;
        let store = Self::of(address);
        store.pool.prepare(PREPARE_MAX, move |db| Box::pin(schema::prepare(db, migrates))).await?;
        Ok(store)
    }

    /// Connects, and leaves everything as it is: the tables may be missing. For a diagnosis.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a URL that can't work, a refused login or a database that isn't there;
    /// [`Error::is_unavailable`] if the server can't be reached.
    pub async fn inspect(url: &str) -> Result<Self, Error> {
        let store = Self::of(Address::parse(url)?);
        store.pool.prepare(PREPARE_MAX, |_| Box::pin(async { Ok(()) })).await?;
        Ok(store)
    }

    fn of(Address { options, connections, privacy, shown, .. }: Address) -> Self {
        let pool = Pool::new(options, connections);
        let loads = Loads::new(pool.clone());
        Self { pool, loads, privacy, shown, swept_to: Mutex::new([0; 16]) }
    }

    /// The steps that make the tables, as SQL for people who run it by themselves: in order, those that weren't run before.
    /// `cloakroom migrations mysql:` prints them.
    #[must_use]
    pub fn migrations() -> &'static [&'static str] {
        schema::STEPS
    }
}

impl Store for MySqlStore {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::later(self.loads.load(id, now))
    }

    fn create(&self, record: Arc<Record>, _now: Timestamp) -> Answer<'_, Written> {
        match Encoded::of(record) {
            Ok(new) => Answer::later(self.pool.change(move |db| Box::pin(statements::create(db, new)))),
            Err(error) => Answer::ready(Err(error)),
        }
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        match Encoded::of(record) {
            Ok(new) => Answer::later(
                self.pool.change(move |db| Box::pin(statements::replace(db, new, expected, now))),
            ),
            Err(error) => Answer::ready(Err(error)),
        }
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.pool.change(move |db| Box::pin(statements::touch(db, id, active, now))))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.pool.change(move |db| Box::pin(statements::end(db, tombstone, expected, now))))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        Answer::later(async move {
            let mut swept_to = self.swept_to.lock().await;
            let from = *swept_to;
            let (swept, last) =
                self.pool.change(move |db| Box::pin(statements::sweep(db, from, now, limit))).await?;
            *swept_to = last;
            Ok(swept)
        })
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }

    fn diagnose(&self, now: Timestamp) -> Answer<'_, Vec<Finding>> {
        let privacy = self.privacy;
        Answer::later(self.pool.read(move |db| Box::pin(diagnosis::diagnose(db, now, privacy))))
    }

    fn close(&self) -> Answer<'_, ()> {
        Answer::later(async {
            self.pool.close().await;
            Ok(())
        })
    }
}

impl Revoke for MySqlStore {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        Answer::later(async move {
            let ended = self
                .pool
                .change(move |db| Box::pin(statements::end_subject(db, subject, revocation, now)))
                .await?;
            Ok(Some(ended))
        })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subject = subject.clone();
        Answer::later(
            self.pool.read(move |db| Box::pin(statements::last_revocation(db, subject.clone(), now))),
        )
    }
}

impl Index for MySqlStore {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let subject = subject.clone();
        Answer::later(
            self.pool.read(move |db| Box::pin(statements::list(db, subject.clone(), after, limit, now))),
        )
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        Answer::later(self.pool.change(move |db| Box::pin(statements::end_started_before(db, instant))))
    }
}

impl fmt::Debug for MySqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlStore").field("at", &self.shown).finish_non_exhaustive()
    }
}
