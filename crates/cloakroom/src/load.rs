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
    event::{EventKind, Rejection},
    exchange::{Shared, State},
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
            let mut loaded = self.engine.call_at_once(self.engine.store.load(token.id(), now))?;
            if let Loaded::Found(record) = &loaded
                && record.expires().since(now) < ENDS_SOON
            {
                // To the millisecond where it could make a difference.
                now = self.engine.now();
                loaded = self.engine.call_at_once(self.engine.store.load(token.id(), now))?;
            }
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
        self.settle(state, claim, user_agent, now);
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
        (state.standing, state.loaded_at) = (standing, now);
        self.open(&mut state);
        Ok(())
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
