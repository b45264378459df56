//! A store that fails on demand.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use cloakroom::{
    Error,
    carrier::Carrier,
    store::{Answer, Index, Loaded, Revocation, Revoke, Store, Summary, Swept, Tombstone, Written},
};
use cloakroom_core::{Record, SessionId, Subject, Timestamp, Version};
use parking_lot::Mutex;
use tokio::sync::watch;

/// A store around another one, which injects faults where a test asks for them, and counts the calls.
///
/// It uses nothing but the public traits, so any store can be wrapped. Clones share everything: a test gives one to
/// the code it tests and keeps one to direct it.
///
/// ```
/// use cloakroom::{MemoryStore, SessionId, Timestamp, store::Store};
/// use cloakroom_store_test::{Fault, FaultyStore, Op};
///
/// # async fn demo() {
/// let (id, now) = (SessionId::from_bytes([1; 16]), Timestamp::ZERO);
/// let store = FaultyStore::new(MemoryStore::new());
/// store.fail_next(Op::Load, Fault::Refused);
/// assert!(store.load(id, now).await.is_err_and(|error| error.is_unavailable()));
/// assert!(store.load(id, now).await.is_ok());
/// assert_eq!(store.calls(Op::Load), 2);
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(demo());
/// ```
pub struct FaultyStore<S>(Arc<Shared<S>>);

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// [`Store::load`]
    Load,
    /// [`Store::create`]
    Create,
    /// [`Store::replace`]
    Replace,
    /// [`Store::touch`]
    Touch,
    /// [`Store::end`]
    End,
    /// [`Store::sweep`]
    Sweep,
    /// [`Index::list`]
    List,
    /// [`Revoke::end_subject`]
    EndSubject,
    /// [`Revoke::last_revocation`]
    LastRevocation,
    /// [`Index::end_started_before`]
    EndStartedBefore,
    /// [`Store::close`]
    Close,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing is done.
    Refused,
    /// It is done, and fails all the same: its answer is lost.
    AnswerLost,
    /// It hangs, and isn't done before [`FaultyStore::release`]. If it is dropped until then, it never is.
    HangBefore,
    /// It is done, and its answer hangs until [`FaultyStore::release`].
    HangAfter,
    /// It is done after this time.
    Delay(Duration),
    /// It fails because of what the store holds, and nothing is done.
    Corrupt,
}

impl Op {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::Load,
        Self::Create,
        Self::Replace,
        Self::Touch,
        Self::End,
        Self::Sweep,
        Self::List,
        Self::EndSubject,
        Self::LastRevocation,
        Self::EndStartedBefore,
        Self::Close,
    ];
}

impl<S> FaultyStore<S> {
    /// A store that works as `inner` does until it is told otherwise.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self(Arc::new(Shared {
            inner,
            is_immediate: false,
            script: Mutex::new(Op::ALL.map(|_| Script::default())),
            releases: watch::Sender::new(0),
            hanging: watch::Sender::new(0),
        }))
    }

    /// As [`FaultyStore::new`], of a store that [is immediate](Store::is_immediate), and says so. It can't hang: a fault
    /// that would is [`Fault::Refused`].
    #[must_use]
    pub fn immediate(inner: S) -> Self {
        let mut store = Self::new(inner);
        if let Some(shared) = Arc::get_mut(&mut store.0) {
            shared.is_immediate = true;
        }
        store
    }

    /// The store inside, whose calls are neither counted nor failed.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.0.inner
    }

    /// Gives the next call of this operation this fault; or, if some calls are spoken for already, the one after them.
    pub fn fail_next(&self, op: Op, fault: Fault) {
        self.0.script.lock()[op as usize].next.push_back(Some(fault));
    }

    /// Lets the next calls of this operation be, before what is asked for next.
    pub fn pass_next(&self, op: Op, calls: usize) {
        self.0.script.lock()[op as usize].next.extend(std::iter::repeat_n(None, calls));
    }

    /// Gives every call of this operation this fault, but for those that are spoken for.
    pub fn fail_always(&self, op: Op, fault: Fault) {
        self.0.script.lock()[op as usize].always = Some(fault);
    }

    /// Gives every call this fault, but for those that are spoken for.
    pub fn fail_everything(&self, fault: Fault) {
        for op in Op::ALL {
            self.fail_always(op, fault);
        }
    }

    /// Ends all faults: later calls work, and those that hang go on.
    pub fn heal(&self) {
        for script in self.0.script.lock().iter_mut() {
            script.next.clear();
            script.always = None;
        }
        self.release();
    }

    /// Lets the calls that hang now go on.
    pub fn release(&self) {
        self.0.releases.send_modify(|releases| *releases += 1);
    }

    /// How many calls hang now. A call that is dropped hangs no longer.
    #[must_use]
    pub fn hanging(&self) -> usize {
        *self.0.hanging.borrow()
    }

    /// Waits until so many calls hang at once.
    pub async fn until_hanging(&self, calls: usize) {
        // It can't fail: the sender lives as long as `self`.
        let _ = self.0.hanging.subscribe().wait_for(|hanging| *hanging >= calls).await;
    }

    /// How often this operation was called, whatever came of it.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.0.script.lock()[op as usize].calls
    }

    /// How often any operation was called.
    #[must_use]
    pub fn calls_total(&self) -> u64 {
        self.0.script.lock().iter().map(|script| script.calls).sum()
    }

    /// Counts from zero again.
    pub fn reset_calls(&self) {
        for script in self.0.script.lock().iter_mut() {
            script.calls = 0;
        }
    }
}

impl<S> Clone for FaultyStore<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut calls = f.debug_struct("FaultyStore");
        for op in Op::ALL {
            calls.field(&format!("{op:?}"), &self.calls(op));
        }
        calls.field("hanging", &self.hanging()).finish_non_exhaustive()
    }
}

struct Shared<S> {
    inner: S,
    is_immediate: bool,
    /// By operation, in the order of [`Op::ALL`].
    script: Mutex<[Script; Op::ALL.len()]>,
    releases: watch::Sender<u64>,
    hanging: watch::Sender<usize>,
}

#[derive(Default)]
struct Script {
    calls: u64,
    /// What the next calls are given, one each.
    next: VecDeque<Option<Fault>>,
    /// What calls are given for which there is nothing in `next`.
    always: Option<Fault>,
}

impl<S> Shared<S> {
    /// Counts a call and tells its fault.
    fn fault(&self, op: Op) -> Option<Fault> {
        let script = &mut self.script.lock()[op as usize];
        script.calls += 1;
        script.next.pop_front().unwrap_or(script.always)
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        op: Op,
        call: impl FnOnce(&'a S) -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T>
    where
        S: Sync,
    {
        let Some(fault) = self.fault(op) else { return call(&self.inner) };
        if self.is_immediate {
            return Answer::ready(Err(at_once(op, fault, || call(&self.inner))));
        }
        match fault {
            Fault::Refused => Answer::ready(Err(failed(op, "it is refused"))),
            Fault::Corrupt => Answer::ready(Err(Error::corrupt(format!("{op:?}: an injected corruption")))),
            Fault::AnswerLost => Answer::later(async move {
                call(&self.inner).await?;
                Err(failed(op, "its answer is lost"))
            }),
            Fault::HangBefore => {
                let released = self.hang();
                Answer::later(async move {
                    released.wait().await;
                    call(&self.inner).await
                })
            }
            Fault::HangAfter => Answer::later(async move {
                let answer = call(&self.inner).await;
                self.hang().wait().await;
                answer
            }),
            Fault::Delay(delay) => Answer::later(async move {
                tokio::time::sleep(delay).await;
                call(&self.inner).await
            }),
        }
    }

    fn hang(&self) -> Hanging<'_> {
        let releases = self.releases.subscribe();
        self.hanging.send_modify(|hanging| *hanging += 1);
        Hanging { releases, hanging: &self.hanging }
    }
}

/// A call that hangs, and is counted as such until this is dropped.
struct Hanging<'a> {
    releases: watch::Receiver<u64>,
    hanging: &'a watch::Sender<usize>,
}

impl Hanging<'_> {
    async fn wait(mut self) {
        // It can't fail: the sender lives as long as the store, which the call borrows.
        let _ = self.releases.changed().await;
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.hanging.send_modify(|hanging| *hanging -= 1);
    }
}

/// The failure of a call that nobody waits for.
fn at_once<'a, T>(op: Op, fault: Fault, call: impl FnOnce() -> Answer<'a, T>) -> Error {
    match fault {
        Fault::Corrupt => Error::corrupt(format!("{op:?}: an injected corruption")),
        Fault::AnswerLost | Fault::HangAfter => {
            // An immediate store has done it when it is polled for the first time.
            let _ = pin!(call()).poll(&mut Context::from_waker(Waker::noop()));
            failed(op, "its answer is lost")
        }
        Fault::Refused | Fault::HangBefore | Fault::Delay(_) => failed(op, "it is refused"),
    }
}

fn failed(op: Op, how: &'static str) -> Error {
    Error::unavailable(format!("{op:?}: an injected fault"), how)
}

impl<S: Store> Store for FaultyStore<S> {
    fn kind(&self) -> &'static str {
        self.0.inner.kind()
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        self.0.call(Op::Load, move |inner| inner.load(id, now))
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        self.0.call(Op::Create, move |inner| inner.create(record, now))
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        self.0.call(Op::Replace, move |inner| inner.replace(record, expected, now))
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        self.0.call(Op::Touch, move |inner| inner.touch(id, active, now))
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        self.0.call(Op::End, move |inner| inner.end(tombstone, expected, now))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        self.0.call(Op::Sweep, move |inner| inner.sweep(now, limit))
    }

    fn is_immediate(&self) -> bool {
        self.0.is_immediate
    }

    fn index(&self) -> Option<&dyn Index> {
        self.0.inner.index().map(|_| self as _)
    }

    /// The one inside, whose calls aren't this store's: they are neither counted nor failed.
    fn carrier(&self) -> Option<&dyn Carrier> {
        self.0.inner.carrier()
    }

    fn revoke(&self) -> Option<&dyn Revoke> {
        self.0.inner.revoke().map(|_| self as _)
    }

    fn close(&self) -> Answer<'_, ()> {
        self.0.call(Op::Close, Store::close)
    }
}

impl<S: Store> Revoke for FaultyStore<S> {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let subject = subject.clone();
        self.0.call(Op::EndSubject, move |inner| {
            revoking(inner, |revoke| revoke.end_subject(&subject, revocation, now))
        })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        let subject = subject.clone();
        self.0.call(Op::LastRevocation, move |inner| {
            revoking(inner, |revoke| revoke.last_revocation(&subject, now))
        })
    }
}

impl<S: Store> Index for FaultyStore<S> {
    fn list(
        &self,
        subject: &Subject,
        after: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'_, Vec<Summary>> {
        let subject = subject.clone();
        self.0.call(Op::List, move |inner| indexed(inner, |index| index.list(&subject, after, limit, now)))
    }

    fn end_started_before(&self, instant: Timestamp, now: Timestamp) -> Answer<'_, ()> {
        self.0.call(Op::EndStartedBefore, move |inner| {
            indexed(inner, |index| index.end_started_before(instant, now))
        })
    }
}

/// [`FaultyStore::index`] offers the index only if the store inside has one.
fn indexed<'a, S: Store, T>(
    inner: &'a S,
    call: impl FnOnce(&'a dyn Index) -> Answer<'a, T>,
) -> Answer<'a, T> {
    match inner.index() {
        Some(index) => call(index),
        None => Answer::ready(Err(Error::unsupported(format!("the {} store has no index", inner.kind())))),
    }
}

/// The same of [`FaultyStore::revoke`].
fn revoking<'a, S: Store, T>(
    inner: &'a S,
    call: impl FnOnce(&'a dyn Revoke) -> Answer<'a, T>,
) -> Answer<'a, T> {
    match inner.revoke() {
        Some(revoke) => call(revoke),
        None => Answer::ready(Err(Error::unsupported(format!("the {} store can't revoke", inner.kind())))),
    }
}
