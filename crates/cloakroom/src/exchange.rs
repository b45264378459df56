//! One request's way through its session: load, then commit. For adapters.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use cloakroom_core::{
    Data, Record, Timestamp,
    carried::Stamp,
    exchange::{Action, Intent, Plan, Standing, is_settled},
};
use parking_lot::Mutex;

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
/// ([`Exchange::commit`]). If the handler never asks, all of this costs no store call.
#[derive(Clone)]
pub struct Exchange {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) arrived: Timestamp,
    /// Whether the session was asked for, or the response's head came first. Most requests never ask, and find that out
    /// without a lock.
    first: AtomicU8,
    pub(crate) state: Mutex<State>,
}

/// What came first: nothing yet, the handler that asked for its session, or the response's head.
const NOTHING: u8 = 0;
const ASKED: u8 = 1;
const COMMITTED: u8 = 2;

pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) loaded_at: Timestamp,
    pub(crate) claim: Claim,
    /// Kept only where the record doesn't tell of the client yet: reading it takes longer than loading a session.
    pub(crate) user_agent: Option<Box<[u8]>>,
    pub(crate) intent: Intent,
    /// Of a session that travels in its cookie.
    pub(crate) stamp: Stamp,
    /// Whether the cookie it came in is about to lose its authority.
    pub(crate) is_fading: bool,
    /// How many cookies it was cut over.
    pub(crate) parts: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody has asked for the session.
    Untouched,
    /// It is loaded, and may be changed.
    Open,
    /// Changes come too late.
    Committed,
    /// A handler panicked: nothing is to be stored.
    Discarded,
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
                first: AtomicU8::new(NOTHING),
                state: Mutex::new(State {
                    phase: Phase::Untouched,
                    loaded_at: Timestamp::ZERO,
                    claim: Claim::default(),
                    user_agent: None,
                    intent: Intent::new(engine.data_bytes_max),
                    stamp: Stamp::default(),
                    is_fading: false,
                    parts: 1,
                }),
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
            shared.load_at_once(cookies, user_agent)?;
        } else if !shared.state.lock().is_loaded() {
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
                let mut state = self.shared.state.lock();
                // Somebody else's load of the same session may have succeeded meanwhile.
                if !state.is_loaded() {
                    state.claim.standing = Standing::Degraded;
                    self.shared.ask(&mut state);
                }
                drop(state);
                Session::new(Arc::clone(&self.shared))
            }
        }
    }

    /// For adapters, when the response's head is ready: whether the session was asked for. If it wasn't, there is
    /// nothing to commit, the response says nothing of a session, and whoever asks for it from here on can't change it.
    #[must_use]
    #[inline]
    pub fn needs_commit(&self) -> bool {
        let first = &self.shared.first;
        first.compare_exchange(NOTHING, COMMITTED, Ordering::AcqRel, Ordering::Acquire) == Err(ASKED)
    }

    /// Stores what the handler changed, and answers what the response has to carry. From here on, changing the session
    /// is an error.
    ///
    /// The work runs to its end, bounded by the deadline, even if the returned future is dropped because the client
    /// has gone.
    ///
    /// The future's error says that the request's changes are not stored: its response must be replaced by one of
    /// [`Error::status`], without a cookie.
    pub fn commit(&self) -> Commit {
        if !self.needs_commit() {
            return Commit::done(Ok(Outcome::untouched()));
        }
        self.shared.commit_open()
    }
}

impl Shared {
    fn commit_open(&self) -> Commit {
        let state = &mut *self.state.lock();
        match state.phase {
            Phase::Open => state.phase = Phase::Committed,
            Phase::Untouched | Phase::Committed | Phase::Discarded => {
                return Commit::done(Ok(Outcome::unchanged()));
            }
        }
        self.commit(state)
    }

    /// Opens the session to the handler: to be changed, unless the response's head came first.
    pub(crate) fn ask(&self, state: &mut State) {
        if state.phase == Phase::Untouched {
            let first = self.first.compare_exchange(NOTHING, ASKED, Ordering::AcqRel, Ordering::Acquire);
            state.phase = if first == Err(COMMITTED) { Phase::Committed } else { Phase::Open };
        }
    }

    /// Decides before anything is moved: most changes need no more than this and one store call.
    fn decide(&self, state: &State, now: Timestamp) -> Result<Plan, Error> {
        let began = match &state.claim.standing {
            Standing::Held { record, .. } => Some(&**record),
            _ => None,
        };
        let State { claim: Claim { standing, presented }, intent, user_agent, .. } = state;
        let (presented, user_agent) = (presented.as_ref(), user_agent.as_deref());
        let request = Request { standing, intent, presented, began, user_agent };
        decide(&self.engine, &request, self.arrived, now, false)
    }

    /// Takes what is wanted along: what is wanted from here on is another commit's.
    pub(crate) fn commit(&self, state: &mut State) -> Commit {
        // Who only read was active when the session was loaded. If nothing was due then, that is all: most requests
        // need no more, and no look at the clock. Whatever is stored or sent is decided with the time as it is now.
        let is_settled =
            is_settled(&state.claim.standing, &state.intent, &self.engine.policy, state.loaded_at);
        if is_settled && !state.is_fading {
            return Commit::done(Ok(Outcome::unchanged()));
        }
        let now = self.engine.now();
        if state.is_outdated(now) && !self.engine.is_carried {
            let work = self.work(state, now, None);
            return self.run(work, None);
        }
        match self.decide(state, now) {
            Err(error) => {
                log(&error);
                Commit::done(Err(error))
            }
            Ok(Plan { action: Action::Nothing, cookie: None }) if !state.is_fading => {
                Commit::done(Ok(Outcome::unchanged()))
            }
            Ok(plan) if self.engine.is_carried => self.commit_carried(state, now, plan),
            Ok(plan) => self.carry_out(state, now, plan),
        }
    }

    fn carry_out(&self, state: &mut State, now: Timestamp, plan: Plan) -> Commit {
        match replace_at_once(&self.engine, &state.claim.standing, &state.intent, plan, now) {
            Ok(outcome) => {
                state.intent = Intent::new(self.engine.data_bytes_max);
                Commit::done(Ok(outcome))
            }
            Err(begun) => {
                let work = self.work(state, now, begun.answered);
                self.run(work, Some(begun.plan))
            }
        }
    }

    fn work(&self, state: &mut State, now: Timestamp, answered: Option<Result<Written, Error>>) -> Work {
        let nothing = Intent::new(self.engine.data_bytes_max);
        let intent = std::mem::replace(&mut state.intent, nothing);
        Work::new(&self.engine, self.arrived, now, state, intent, answered)
    }

    fn run(&self, work: Work, plan: Option<Plan>) -> Commit {
        let (deadline, kind) = (self.engine.deadline, self.engine.store.kind());
        let (engine, is_reading) = (Arc::clone(&self.engine), work.is_reading());
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

impl State {
    pub(crate) fn is_loaded(&self) -> bool {
        self.phase != Phase::Untouched && !matches!(self.claim.standing, Standing::Degraded)
    }

    /// Whether the record, as it was loaded, has expired since. Other requests may have kept the session alive
    /// meanwhile, so nothing can be decided from it.
    fn is_outdated(&self, now: Timestamp) -> bool {
        matches!(&self.claim.standing, Standing::Held { record, .. } if !record.is_alive(now))
    }

    /// The record that the handler sees.
    pub(crate) fn record(&self) -> Option<&Arc<Record>> {
        match &self.claim.standing {
            Standing::Held { record, .. } if self.intent.end.is_none() => Some(record),
            _ => None,
        }
    }

    /// The data as loaded, and what is wanted of it: after an end, a new session's.
    pub(crate) fn split(&mut self) -> (&Data, &mut Intent) {
        static EMPTY: std::sync::LazyLock<Data> = std::sync::LazyLock::new(Data::new);
        let loaded = match &self.claim.standing {
            Standing::Held { record, .. } if self.intent.end.is_none() => &record.data,
            _ => &*EMPTY,
        };
        let intent = match self.intent {
            Intent { end: Some(_), then: Some(ref mut then), .. } => then,
            ref mut intent => intent,
        };
        (loaded, intent)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("is_loaded", &self.shared.state.lock().is_loaded())
            .finish_non_exhaustive()
    }
}
