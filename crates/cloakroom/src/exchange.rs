//! One request's way through its session: load, then commit. For adapters.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use cloakroom_core::{
    Data, Record, Timestamp, Token,
    carried::Stamp,
    exchange::{Action, EndReason, Intent, Plan, Standing},
    record::Presented,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    Error, Session, Sessions,
    client::Client,
    commit::{Request, Work, decide},
    deadline::within,
    event::{EventKind, Rejection},
    sessions::Engine,
    store::{Loaded, Written},
};

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
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) loaded_at: Timestamp,
    pub(crate) standing: Standing,
    pub(crate) presented: Option<Token>,
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
        let state = State {
            phase: Phase::Untouched,
            loaded_at: Timestamp::ZERO,
            standing: Standing::Absent,
            presented: None,
            user_agent: None,
            intent: Intent::new(engine.data_bytes_max),
            stamp: Stamp::default(),
            is_fading: false,
            parts: 1,
        };
        let shared = Shared { engine: Arc::clone(engine), arrived: engine.now(), state: Mutex::new(state) };
        Self { shared: Arc::new(shared) }
    }

    /// Whether this exchange is with these sessions.
    #[must_use]
    pub fn is_of(&self, sessions: &Sessions) -> bool {
        Arc::ptr_eq(&self.shared.engine, &sessions.engine)
    }

    /// The request's session, loaded at the first call. `cookies` are the values of its `Cookie` headers, and
    /// `user_agent` that of `User-Agent`; a token is looked for nowhere else.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the store fails or doesn't answer in time: the request must fail then, and its
    /// cookie be left alone.
    pub async fn session<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        user_agent: Option<&[u8]>,
    ) -> Result<Session, Error> {
        let shared = &*self.shared;
        if !shared.state.lock().is_loaded() {
            shared.engine.start_sweeping();
            if let Some(carrier) = shared.engine.carrier() {
                shared.open_carried(carrier, cookies, user_agent)?;
                return Ok(Session::new(Arc::clone(&self.shared)));
            }
            let tokens = shared.engine.cookie.tokens(cookies);
            if shared.engine.store.is_immediate() {
                shared.load_at_once(tokens, user_agent)?;
            } else {
                let tokens: Vec<_> = tokens.collect();
                Box::pin(shared.load(tokens, user_agent)).await?;
            }
        }
        Ok(Session::new(Arc::clone(&self.shared)))
    }

    /// As [`Exchange::session`], but a store that fails leaves the request with a session that
    /// [`Session::is_degraded`]: empty, and refusing changes. For routes that can live without one.
    pub async fn session_or_degraded<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        user_agent: Option<&[u8]>,
    ) -> Session {
        match self.session(cookies, user_agent).await {
            Ok(session) => session,
            Err(_) => {
                let mut state = self.shared.state.lock();
                state.standing = Standing::Degraded;
                state.phase = Phase::Open;
                drop(state);
                Session::new(Arc::clone(&self.shared))
            }
        }
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
        let mut state = self.shared.state.lock();
        match state.phase {
            Phase::Untouched => {
                return Commit::done(Ok(Outcome { was_loaded: false, ..Outcome::unchanged() }));
            }
            Phase::Committed | Phase::Discarded => return Commit::done(Ok(Outcome::unchanged())),
            Phase::Open => state.phase = Phase::Committed,
        }
        self.shared.commit(&mut state)
    }
}

impl Shared {
    async fn load(&self, tokens: Vec<Token>, user_agent: Option<&[u8]>) -> Result<(), Error> {
        let (mut claim, now) = (Claim::default(), self.engine.now());
        for token in tokens {
            let standing = self.look_up(&token, now).await?;
            if claim.is_settled_by(standing, token) {
                break;
            }
        }
        self.open(claim, user_agent, now, Stamp::default());
        Ok(())
    }

    /// As [`Shared::load`], without a future for what a store in memory never makes anybody wait for.
    fn load_at_once(
        &self,
        tokens: impl Iterator<Item = Token>,
        user_agent: Option<&[u8]>,
    ) -> Result<(), Error> {
        let (mut claim, now) = (Claim::default(), self.engine.now());
        for token in tokens {
            let loaded = self.engine.call_at_once(self.engine.store.load(token.id(), now))?;
            let standing = match self.judge(&token, loaded, now)? {
                Judged::Stands(standing) => standing,
                Judged::Stolen(record) => {
                    let tombstone = self.engine.tombstone(record.id, EndReason::Reuse, now)?;
                    let written = self.engine.call_at_once(self.engine.store.end(tombstone, None, now))?;
                    self.tell_reuse(&record, written)
                }
            };
            if claim.is_settled_by(standing, token) {
                break;
            }
        }
        self.open(claim, user_agent, now, Stamp::default());
        Ok(())
    }

    async fn look_up(&self, token: &Token, now: Timestamp) -> Result<Standing, Error> {
        let loaded = self.engine.call(self.engine.store.load(token.id(), now)).await?;
        match self.judge(token, loaded, now)? {
            Judged::Stands(standing) => Ok(standing),
            Judged::Stolen(record) => {
                let tombstone = self.engine.tombstone(record.id, EndReason::Reuse, now)?;
                let written = self.engine.call(self.engine.store.end(tombstone, None, now)).await?;
                Ok(self.tell_reuse(&record, written))
            }
        }
    }

    /// What a presented token is.
    fn judge(&self, token: &Token, loaded: Loaded, now: Timestamp) -> Result<Judged, Error> {
        let engine = &*self.engine;
        let reject = |rejection| engine.tell(EventKind::Rejected(rejection), Some(token.id()), None);
        let record = match loaded {
            Loaded::Found(record) if engine.believes(&record, now)? => record,
            Loaded::Found(_) => return Ok(Judged::Stands(Standing::Absent)),
            Loaded::Ended(_) => {
                reject(Rejection::Ended);
                return Ok(Judged::Stands(Standing::Ended));
            }
            Loaded::Absent => {
                reject(Rejection::Unknown);
                return Ok(Judged::Stands(Standing::Absent));
            }
        };
        let (keys, grace) = (engine.authority_keys(), engine.policy.grace);
        let authority = &record.authority;
        let presented = authority.examine_under(keys.as_deref(), &record.id, token.secret(), grace, now);
        match presented {
            Presented::Unknown => reject(Rejection::WrongSecret),
            Presented::Superseded => reject(Rejection::Superseded),
            Presented::Reused => {
                reject(Rejection::Reused);
                return Ok(Judged::Stolen(record));
            }
            Presented::Current | Presented::Successor | Presented::Previous => {}
        }
        Ok(Judged::Stands(Standing::of(record, presented).unwrap_or(Standing::Ended)))
    }

    fn tell_reuse(&self, record: &Record, written: Written) -> Standing {
        if written == Written::Stored {
            self.engine.tell(EventKind::Ended(EndReason::Reuse), Some(record.id), record.subject.as_ref());
        }
        Standing::Ended
    }

    pub(crate) fn open(&self, claim: Claim, user_agent: Option<&[u8]>, now: Timestamp, stamp: Stamp) {
        let user_agent = match &claim.standing {
            Standing::Held { record, .. } if record.client.is_some() => None,
            _ => user_agent.map(Client::copy_user_agent),
        };
        let mut state = self.state.lock();
        if !state.is_loaded() {
            (state.standing, state.presented, state.user_agent) =
                (claim.standing, claim.presented, user_agent);
            (state.phase, state.loaded_at, state.stamp) = (Phase::Open, now, stamp);
        }
    }

    /// Loads the session once more, for a handle that goes on after its commit.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        if let Some(carrier) = self.engine.carrier() {
            return self.recheck_carried(carrier);
        }
        let (presented, now) = (self.state.lock().presented.clone(), self.engine.now());
        let standing = match &presented {
            Some(token) => self.look_up(token, now).await?,
            None => Standing::Absent,
        };
        let mut state = self.state.lock();
        (state.standing, state.phase, state.loaded_at) = (standing, Phase::Open, now);
        Ok(())
    }

    /// Decides before anything is moved: most requests only read, and need no more than this.
    fn decide(&self, state: &State, now: Timestamp) -> Result<Plan, Error> {
        let began = match &state.standing {
            Standing::Held { record, .. } => Some(&**record),
            _ => None,
        };
        let State { standing, intent, presented, user_agent, .. } = state;
        let (presented, user_agent) = (presented.as_ref(), user_agent.as_deref());
        let request = Request { standing, intent, presented, began, user_agent };
        decide(&self.engine, &request, self.arrived, now, false)
    }

    fn commit(&self, state: &mut State) -> Commit {
        // Who only read was active when the session was loaded; asking the clock again would tell nothing more.
        let now = if state.intent.is_empty() { state.loaded_at } else { self.engine.now() };
        if state.is_outdated(now) && !self.engine.is_carried {
            let work = self.work(state, now);
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
            Ok(plan) => match self.work(state, now).try_at_once(plan) {
                Ok(outcome) => Commit::done(Ok(outcome)),
                Err(left) => self.run(left.0, Some(left.1)),
            },
        }
    }

    fn work(&self, state: &mut State, now: Timestamp) -> Work {
        let nothing = Intent::new(self.engine.data_bytes_max);
        let intent = std::mem::replace(&mut state.intent, nothing);
        Work::new(&self.engine, self.arrived, now, state, intent)
    }

    fn run(&self, work: Work, plan: Option<Plan>) -> Commit {
        let (deadline, kind) = (self.engine.deadline, self.engine.store.kind());
        let (engine, is_reading) = (Arc::clone(&self.engine), work.is_reading());
        Commit::running(async move {
            let result = within(deadline, kind, work.run(plan)).await;
            match &result {
                Err(error) if error.is_unavailable() => engine.tell_failure(error),
                Err(error) if !error.is_lost() => log(error),
                _ => {}
            }
            // Noted activity and rotation are housekeeping: they never fail a request that only reads.
            if is_reading { result.or_else(|_| Ok(Outcome::unchanged())) } else { result }
        })
    }
}

/// What a presented token turned out to be.
enum Judged {
    Stands(Standing),
    /// A secret that was rotated out came back after its grace: thief and owner can't be told apart, so the session
    /// ends for both. That isn't bound to a version: whatever else happened meanwhile, the secret was still stolen.
    Stolen(Arc<Record>),
}

/// What a request's tokens come to.
pub(crate) struct Claim {
    standing: Standing,
    presented: Option<Token>,
}

impl Default for Claim {
    fn default() -> Self {
        Self { standing: Standing::Absent, presented: None }
    }
}

impl Claim {
    /// Takes one more token in: the first that is honoured settles it. Until then the first counts that once was
    /// honoured, for its request mustn't create a session.
    pub(crate) fn is_settled_by(&mut self, standing: Standing, token: Token) -> bool {
        let is_held = matches!(standing, Standing::Held { .. });
        if is_held || matches!(self.standing, Standing::Absent) {
            (self.standing, self.presented) = (standing, Some(token));
        }
        is_held
    }
}

/// What only the application's developers can mend.
fn log(error: &Error) {
    tracing::error!(target: "cloakroom", "the session couldn't be stored: {error:?}");
}

impl State {
    fn is_loaded(&self) -> bool {
        self.phase != Phase::Untouched && !matches!(self.standing, Standing::Degraded)
    }

    /// Whether the record, as it was loaded, has expired since. Other requests may have kept the session alive
    /// meanwhile, so nothing can be decided from it.
    fn is_outdated(&self, now: Timestamp) -> bool {
        matches!(&self.standing, Standing::Held { record, .. } if !record.is_alive(now))
    }

    /// The record that the handler sees.
    pub(crate) fn record(&self) -> Option<&Arc<Record>> {
        match &self.standing {
            Standing::Held { record, .. } if self.intent.end.is_none() => Some(record),
            _ => None,
        }
    }

    /// The data as loaded, and what is wanted of it: after an end, a new session's.
    pub(crate) fn split(&mut self) -> (&Data, &mut Intent) {
        static EMPTY: std::sync::LazyLock<Data> = std::sync::LazyLock::new(Data::new);
        let loaded = match &self.standing {
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

/// What a response has to carry.
#[derive(Debug)]
pub struct Outcome {
    /// The value of a `Set-Cookie` header. It holds a token: nothing may log it, and the response needs
    /// `Cache-Control: no-store`.
    pub set_cookie: Option<SetCookie>,
    /// The values of further `Set-Cookie` headers, where a sealed session is cut over several cookies.
    pub more_cookies: Vec<SetCookie>,
    /// Whether the session was loaded, so that the response depends on the cookie (`Vary: Cookie`).
    pub was_loaded: bool,
}

impl Outcome {
    pub(crate) fn unchanged() -> Self {
        Self { set_cookie: None, more_cookies: Vec::new(), was_loaded: true }
    }

    pub(crate) fn setting(cookies: Vec<String>) -> Self {
        let mut cookies = cookies.into_iter().map(SetCookie);
        Self { set_cookie: cookies.next(), more_cookies: cookies.collect(), was_loaded: true }
    }
}

/// The value of a `Set-Cookie` header; `Debug` hides it.
pub struct SetCookie(pub(crate) String);

impl SetCookie {
    /// The header's value. It grants access to the session.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SetCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetCookie(…)")
    }
}

/// A commit under way. Dropping it doesn't stop it.
#[must_use = "a commit must be waited for before the response is sent"]
pub struct Commit(Progress);

type Running = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send>>;

enum Progress {
    Done(Option<Result<Outcome, Error>>),
    Running(Running),
}

impl Commit {
    pub(crate) fn done(result: Result<Outcome, Error>) -> Self {
        Self(Progress::Done(Some(result)))
    }

    pub(crate) fn running(work: impl Future<Output = Result<Outcome, Error>> + Send + 'static) -> Self {
        Self(Progress::Running(Box::pin(work)))
    }
}

impl Future for Commit {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Progress::Done(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                // Asked again after it was ready, which futures may answer as they like.
                None => Poll::Pending,
            },
            Progress::Running(work) => {
                let result = work.as_mut().poll(context);
                if result.is_ready() {
                    self.0 = Progress::Done(None);
                }
                result
            }
        }
    }
}

/// The client has gone. What its request changed is still to be stored: a payment's session must not depend on a
/// connection. The rest of the work gets a task of its own, which the deadline bounds.
impl Drop for Commit {
    fn drop(&mut self) {
        if let Progress::Running(work) = std::mem::replace(&mut self.0, Progress::Done(None))
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("is_loaded", &self.shared.state.lock().is_loaded())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commit")
    }
}
