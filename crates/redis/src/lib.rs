//! Cloakroom sessions in Redis (7.0 or newer) or any Valkey: on a single server, with Sentinel, or in a Cluster.
//!
//! ```no_run
//! use cloakroom::Sessions;
//! use cloakroom_redis::RedisStore;
//!
//! # async fn example() -> Result<(), cloakroom::Error> {
//! let store = RedisStore::open("redis://:secret@cache.internal/0?prefix=shop:").await?;
//! let sessions = Sessions::builder(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! - **One round trip a call**: a load is one `MGET`, which loads of one moment share; a change is one script, known to the
//!   server by its hash and sent again by itself after a restart. On a cluster, a login takes one more, for the index lies
//!   elsewhere.
//! - **The index heals itself**: what expired leaves it at a listing; what may yet live, or is being written, stays.
//! - **Nothing stays for ever**: every key has a time to live.
//! - **Failovers** are followed, and counted: [`RedisStore::seen`]. What an asynchronous failover can lose, and how to
//!   narrow it, is told in the manual, `docs/stores.md`.
//!
//! # The URL
//!
//! | form | |
//! |---|---|
//! | `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]` | a single server |
//! | `unix:///PATH` | the same, by its socket; `?db=` names the database |
//! | `redis+sentinel://HOST,HOST,HOST/MASTER[/DATABASE]` | the master of this name, as the sentinels tell |
//! | `redis+cluster://HOST,HOST,HOST` | a cluster; one of the nodes is enough |
//! | `rediss://`, `rediss+sentinel://`, `rediss+cluster://` | encrypted, with the feature `tls` |
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `prefix` | what every key begins with | `cloakroom:` |
//! | `timeout_ms` | how long a call may take | 2000 |
//! | `ca` | a PEM file: the authority that is trusted, in place of the system's | |
//! | `sentinel_username`, `sentinel_password` | for the sentinels | |
//!
//! # Rights
//!
//! ```text
//! ACL SETUSER shop on >PASSWORD ~shop:* resetchannels +mget +get +eval +evalsha +set +setrange +getrange +exists
//!   +pttl +pexpire +zadd +zrangebylex +zrem +time +ping +info +client|setinfo
//! ```
//!
//! For the revocation list of sealed sessions to be told of, and not asked for, also `+publish +subscribe &shop:changed`.
//! On a cluster also `+cluster|slots +cluster|nodes`; with Sentinel `+role`.
//!
//! # Memory
//!
//! `maxmemory-policy noeviction`. Every key has a time to live, so `volatile-*` throws away the index as well as
//! sessions, and logging out everywhere misses some and says nothing. When memory runs out under `noeviction`, new
//! sessions are refused, and logging out still works.

mod address;
mod change;
mod cluster;
mod diagnose;
mod failure;
mod index;
mod keys;
mod link;
mod loads;
mod news;
mod parts;
mod renewal;
mod scripts;
mod server;
mod tls;
mod value;
mod wire;

use std::{fmt, sync::Arc};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Answer, Finding, Index, Loaded, Revocation, Revoke, Store, Summary, Tombstone, Watch, Written},
};
use redis::Value;

pub use crate::link::Seen;
use crate::{
    address::Address,
    change::{Change, Said},
    failure::Failure,
    keys::Keys,
    link::Link,
    loads::Loads,
    news::News,
    scripts::{CREATE, Call, END, ENTER, Lua, REPLACE, TOUCH},
    value::{KEPT_AFTER, TTL_MAX_MS, ttl_ms},
};

/// Sessions in Redis or Valkey.
pub struct RedisStore {
    link: Link,
    keys: Keys,
    loads: Loads,
    news: Arc<News>,
}

/// How long an index entry is good for, whose record isn't written yet. Far longer than a call may take.
const ENTRY_GOOD_MS: u64 = 60_000;

impl RedisStore {
    /// Connects to the engine at this URL.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a URL that can't work, with what to change: one that names no engine, a wrong password, a
    /// replica, a server that is too old. [`Error::is_unavailable`] if the engine can't be reached.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        let keys = Keys::new(&address.prefix);
        match server::open(address.clone()).await {
            Ok(link) => Ok(Self {
                loads: Loads::new(link.clone(), keys.clone()),
                news: News::new(link.clone(), &address.prefix),
                link,
                keys,
            }),
            // The client keeps to itself which of the two it is.
            Err(failure) if failure.is_login_refused() && address.has_password_alone() => {
                let failure = match server::open(address.without_login()).await {
                    Ok(_) => Failure::unfit(
                        "has no password set, and the URL gives one: remove it, or set it there",
                    ),
                    Err(_) => failure,
                };
                Err(failure.into_opening_error(&address))
            }
            Err(failure) => Err(failure.into_opening_error(&address)),
        }
    }

    /// Checks a URL as far as that goes without a connection.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if it can't work; the message says why, and repeats nothing of the URL.
    ///
    /// ```
    /// use cloakroom_redis::RedisStore;
    ///
    /// RedisStore::check("redis://user:password@127.0.0.1:6379/0?prefix=shop:")?;
    /// let error = RedisStore::check("redis+cluster://a,b,c/1").unwrap_err();
    /// assert!(error.to_string().contains("no database but 0"));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    pub fn check(url: &str) -> Result<(), Error> {
        Address::parse(url).map(drop)
    }

    /// What happened to the way to the engine since the store was opened, for metrics.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.link.seen()
    }

    async fn load_one(&self, id: SessionId, now: Timestamp) -> Result<Loaded, Error> {
        self.look_up(id, now).await.map(|found| found.unwrap_or(Loaded::Absent))
    }

    /// None: there is no key. What has expired by this clock may be alive by another.
    async fn look_up(&self, id: SessionId, now: Timestamp) -> Result<Option<Loaded>, Error> {
        let [value, watermark] = self.loads.find(id).await?;
        value::loaded(id, value.as_deref(), watermark.as_deref(), now)
    }

    /// The answer to a change, and news of it once it is stored.
    async fn told(
        &self,
        id: SessionId,
        change: impl Future<Output = Result<Written, Error>>,
    ) -> Result<Written, Error> {
        let written = change.await?;
        if written == Written::Stored {
            self.news.tell(id);
        }
        Ok(written)
    }

    async fn create_one(&self, record: Arc<Record>, now: Timestamp) -> Result<Written, Error> {
        let change = Change::of(self, &record, now)?;
        let session_keys = [&change.session[..], &change.watermark];
        let arguments = |not_after| [&change.value[..], &change.ttl, &change.life, &change.id, not_after];
        let Some(index) = &change.index else {
            return self.change(&CREATE, &session_keys, &arguments(&[])).await?.into_written(self);
        };
        if !self.link.is_cluster() {
            let keys = [&change.session[..], &change.watermark, index];
            return self.change(&CREATE, &keys, &arguments(&[])).await?.into_written(self);
        }
        let not_after = self.enter(index, &change).await?;
        self.change(&CREATE, &session_keys, &arguments(&not_after)).await?.into_written(self)
    }

    async fn replace_one(
        &self,
        record: Arc<Record>,
        expected: Version,
        now: Timestamp,
    ) -> Result<Written, Error> {
        let change = Change::of(self, &record, now)?;
        let (expected, now) = (value::version(expected), value::time(now));
        let arguments = |not_after| {
            [&change.value[..], &change.ttl, &change.life, &change.id, not_after, &expected, &now]
        };
        let session_keys = [&change.session[..], &change.watermark];
        let Some(index) = &change.index else {
            return self.change(&REPLACE, &session_keys, &arguments(&[])).await?.into_written(self);
        };
        if !self.link.is_cluster() {
            let keys = [&change.session[..], &change.watermark, index];
            return self.change(&REPLACE, &keys, &arguments(&[])).await?.into_written(self);
        }
        // Most changes leave subject and end as they are: then the index needn't be asked.
        match self.change(&REPLACE, &session_keys, &arguments(&[])).await? {
            Said::Index => {
                let not_after = self.enter(index, &change).await?;
                self.change(&REPLACE, &session_keys, &arguments(&not_after)).await?.into_written(self)
            }
            said => said.into_written(self),
        }
    }

    async fn touch_one(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Result<Written, Error> {
        let keys = [self.keys.session(id), self.keys.watermark(id)];
        let (kept, most) = (KEPT_AFTER.as_millis().to_string(), TTL_MAX_MS.to_string());
        let arguments = [&value::time(active)[..], &value::time(now), kept.as_bytes(), most.as_bytes()];
        self.change(&TOUCH, &[&keys[0], &keys[1]], &arguments).await?.into_written(self)
    }

    /// Ends a session, if it has this version and belongs to this subject, as far as they are given.
    async fn end_one(
        &self,
        tombstone: &Tombstone,
        expected: Option<Version>,
        subject: Option<&Subject>,
        now: Timestamp,
    ) -> Result<Written, Error> {
        let keys = [self.keys.session(tombstone.id), self.keys.watermark(tombstone.id)];
        let (left, ttl) = (value::tombstone(tombstone), ttl_ms(tombstone.expires, now).to_string());
        let expected = expected.map_or(Vec::new(), |expected| value::version(expected).to_vec());
        let subject = subject.map_or("", Subject::as_str);
        let arguments = [&left[..], ttl.as_bytes(), &expected, subject.as_bytes(), &value::time(now)];
        self.change(&END, &[&keys[0], &keys[1]], &arguments).await?.into_written(self)
    }

    /// Writes an index entry on its own. Answers until when, by the engine's clock, its record may follow.
    async fn enter(&self, index: &[u8], change: &Change) -> Result<Vec<u8>, Error> {
        let good = ENTRY_GOOD_MS.to_string();
        let call = Call { keys: &[index], arguments: &[&change.id, &change.life, good.as_bytes()] };
        let answer = self.link.script(&ENTER, &call).await.map_err(|failure| self.error(failure))?;
        match answer.value {
            Value::BulkString(not_after) if not_after.len() == 8 => Ok(not_after),
            _ => Err(self.strange()),
        }
    }

    /// Runs a script that makes a change.
    async fn change(&self, lua: &Lua, keys: &[&[u8]], arguments: &[&[u8]]) -> Result<Said, Error> {
        let answer = self.link.script(lua, &Call { keys, arguments }).await.map_err(|f| self.error(f))?;
        let said = match bytes(&answer.value) {
            Some(b"S") => Said::Written(Written::Stored),
            Some(b"C") => Said::Written(Written::Conflict),
            Some(b"G") => Said::Written(Written::Gone),
            Some(b"I") => Said::Index,
            Some(b"L") => Said::Late,
            _ => return Err(self.strange()),
        };
        match answer.lost {
            // The first try may have been made, and what was found now may be its doing: the caller finds out by a load.
            Some(lost) if !matches!(said, Said::Written(Written::Stored)) => Err(self.error(lost)),
            _ => Ok(said),
        }
    }

    fn error(&self, failure: Failure) -> Error {
        failure.into_error(self.link.address())
    }

    fn strange(&self) -> Error {
        self.error(Failure::Strange)
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

impl Store for RedisStore {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::later(self.load_one(id, now))
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.told(record.id, self.create_one(record, now)))
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.told(record.id, self.replace_one(record, expected, now)))
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.touch_one(id, active, now))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(async move { self.end_one(&tombstone, expected, None, now).await })
    }

    fn index(&self) -> Option<&dyn Index> {
        Some(self)
    }

    fn watch(&self, id: SessionId) -> Option<Watch> {
        self.news.watch(id)
    }

    fn diagnose(&self, now: Timestamp) -> Answer<'_, Vec<Finding>> {
        Answer::later(self.examine(now))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let Seen { reconnections, failovers } = self.seen();
        vec![("reconnections", reconnections), ("failovers", failovers)]
    }

    fn close(&self) -> Answer<'_, ()> {
        Answer::later(async {
            self.news.close();
            self.link.close().await;
            Ok(())
        })
    }
}

impl Revoke for RedisStore {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        Answer::later(async move { self.end_all_of(&subject, &revocation, now).await.map(Some) })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let key = self.keys.note(subject);
        Answer::later(self.noted(key, now))
    }
}

impl Index for RedisStore {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let subject = subject.clone();
        Answer::later(async move { self.list_some(&subject, after, limit, now).await })
    }

    fn end_started_before(&self, instant: Timestamp, _now: Timestamp) -> Answer<'_, ()> {
        Answer::later(self.cut(instant))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("address", self.link.address()).finish_non_exhaustive()
    }
}
