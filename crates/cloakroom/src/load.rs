//! From a request's cookies to where it stands.

use std::{sync::Arc, time::Duration};

use cloakroom_core::{
    Record, Timestamp, Token,
    exchange::{EndReason, Standing},
    record::Presented,
};

use crate::{
    Error,
    client::Client,
    commit::ATTEMPTS_MAX,
    deadline::within,
    event::{EventKind, Rejection},
    exchange::{Shared, State},
    outcome::ToItsEnd,
    sessions::Engine,
    store::{Loaded, Written},
};

/// Before this time from its end, a session is judged by the precise clock: the other one is some milliseconds behind.
const ENDS_SOON: Duration = Duration::from_secs(1);

impl Shared {
    pub(crate) async fn load<'a>(
        &self,
        tokens: Vec<Token>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        self.engine.start_sweeping();
        let (mut claim, now) = (Claim::default(), self.engine.now());
        for token in tokens {
            let standing = self.look_up(&token, now).await?;
            if claim.is_settled_by(standing, token) {
                break;
            }
        }
        let mut state = self.state.lock();
        if !state.is_loaded() {
            self.settle(&mut state, claim, user_agent, now);
        }
        Ok(())
    }

    /// As [`Shared::load`], without a future, for sessions that nobody has to wait for: those in this process's memory,
    /// and those in their cookies. So the request's state is locked once.
    pub(crate) fn load_at_once<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        let state = &mut *self.state.lock();
        if state.is_loaded() {
            return Ok(());
        }
        self.engine.start_sweeping();
        if let Some(carrier) = self.engine.carrier() {
            return self.open_carried(state, carrier, self.engine.cookie.values(cookies), user_agent);
        }
        let (mut claim, mut now) = (Claim::default(), self.engine.just_now());
        for token in self.engine.cookie.tokens(cookies) {
            let standing = self.look_up_at_once(&token, &mut now)?;
            if claim.is_settled_by(standing, token) {
                break;
            }
        }
        self.settle(state, claim, user_agent, now);
        Ok(())
    }

    fn look_up_at_once(&self, token: &Token, now: &mut Timestamp) -> Result<Standing, Error> {
        let engine = &*self.engine;
        for _ in 0..ATTEMPTS_MAX {
            let mut loaded = engine.call_at_once(engine.store.load(token.id(), *now))?;
            if let Loaded::Found(record) = &loaded
                && record.expires().since(*now) < ENDS_SOON
            {
                // To the millisecond where it could make a difference.
                *now = engine.now();
                loaded = engine.call_at_once(engine.store.load(token.id(), *now))?;
            }
            let record = match self.judge(token, loaded, *now)? {
                Judged::Stands(standing) => return Ok(standing),
                Judged::Stolen(record) => record,
            };
            let tombstone = engine.tombstone(record.id, EndReason::Reuse, *now)?;
            let written = engine.call_at_once(engine.store.end(tombstone, Some(record.version), *now))?;
            if engine.tell_reuse(&record, written) {
                return Ok(Standing::Ended);
            }
        }
        Err(Error::contended(ATTEMPTS_MAX))
    }

    async fn look_up(&self, token: &Token, now: Timestamp) -> Result<Standing, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let loaded = self.engine.store.load(token.id(), now).await?;
            let record = match self.judge(token, loaded, now)? {
                Judged::Stands(standing) => return Ok(standing),
                Judged::Stolen(record) => record,
            };
            // A thief who hangs up doesn't stop the alarm.
            let ending = self.engine.end_stolen(record, now);
            if ToItsEnd::new(ending).await? {
                return Ok(Standing::Ended);
            }
        }
        Err(Error::contended(ATTEMPTS_MAX))
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
        // The grace bears the way here. What the handler did before it asked for the session doesn't count.
        let arrived = self.arrived;
        let presented = authority.examine_under(keys.as_deref(), &record.id, token.secret(), grace, arrived);
        match presented {
            Presented::Unknown => reject(Rejection::WrongSecret),
            Presented::Superseded => reject(Rejection::Superseded),
            Presented::Reused => return Ok(Judged::Stolen(record)),
            Presented::Current | Presented::Successor | Presented::SteppedUp(_) | Presented::Previous => {}
        }
        Ok(Judged::Stands(Standing::of(record, presented).unwrap_or(Standing::Ended)))
    }

    /// Opens the session to the handler.
    pub(crate) fn settle<'a>(
        &self,
        state: &mut State,
        claim: Claim,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
        now: Timestamp,
    ) {
        state.user_agent = match &claim.standing {
            Standing::Held { record, .. } if record.client.is_some() => None,
            _ => user_agent.into_iter().next().map(Client::copy_user_agent),
        };
        (state.standing, state.presented, state.loaded_at) = (claim.standing, claim.presented, now);
        self.open(state);
    }

    /// Loads the session once more, for a handle that goes on after its commit. What the handle has been told to change
    /// since then was built on the session as it was: then it stays that, and the next commit merges.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        if let Some(carrier) = self.engine.carrier() {
            return self.recheck_carried(carrier);
        }
        let (presented, now) = (self.state.lock().presented.clone(), self.engine.now());
        let standing = match &presented {
            Some(token) => {
                let (deadline, kind) = (self.engine.deadline, self.engine.store.kind());
                let looking = within(deadline, kind, self.look_up(token, now));
                looking.await.inspect_err(|error| self.engine.tell_failure(error))?
            }
            None => Standing::Absent,
        };
        let mut state = self.state.lock();
        if state.intent.is_empty() {
            (state.standing, state.loaded_at) = (standing, now);
        }
        Ok(())
    }
}

impl Engine {
    /// Ends a session whose secret was stolen, if it is still as it was looked at: a login since then made the secret
    /// worthless, and the session is its owner's. Answers whether it has ended.
    fn end_stolen(
        self: &Arc<Self>,
        record: Arc<Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Error>> + use<> {
        let engine = Arc::clone(self);
        async move {
            let tombstone = engine.tombstone(record.id, EndReason::Reuse, now)?;
            let ending = engine.store.end(tombstone, Some(record.version), now);
            let written = within(engine.deadline, engine.store.kind(), ending).await?;
            Ok(engine.tell_reuse(&record, written))
        }
    }

    fn tell_reuse(&self, record: &Record, written: Written) -> bool {
        if written == Written::Conflict {
            return false;
        }
        self.tell(EventKind::Rejected(Rejection::Reused), Some(record.id), None);
        if written == Written::Stored {
            self.tell(EventKind::Ended(EndReason::Reuse), Some(record.id), record.subject.as_ref());
        }
        true
    }
}

/// What a presented token turned out to be.
enum Judged {
    Stands(Standing),
    /// A secret that was rotated out came back after its grace: thief and owner can't be told apart, so the session
    /// ends for both.
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
