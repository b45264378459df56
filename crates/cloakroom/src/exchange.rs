//! One request's way through its session: load, then commit. For adapters.

use std::{
    fmt,
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use cloakroom_core::{
    Data, Record, Timestamp,
    carried::Stamp,
    exchange::{Action, Intent, Plan, Standing, is_settled},
};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    Error, Session, Sessions,
    commit::{Request, Work, decide, replace_at_once},
    deadline::within,
    load::Claim,
    sessions::Engine,
    store::Written,
};

pub use crate::outcome::{Commit, Outcome, SetCookie, SiteData};

/// One request's session, from the cookie it came with to the cookie its response carries.
///
/// An adapter begins one as a request arrives ([`Sessions::begin`](crate::Sessions::begin)), has the session loaded
/// when a handler asks for it ([`Exchange::session`]), and commits when the response's head is ready
/// ([`Exchange::finish`]). If the handler never asks, all of this costs no store call.
#[derive(Clone)]
pub struct Exchange {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) arrived: Timestamp,
    /// What was found when the session was first asked for. Most requests never ask, and most that do only read this:
    /// neither takes the lock.
    opened: OnceLock<Opened>,
    /// Whether there is more to see than what was opened. Set under the lock, before anything is changed, and never
    /// taken back: whoever finds it unset sees the session as it was before a change.
    is_changed: AtomicBool,
    /// A handler panicked: nothing is to be stored. Noted without the lock, which the panic may have come from under.
    pub(crate) is_discarded: AtomicBool,
    state: Mutex<State>,
}

/// What a request's cookies come to.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) claim: Claim,
    pub(crate) loaded_at: Timestamp,
    /// Kept only where the record doesn't tell of the client yet: reading it takes longer than loading a session.
    pub(crate) user_agent: Option<Box<[u8]>>,
    /// Of a session that travels in its cookie.
    pub(crate) carried: Option<Box<Carried>>,
}

/// What came with a session in its cookie.
#[derive(Clone)]
pub(crate) struct Carried {
    pub(crate) stamp: Stamp,
    /// Whether the cookie it came in is about to lose its authority.
    pub(crate) is_fading: bool,
    /// How many cookies it was cut over.
    pub(crate) parts: usize,
}

/// Small, for every request makes one, and few need more.
pub(crate) struct State {
    pub(crate) phase: Phase,
    changes: Option<Box<Changes>>,
}

struct Changes {
    intent: Intent,
    /// Takes the place of what was opened: of a handle that goes on after its commit, and of a session that couldn't be
    /// loaded at first.
    reopened: Option<Opened>,
}

static NOTHING: Intent = Intent::new(0);

/// What a request's session comes to when its response's head is ready.
#[must_use = "a commit must be waited for before the response is sent"]
#[derive(Debug)]
pub enum Finished {
    /// It wasn't asked for: there is nothing to commit, and the response says nothing of a session.
    Untouched,
    /// It was loaded, and everything stays as it is: the response depends on the cookie (`Vary: Cookie`).
    Unchanged,
    /// There may be something to store, and to send.
    Committing(Commit),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The session may be changed.
    Open,
    /// Changes come too late.
    Committed,
}

impl Exchange {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self::arrived_at(engine, engine.just_now())
    }

    pub(crate) fn arrived_at(engine: &Arc<Engine>, arrived: Timestamp) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine: Arc::clone(engine),
                arrived,
                opened: OnceLock::new(),
                is_changed: AtomicBool::new(false),
                is_discarded: AtomicBool::new(false),
                state: Mutex::new(State { phase: Phase::Open, changes: None }),
            }),
        }
    }

    /// Whether this exchange is with these sessions.
    #[must_use]
    pub fn is_of(&self, sessions: &Sessions) -> bool {
        Arc::ptr_eq(&self.shared.engine, &sessions.engine)
    }

    /// The request's session, loaded at the first call. `cookies` are the values of its `Cookie` headers; a token is
    /// looked for nowhere else. `user_agent` is that of `User-Agent`, and only asked for where a session may begin.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails or doesn't answer in time: the request must fail then, and its
    /// cookie be left alone.
    pub async fn session<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Session, Error> {
        let shared = &*self.shared;
        if shared.engine.loads_at_once() {
            return match shared.load_at_once(cookies, user_agent) {
                Ok(()) => Ok(Session::new(Arc::clone(&self.shared))),
                Err(error) => Err(error),
            };
        }
        if !shared.is_loaded() {
            let tokens: Vec<_> =
                shared.engine.cookie.values(cookies).filter_map(|value| shared.engine.parse(value)).collect();
            let (deadline, kind) = (shared.engine.deadline, shared.engine.store.kind());
            let loading = Box::pin(within(deadline, kind, shared.load(tokens, user_agent)));
            loading.await.inspect_err(|error| shared.engine.tell_failure(error))?;
        }
        Ok(Session::new(Arc::clone(&self.shared)))
    }

    /// As [`Exchange::session`], but a store that fails leaves the request with a session that
    /// [`Session::is_degraded`]: empty, and refusing changes. For routes that can live without one.
    pub async fn session_or_degraded<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Session {
        match self.session(cookies, user_agent).await {
            Ok(session) => session,
            Err(_) => {
                // Somebody else's load of the same session may have succeeded meanwhile.
                if !self.shared.is_loaded() {
                    self.shared.open(Opened::degraded);
                }
                Session::new(Arc::clone(&self.shared))
            }
        }
    }

    /// For adapters, when the response's head is ready: stores what the handler changed, and answers what the response
    /// has to carry. From here on, changing the session is an error.
    ///
    /// The work runs to its end, bounded by the deadline, even if the returned future is dropped because the client
    /// has gone.
    ///
    /// The future's error says that the request's changes are not stored: its response must be replaced by one of
    /// [`Error::status`], without a cookie.
    #[inline]
    pub fn finish(self) -> Finished {
        match Arc::try_unwrap(self.shared) {
            // The handler has let go of its session, as nearly always: nobody is to be locked out.
            Ok(Shared { engine, arrived, opened, mut state, is_discarded, .. }) => match opened.get() {
                Some(_) if is_discarded.into_inner() => Finished::Unchanged,
                Some(opened) => At { engine: &engine, arrived }.finish(opened, state.get_mut()),
                None => Finished::Untouched,
            },
            Err(shared) => shared.finish(),
        }
    }

    /// As [`Exchange::finish`], of an exchange that is looked at afterwards.
    pub fn commit(&self) -> Commit {
        match self.shared.finish() {
            Finished::Untouched => Commit::done(Ok(Outcome::untouched())),
            Finished::Unchanged => Commit::done(Ok(Outcome::unchanged())),
            Finished::Committing(commit) => commit,
        }
    }
}

impl Shared {
    fn finish(&self) -> Finished {
        let state = &mut *self.state.lock();
        match self.opened.get() {
            Some(_) if self.is_discarded.load(Ordering::Relaxed) => Finished::Unchanged,
            Some(opened) => self.at().finish(opened, state),
            // Whoever asks from here on finds that out under the lock.
            None => {
                state.phase = Phase::Committed;
                Finished::Untouched
            }
        }
    }

    /// Found when the session was first asked for, so that whoever has the session finds it here.
    fn opened(&self) -> &Opened {
        static ABSENT: Opened = Opened::new(Claim::ABSENT, Timestamp::ZERO);
        self.opened.get().unwrap_or(&ABSENT)
    }

    fn at(&self) -> At<'_> {
        At { engine: &self.engine, arrived: self.arrived }
    }

    pub(crate) fn is_loaded(&self) -> bool {
        match self.opened.get() {
            Some(Opened { claim: Claim { standing: Standing::Degraded, .. }, .. }) => {
                self.state.lock().changes.as_ref().is_some_and(|changes| changes.reopened.is_some())
            }
            opened => opened.is_some(),
        }
    }

    /// Opens the session to the handler: to be changed, unless the response's head came first. Of several that do this
    /// at once, the first counts.
    #[inline]
    pub(crate) fn open(&self, open: impl FnOnce() -> Opened) {
        let mut open = Some(open);
        self.opened.get_or_init(|| open.take().map_or_else(Opened::degraded, |open| open()));
        if let Some(open) = open {
            self.open_again(open());
        }
    }

    /// A session that couldn't be loaded at first can be now.
    #[cold]
    fn open_again(&self, opened: Opened) {
        let mut changing = self.lock();
        if changing.seen().opened.is_degraded() && !opened.is_degraded() {
            changing.reopen(opened);
        }
    }

    pub(crate) fn lock(&self) -> Changing<'_> {
        Changing { shared: self, state: self.state.lock() }
    }

    /// The session as the handler sees it. Nothing is locked for that until something is changed.
    #[inline]
    pub(crate) fn see<R>(&self, look: impl FnOnce(Seen<'_>) -> R) -> R {
        let state;
        let seen = match self.opened.get() {
            Some(opened) if !self.is_changed.load(Ordering::Acquire) => Seen { opened, intent: &NOTHING },
            _ => {
                state = self.state.lock();
                state.seen(self)
            }
        };
        look(seen)
    }
}

/// The session, locked to be changed.
pub(crate) struct Changing<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) state: MutexGuard<'a, State>,
}

impl Changing<'_> {
    /// The request's session, if it may still be changed.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        match (self.state.phase, &self.seen().opened.claim.standing) {
            (Phase::Committed, _) => Err(Error::committed()),
            _ if self.shared.is_discarded.load(Ordering::Relaxed) => Err(Error::committed()),
            (_, Standing::Degraded) => Err(Error::degraded()),
            _ => {
                self.shared.is_changed.store(true, Ordering::Release);
                Ok(self)
            }
        }
    }

    pub(crate) fn reopen(&mut self, opened: Opened) {
        self.shared.is_changed.store(true, Ordering::Release);
        self.changes().reopened = Some(opened);
    }

    /// As [`Exchange::finish`], but the session may be changed and committed again.
    pub(crate) fn commit(&mut self) -> Option<Commit> {
        let shared = self.shared;
        // Who goes on using the session is active now.
        shared.at().commit(shared.opened(), &mut self.state, Some(shared.engine.now()))
    }

    pub(crate) fn intent(&mut self) -> &mut Intent {
        &mut self.changes().intent
    }

    fn changes(&mut self) -> &mut Changes {
        let nothing = || Intent::new(self.shared.engine.data_bytes_max);
        self.state.changes.get_or_insert_with(|| Box::new(Changes { intent: nothing(), reopened: None }))
    }

    pub(crate) fn seen(&self) -> Seen<'_> {
        self.state.seen(self.shared)
    }

    /// The data as loaded, and what is wanted of it: after an end, a new session's.
    pub(crate) fn split(&mut self) -> (&Data, &mut Intent) {
        let first = self.shared.opened();
        let Changes { intent, reopened } = self.changes();
        let loaded = reopened.as_ref().unwrap_or(first).data(intent);
        let intent = match intent {
            Intent { end: Some(_), then: Some(then), .. } => then,
            intent => intent,
        };
        (loaded, intent)
    }
}

impl State {
    fn seen<'a>(&'a self, shared: &'a Shared) -> Seen<'a> {
        match &self.changes {
            Some(changes) => {
                let opened = changes.reopened.as_ref().unwrap_or_else(|| shared.opened());
                Seen { opened, intent: &changes.intent }
            }
            None => Seen { opened: shared.opened(), intent: &NOTHING },
        }
    }
}

/// The session as it was opened, and what is wanted of it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) opened: &'a Opened,
    pub(crate) intent: &'a Intent,
}

impl<'a> Seen<'a> {
    /// The record that the handler sees.
    pub(crate) fn record(self) -> Option<&'a Arc<Record>> {
        self.opened.record(self.intent)
    }

    /// The data as loaded, and what is wanted of it: after an end, a new session's.
    pub(crate) fn split(self) -> (&'a Data, &'a Intent) {
        (self.opened.data(self.intent), self.intent.last())
    }
}

impl Opened {
    pub(crate) const fn new(claim: Claim, loaded_at: Timestamp) -> Self {
        Self { claim, loaded_at, user_agent: None, carried: None }
    }

    fn degraded() -> Self {
        Self::new(Claim { standing: Standing::Degraded, presented: None }, Timestamp::ZERO)
    }

    pub(crate) fn is_degraded(&self) -> bool {
        matches!(self.claim.standing, Standing::Degraded)
    }

    fn is_fading(&self) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.is_fading)
    }

    fn record(&self, intent: &Intent) -> Option<&Arc<Record>> {
        match &self.claim.standing {
            Standing::Held { record, .. } if intent.end.is_none() => Some(record),
            _ => None,
        }
    }

    fn data(&self, intent: &Intent) -> &Data {
        static EMPTY: LazyLock<Data> = LazyLock::new(Data::new);
        match self.record(intent) {
            Some(record) => &record.data,
            None => &EMPTY,
        }
    }

    /// Whether the record, as it was loaded, has expired since. Other requests may have kept the session alive
    /// meanwhile, so nothing can be decided from it.
    fn is_outdated(&self, now: Timestamp) -> bool {
        matches!(&self.claim.standing, Standing::Held { record, .. } if !record.is_alive(now))
    }
}

/// A request's commit, where its session was opened.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) arrived: Timestamp,
}

impl At<'_> {
    /// Commits once.
    #[inline]
    fn finish(self, opened: &Opened, state: &mut State) -> Finished {
        match state.phase {
            Phase::Open => state.phase = Phase::Committed,
            Phase::Committed => return Finished::Unchanged,
        }
        // Who only read was active when the session was loaded. If nothing was due then, that is all: most requests need no
        // more, and no look at the clock. Whatever is stored or sent is decided with the time as it is now.
        match self.commit(opened, state, None) {
            Some(commit) => Finished::Committing(commit),
            None => Finished::Unchanged,
        }
    }

    /// Takes what is wanted along: what is wanted from here on is another commit's. `None` where everything stays as it
    /// is.
    #[inline]
    fn commit(self, opened: &Opened, state: &mut State, active: Option<Timestamp>) -> Option<Commit> {
        let Some(changes) = &mut state.changes else {
            let is_settled = self.is_settled(opened, &NOTHING, active);
            return (!is_settled).then(|| self.commit_changes(opened, &mut self.nothing()));
        };
        let opened = changes.reopened.as_ref().unwrap_or(opened);
        (!self.is_settled(opened, &changes.intent, active))
            .then(|| self.commit_changes(opened, &mut changes.intent))
    }

    fn nothing(self) -> Intent {
        Intent::new(self.engine.data_bytes_max)
    }

    #[inline]
    fn is_settled(self, opened: &Opened, intent: &Intent, active: Option<Timestamp>) -> bool {
        let active = active.unwrap_or(opened.loaded_at);
        !opened.is_fading() && is_settled(&opened.claim.standing, intent, &self.engine.policy, active)
    }

    fn commit_changes(self, opened: &Opened, intent: &mut Intent) -> Commit {
        let now = self.engine.now();
        if opened.is_outdated(now) && !self.engine.is_carried {
            return self.run(self.work(opened, intent, now, None), None);
        }
        match self.decide(opened, intent, now) {
            Err(error) => {
                log(&error);
                Commit::done(Err(error))
            }
            Ok(Plan { action: Action::Nothing, cookie: None }) if !opened.is_fading() => {
                Commit::done(Ok(Outcome::unchanged()))
            }
            Ok(plan) if self.engine.is_carried => self.commit_carried(opened, intent, now, plan),
            Ok(plan) => self.carry_out(opened, intent, now, plan),
        }
    }

    /// Decides before anything is moved: most changes need no more than this and one store call.
    fn decide(self, opened: &Opened, intent: &Intent, now: Timestamp) -> Result<Plan, Error> {
        let Opened { claim: Claim { standing, presented }, user_agent, .. } = opened;
        let began = match standing {
            Standing::Held { record, .. } => Some(&**record),
            _ => None,
        };
        let (presented, user_agent) = (presented.as_ref(), user_agent.as_deref());
        let request = Request { standing, intent, presented, began, user_agent };
        decide(self.engine, &request, self.arrived, now, false)
    }

    fn carry_out(self, opened: &Opened, intent: &mut Intent, now: Timestamp, plan: Plan) -> Commit {
        match replace_at_once(self.engine, &opened.claim.standing, intent, plan, now) {
            Ok(outcome) => {
                *intent = self.nothing();
                Commit::done(Ok(outcome))
            }
            Err(begun) => {
                let work = self.work(opened, intent, now, begun.answered);
                self.run(work, Some(begun.plan))
            }
        }
    }

    fn work(
        self,
        opened: &Opened,
        intent: &mut Intent,
        now: Timestamp,
        answered: Option<Result<Written, Error>>,
    ) -> Work {
        Work::new(self, opened, std::mem::replace(intent, self.nothing()), now, answered)
    }

    fn run(self, work: Work, plan: Option<Plan>) -> Commit {
        let (deadline, kind) = (self.engine.deadline, self.engine.store.kind());
        let (engine, is_reading) = (Arc::clone(self.engine), work.is_reading());
        Commit::running(async move {
            let result = within(deadline, kind, work.run(plan)).await;
            match &result {
                Err(error) if error.is_unavailable() || error.is_corrupt() => engine.tell_failure(error),
                Err(error) if !error.is_lost() => log(error),
                _ => {}
            }
            // Noted activity and rotation are housekeeping: they never fail a request that only reads.
            if is_reading { result.or_else(|_| Ok(Outcome::unchanged())) } else { result }
        })
    }
}

/// What only the application's developers can mend.
fn log(error: &Error) {
    tracing::error!(target: "cloakroom", "the session couldn't be stored: {error:?}");
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("is_loaded", &self.shared.is_loaded()).finish_non_exhaustive()
    }
}
