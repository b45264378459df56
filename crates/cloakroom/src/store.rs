//! What a store is: the contract every kind of storage keeps.
//!
//! A store keeps [`Record`]s and never interprets them. It has six operations and four promises, which the conformance
//! suite (`cloakroom-store-test`) checks:
//!
//! - **Only `create` creates.** `replace`, `touch` and `end` on a session that isn't there answer [`Written::Gone`]
//!   and leave nothing behind. No operation is an upsert, so no late write can bring a session back.
//! - **`replace` and `end` are compare-and-swap** on the record's [`Version`], atomically with the change.
//! - **Expired is gone.** Each call is told the time, `now`; a record whose [`Record::expires`] isn't later than `now`
//!   is gone to it, whether or not it was swept. The store's own clock plays no part in this.
//! - **Safe to drop.** The future of any call can be dropped at any await: the change then is made entirely or not at
//!   all, no lock stays, and no other call ever sees its answer.
//!
//! `Err` means that the system failed, and that it is unknown whether a change was made. Everything a caller branches
//! on is a value. Once a change is answered with [`Written::Stored`], every later load sees it, and a store that
//! calls itself durable has it on disk.

use std::{
    future::{Future, Ready, ready},
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

pub use cloakroom_core::exchange::EndReason;
pub use cloakroom_core::lifetime::Times;
pub use cloakroom_core::record::Authority;
use cloakroom_core::{Record, SessionId, Subject, Timestamp, Version};

use crate::{Error, carrier::Carrier};
pub use crate::{
    batches::{Batches, Fetch, others_first},
    watch::{Watch, Watchers},
};

/// A kind of storage for sessions.
pub trait Store: Send + Sync + 'static {
    /// The kind of store in one word, for messages and metrics: `memory`, `sqlite`.
    fn kind(&self) -> &'static str;

    /// Whether every call is answered at once, as in a store of this process's memory. The engine then spares itself
    /// the futures of waiting.
    fn is_immediate(&self) -> bool {
        false
    }

    /// The session of this id.
    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded>;

    /// What [`Store::load`] would find, if it is a living session, and a call of that would be answered at once. `None`
    /// says nothing: then the session is loaded. A store of this process's memory gives its sessions so, and spares
    /// each request what an [`Answer`] costs.
    fn find(&self, id: SessionId, now: Timestamp) -> Option<Arc<Record>> {
        let _ = (id, now);
        None
    }

    /// Stores a new record, and makes its session findable by its subject before it is findable by its id. Answers
    /// [`Written::Conflict`] if the id is taken, by a session or a tombstone, alive or not; never [`Written::Gone`].
    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written>;

    /// Stores another version of a record, if the stored one still has the version `expected`. The subject may have
    /// changed; then the index follows.
    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written>;

    /// Notes activity: the stored `active` time becomes `active` if that is later. The version stays, so a touch is in
    /// no write's way. Never answers [`Written::Conflict`].
    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written>;

    /// Ends a session and leaves the tombstone in its place until `tombstone.expires`; without data, and out of the
    /// index. With `expected`, only if the stored record still has that version.
    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written>;

    /// Removes some of what has expired, at most `limit` sessions and tombstones, and never holds up other calls for
    /// long. Stores whose engine expires by itself have nothing to do.
    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        let _ = (now, limit);
        Answer::ready(Ok(Swept::default()))
    }

    /// The index by subject, if this kind of store can enumerate.
    fn index(&self) -> Option<&dyn Index> {
        None
    }

    /// What seals sessions into cookies, if this is no store but keeps them in the browser: then none of the other
    /// operations is called for a request.
    fn carrier(&self) -> Option<&dyn Carrier> {
        None
    }

    /// The end of all of a subject's sessions, if this kind of store can bring it about. Whoever can enumerate can; a
    /// store that can't may have another way.
    fn revoke(&self) -> Option<&dyn Revoke> {
        self.index().map(|index| index as _)
    }

    /// News of changes to the record of this id, whichever process makes them, where the engine pushes them. Only changes
    /// by processes that watch the record themselves are told of. `None` where the engine has no way to.
    fn watch(&self, id: SessionId) -> Option<Watch> {
        let _ = id;
        None
    }

    /// Looks for what is wrong, or could go wrong, with the engine and how it is set up: its version, clock, rights,
    /// durability and speed, as far as each applies. For people who set it up; it changes nothing that lasts.
    fn diagnose(&self, now: Timestamp) -> Answer<'_, Vec<Finding>> {
        let _ = now;
        Answer::ready(Ok(Vec::new()))
    }

    /// What happened to the way to the engine since the store was opened, by name, for metrics: `failovers`, each of which
    /// may have lost the last changes before it, and `reconnections`. A store without an engine has none.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Waits until what was accepted is stored, and lets go of files and connections. Later calls fail.
    fn close(&self) -> Answer<'_, ()> {
        Answer::ready(Ok(()))
    }
}

/// A store behind a pointer is a store: one that is chosen at run time (`Box<dyn Store>`), or shared (`Arc`).
impl<P> Store for P
where
    P: Deref<Target: Store> + Send + Sync + 'static,
{
    fn kind(&self) -> &'static str {
        (**self).kind()
    }

    fn is_immediate(&self) -> bool {
        (**self).is_immediate()
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        (**self).load(id, now)
    }

    fn find(&self, id: SessionId, now: Timestamp) -> Option<Arc<Record>> {
        (**self).find(id, now)
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        (**self).create(record, now)
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        (**self).replace(record, expected, now)
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        (**self).touch(id, active, now)
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        (**self).end(tombstone, expected, now)
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        (**self).sweep(now, limit)
    }

    fn index(&self) -> Option<&dyn Index> {
        (**self).index()
    }

    fn carrier(&self) -> Option<&dyn Carrier> {
        (**self).carrier()
    }

    fn revoke(&self) -> Option<&dyn Revoke> {
        (**self).revoke()
    }

    fn watch(&self, id: SessionId) -> Option<Watch> {
        (**self).watch(id)
    }

    fn diagnose(&self, now: Timestamp) -> Answer<'_, Vec<Finding>> {
        (**self).diagnose(now)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        (**self).counters()
    }

    fn close(&self) -> Answer<'_, ()> {
        (**self).close()
    }
}

/// Ending all of a subject's sessions: what a store offers even if it can't tell which they are. Strongly consistent: a
/// change that was answered is seen by every later call.
pub trait Revoke: Send + Sync {
    /// Ends the subject's sessions but for `revocation.except`, and answers the ids of those it ended, or `None` if the
    /// store can't tell: they have ended all the same, and to every later call each is gone. An [`Index`] can tell.
    ///
    /// The revocation is noted for [`Revoke::last_revocation`] before the first session ends, or together with it: a
    /// login in progress is either ended here, or finds the note there.
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>>;

    /// The subject's last revocation, by the time it was asked for and not by when it was noted, if it is younger than
    /// a day.
    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>>;
}

/// The sessions of a subject: what a store offers that can enumerate.
///
/// The end of everybody's sessions belongs here too. It needs something that every call sees and that is never lost,
/// and a store without an index is one that may lose any of its entries.
pub trait Index: Revoke {
    /// The subject's living sessions, ordered by id, at most `limit` of those whose id is greater than `after`. Over
    /// several pages, a session that lives all the while is listed exactly once.
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>>;

    /// Ends every session that was created or last authenticated before this instant, without visiting each: to all
    /// later calls it is gone. Earlier instants than the last one are ignored.
    fn end_started_before(&self, instant: Timestamp, now: Timestamp) -> Answer<'_, ()>;
}

/// What a load found.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// Nothing, or something expired.
    Absent,
    /// A living session.
    Found(Arc<Record>),
    /// What is left of a session that ended a short while ago.
    Ended(Tombstone),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// Nothing was changed: the record has another version, or the id is taken.
    Conflict,
    /// Nothing was changed: there is no living session of this id.
    Gone,
}

/// What ending a session leaves in the store for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The session that ended.
    pub id: SessionId,
    /// Stamp of the change that ended it, by which a caller whose answer was lost knows its own.
    pub version: Version,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// Until when the tombstone is kept.
    pub expires: Timestamp,
}

/// The end of all of a subject's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When it was asked for. Whatever the store finds ends, for clocks differ; the time is for logins in progress,
    /// which compare it with their request's arrival.
    pub at: Timestamp,
    /// The one session that stays.
    pub except: Option<SessionId>,
    /// Why, for the tombstones.
    pub reason: EndReason,
    /// Stamp for the tombstones.
    pub version: Version,
    /// Until when the tombstones are kept.
    pub tombstones_expire: Timestamp,
}

/// What a listing tells of a session: nothing that grants access, and no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The session's public handle.
    pub id: SessionId,
    /// When it began, was last used, and ends.
    pub times: Times,
    /// A coarse description of the client.
    pub client: Option<Arc<str>>,
}

impl Summary {
    /// The summary of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        Self { id: record.id, times: record.times, client: record.client.clone() }
    }
}

/// What a sweep removed.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Sessions that had expired, with whom they belonged to.
    pub expired: Vec<(SessionId, Option<Subject>)>,
    /// Whether more may have expired, so that another sweep should follow at once.
    pub is_more: bool,
}

/// What a store found out about its engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, in a word or two: `version`, `clock`, `eviction policy`.
    pub subject: &'static str,
    /// What is the case, in plain words; and unless all is well, what may come of it and what to do. It never holds a
    /// password.
    pub message: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// It works, and something is weaker than it could be.
    Warning,
    /// Sessions will be lost, or the store can't work.
    Problem,
}

impl Finding {
    /// All is well with this.
    pub fn fine(subject: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fine, subject, message: message.into() }
    }

    /// Something is weaker than it could be.
    pub fn warning(subject: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, subject, message: message.into() }
    }

    /// Something is wrong.
    pub fn problem(subject: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, subject, message: message.into() }
    }
}

/// A store's answer: at once, or later.
///
/// An in-process store answers at once and pays for no allocation; a driver's answer is a boxed future.
#[must_use = "a store call does nothing until it is awaited"]
pub struct Answer<'a, T>(Inner<'a, T>);

enum Inner<'a, T> {
    Ready(Ready<Result<T, Error>>),
    Later(Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>),
}

impl<'a, T> Answer<'a, T> {
    /// An answer that is known.
    #[inline]
    pub fn ready(result: Result<T, Error>) -> Self {
        Self(Inner::Ready(ready(result)))
    }

    /// The answer, if it is known without waiting.
    #[inline]
    pub(crate) fn now(self) -> Result<Result<T, Error>, Self> {
        match self.0 {
            Inner::Ready(ready) => Ok(ready.into_inner()),
            later @ Inner::Later(_) => Err(Self(later)),
        }
    }

    /// An answer that has to be waited for.
    pub fn later(future: impl Future<Output = Result<T, Error>> + Send + 'a) -> Self {
        Self(Inner::Later(Box::pin(future)))
    }
}

impl<T> Future for Answer<'_, T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Inner::Ready(ready) => Pin::new(ready).poll(context),
            Inner::Later(future) => future.as_mut().poll(context),
        }
    }
}
