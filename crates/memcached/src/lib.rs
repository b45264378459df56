//! Cloakroom sessions in Memcached, on one server or on several.
//!
//! ```no_run
//! use cloakroom::Sessions;
//! use cloakroom_memcached::MemcachedStore;
//!
//! # async fn example() -> Result<(), cloakroom::Error> {
//! let store = MemcachedStore::open("memcached://cache-1,cache-2:11212?prefix=shop:").await?;
//! let sessions = Sessions::builder(store).build()?;
//! let revocations = sessions.revocations()?;
//! # Ok(())
//! # }
//! ```
//!
//! Memcached 1.6 or newer is needed, for its meta commands. Sessions live in its memory: a restart ends them, and so
//! does eviction when memory runs short. Nothing ever brings one back.
//!
//! # What it does
//!
//! - **Every change is a compare-and-swap** of one key, by the number that Memcached gives each change. The store
//!   remembers the numbers of what it saw last, so that a change is one round trip; a wrong guess costs one more.
//! - **Log out everywhere** works without a list. Each subject has a state under a key of its own, with a random epoch;
//!   a session carries the epoch it began in, and counts only while the subject's state admits it. A revocation ends
//!   the epoch and is noted, both in one change of that key. If the state is lost, to eviction or a restart, the
//!   subject's sessions end: what is missing never admits.
//! - **One round trip** for a read, and one for a change. Of an authenticated session the state is read as well: at the
//!   same time if this process has seen the session before, else after it.
//! - **Cancellation is free.** A few connections to each server carry all calls; answers are matched to questions by
//!   their order and their number. The answer to a caller who has gone is read and dropped.
//! - **A server that is down** is tried again within a second, for ever. Its sessions are unavailable meanwhile, and
//!   nobody else's.
//!
//! # What it can't do
//!
//! It can't list a subject's sessions, nor end everybody's sessions at once: [`Sessions::subjects`] answers so when it
//! is asked for. [`Sessions::revocations`] works.
//!
//! # Several servers
//!
//! A key's server is fixed by the names of the servers in the URL; their order means nothing. If one is down, its keys
//! don't move to another: when it came back it would hold what had ended in the meantime.
//!
//! A name has to be one server's: one that leads to several addresses is refused, for each connection would go to another.
//! Where a name begins to lead to another server, that one joins in the sense of the next paragraph.
//!
//! For the same reason, take care when the list changes. All processes have to use the same list, with the same names:
//! stop them all, then start them with the new one. Sessions whose keys move end. **A server that joins has to be
//! empty**: if it was in the list before, it still holds the sessions it had then, also those that were ended since.
//! Restart it, or empty it by `flush_all`, before it joins; or give the new list a new `prefix`.
//!
//! # URL
//!
//! `memcached://HOST[:PORT][,HOST[:PORT]…][?prefix=…&connections=…]`
//!
//! | part | meaning | default |
//! |---|---|---|
//! | port | where the server listens | 11211 |
//! | `prefix` | what every key begins with; applications that share a server need different ones | `cloakroom:` |
//! | `connections` | connections to each server | 2 |
//!
//! There is no password: Memcached must listen where only your servers reach it. Who reaches it can read sessions' data
//! and end sessions, but can't take one over, for secrets are kept as hashes.
//!
//! [`Sessions::subjects`]: cloakroom::Sessions::subjects
//! [`Sessions::revocations`]: cloakroom::Sessions::revocations

mod connection;
mod conversation;
mod diagnosis;
mod entry;
mod fleet;
mod key;
mod memory;
mod meta;
mod ring;
mod server;
mod sessions;
#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a measurement is told")]
mod throughput;
mod time;
mod url;

use std::{fmt, sync::Arc};

use cloakroom::{
    Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Answer, Finding, Loaded, Revocation, Revoke, Store, Tombstone, Written},
};
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::{
    fleet::Fleet,
    key::Key,
    memory::Memory,
    meta::Request,
    ring::Ring,
    server::Server,
    url::{Address, Settings},
};

/// Sessions in Memcached.
///
/// It works on the Tokio runtime that it was opened on.
pub struct MemcachedStore {
    fleet: Arc<Fleet>,
    closing: watch::Sender<bool>,
    /// Closed when no connection is left.
    ended: watch::Receiver<()>,
}

impl MemcachedStore {
    /// Opens the store of a URL, as [above](crate#url). It waits for the servers, some seconds at most; of several, one
    /// that can be reached is enough.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a URL or a server that can't work, with what to change; [`Error::is_unavailable`] if
    /// no server can be reached.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use cloakroom_memcached::MemcachedStore;
    ///
    /// let error = MemcachedStore::open("memcached://cache-1/0").await.unwrap_err();
    /// assert!(error.is_invalid());
    /// # }
    /// ```
    pub async fn open(url: &str) -> Result<Self, Error> {
        let settings = Settings::parse(url)?;
        let closing = watch::Sender::new(false);
        let (alive, ended) = watch::channel(());
        let (alive, told) = (Arc::new(alive), closing.subscribe());
        let ring = Ring::of(&settings.servers);
        let start = |address: &Address| Server::start(address.clone(), &settings, &told, &alive);
        let servers = settings.servers.iter().map(start).collect();
        let fleet = Fleet { servers, ring, memory: Memory::new() };
        let store = Self { fleet: Arc::new(fleet), closing, ended };
        store.greet().await?;
        Ok(store)
    }

    /// Checks a URL as far as that goes without a connection.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for one that can't work, with what to change.
    pub fn check(url: &str) -> Result<(), Error> {
        Settings::parse(url).map(drop)
    }

    async fn greet(&self) -> Result<(), Error> {
        let servers = self.fleet.servers.iter();
        let answers = join_all(servers.map(|server| server.call(Request::Nothing))).await;
        let is_any_up = answers.iter().any(Result::is_ok);
        let worst = answers
            .into_iter()
            .filter_map(Result::err)
            .reduce(|worst, error| if worst.is_invalid() { worst } else { error });
        match worst {
            Some(error) if error.is_invalid() || !is_any_up => Err(error),
            Some(error) => {
                tracing::warn!(target: "cloakroom", "{error:?}; its sessions are unavailable until it is back");
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Store for MemcachedStore {
    fn kind(&self) -> &'static str {
        "memcached"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        Answer::later(self.fleet.load(id, now))
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(async move { self.fleet.create(&record, now).await })
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.fleet.replace(record, expected, now))
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.fleet.touch(id, active, now))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        Answer::later(self.fleet.end(tombstone, expected, now))
    }

    fn revoke(&self) -> Option<&dyn Revoke> {
        Some(self)
    }

    fn diagnose(&self, now: Timestamp) -> Answer<'_, Vec<Finding>> {
        Answer::later(diagnosis::of(&self.fleet, now))
    }

    /// Waits until what was asked is answered, and closes the connections.
    fn close(&self) -> Answer<'_, ()> {
        Answer::later(async {
            self.closing.send_replace(true);
            let mut ended = self.ended.clone();
            while ended.changed().await.is_ok() {}
            Ok(())
        })
    }
}

impl Revoke for MemcachedStore {
    /// The answer is always `None`: which sessions there were can't be told.
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        Answer::later(async move {
            self.fleet.revoke(&subject, &revocation, now).await?;
            Ok(None)
        })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subject = subject.clone();
        Answer::later(async move {
            let state = self.fleet.state(Key::of(&subject)).await?;
            state.map_or(Ok(None), |state| state.value.last_revocation(now))
        })
    }
}

impl fmt::Debug for MemcachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> =
            self.fleet.servers.iter().map(|server| server.known.address.to_string()).collect();
        f.debug_struct("MemcachedStore").field("servers", &servers).finish_non_exhaustive()
    }
}
