//! From a request's cookies to where it stands.

use std::{iter, sync::Arc, time::Duration};

use cloakroom_core::{
    Record, Timestamp, Token,
    exchange::{EndReason, Seat, Standing},
    record::Presented,
};

use crate::{
    Error,
    client::Client,
    commit::ATTEMPTS_MAX,
    deadline::within,
    event::{EventKind, Rejection},
    exchange::{Opened, Shared},
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
        let (mut claim, now) = (Claim::ABSENT, self.engine.now());
        for token in tokens {
            self.look_up(&mut claim, &token, now).await?;
            if claim.is_held() {
                break;
            }
        }
        self.open(|| Opened::of(claim, user_agent, now));
        Ok(())
    }

    /// As [`Shared::load`], without a future, for sessions that nobody has to wait for: those in this process's memory,
    /// and those in their cookies.
    pub(crate) fn load_at_once<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        if self.is_loaded() {
            return Ok(());
        }
        self.engine.start_sweeping();
        if let Some(carrier) = self.engine.carrier() {
            let opened = self.open_carried(carrier, cookies, user_agent)?;
            self.open(|| opened);
            return Ok(());
        }
        let now = self.engine.just_now();
        let mut tokens = self.engine.cookie.values(cookies).filter_map(|value| self.engine.parse(value));
        let Some(token) = tokens.next() else {
            self.open(|| Opened::of(Claim::ABSENT, user_agent, now));
            return Ok(());
        };
        let Some(record) = self.engine.find_current(&token, now) else {
            return self.look_up_all_at_once(iter::once(token).chain(tokens), user_agent, now);
        };
        let user_agent = Opened::user_agent_beside(&record, user_agent);
        // In its place, for it is large.
        self.open(|| {
            let claim =
                Claim { standing: Standing::Held { record, seat: Seat::Current }, presented: Some(token) };
            Opened { user_agent, ..Opened::new(claim, now) }
        });
        Ok(())
    }

    #[inline(never)]
    fn look_up_all_at_once<'a>(
        &self,
        tokens: impl Iterator<Item = Token>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
        mut now: Timestamp,
    ) -> Result<(), Error> {
        let mut claim = Claim::ABSENT;
        for token in tokens {
            self.look_up_at_once(&mut claim, &token, &mut now)?;
            if claim.is_held() {
                break;
            }
        }
        self.open(|| Opened::of(claim, user_agent, now));
        Ok(())
    }

    fn look_up_at_once(&self, claim: &mut Claim, token: &Token, now: &mut Timestamp) -> Result<(), Error> {
        let (engine, store) = (&*self.engine, &self.engine.store);
        for _ in 0..ATTEMPTS_MAX {
            let mut loaded = engine.call_at_once(store.load(token.id(), *now))?;
            if let Loaded::Found(record) = &loaded
                && record.expires().since(*now) < ENDS_SOON
            {
                // To the millisecond where it could make a difference.
                *now = engine.now();
                loaded = engine.call_at_once(store.load(token.id(), *now))?;
            }
            let Some(stolen) = self.judge(claim, token, loaded)? else { return Ok(()) };
            let tombstone = engine.tombstone(stolen.id, EndReason::Reuse, *now)?;
            let written = engine.call_at_once(store.end(tombstone, Some(stolen.version), *now))?;
            if engine.tell_reuse(&stolen, written) {
                claim.take(Standing::Ended, token);
                return Ok(());
            }
        }
        Err(Error::contended(ATTEMPTS_MAX))
    }

    async fn look_up(&self, claim: &mut Claim, token: &Token, now: Timestamp) -> Result<(), Error> {
        for _ in 0..ATTEMPTS_MAX {
            let loaded = self.engine.store.load(token.id(), now).await?;
            let Some(stolen) = self.judge(claim, token, loaded)? else { return Ok(()) };
            // A thief who hangs up doesn't stop the alarm.
            if ToItsEnd::new(self.engine.end_stolen(stolen, now)).await? {
                claim.take(Standing::Ended, token);
                return Ok(());
            }
        }
        Err(Error::contended(ATTEMPTS_MAX))
    }

    /// What a presented token is.
    ///
    /// Answers the record of a secret that was rotated out and came back after its grace: thief and owner can't be told
    /// apart, so the session is to end for both.
    #[inline]
    fn judge(&self, claim: &mut Claim, token: &Token, loaded: Loaded) -> Result<Option<Arc<Record>>, Error> {
        let engine = &*self.engine;
        let record = match loaded {
            Loaded::Found(record) => record,
            Loaded::Ended(_) => {
                self.reject(claim, token, Rejection::Ended, Standing::Ended);
                return Ok(None);
            }
            Loaded::Absent => {
                self.reject(claim, token, Rejection::Unknown, Standing::Absent);
                return Ok(None);
            }
        };
        if !engine.believes(&record)? {
            claim.take(Standing::Absent, token);
            return Ok(None);
        }
        let (keys, grace) = (engine.authority_keys(), engine.policy.grace);
        let authority = &record.authority;
        // The grace bears the way here. What the handler did before it asked for the session doesn't count.
        match authority.examine_under(keys.as_deref(), &record.id, token.secret(), grace, self.arrived) {
            Presented::Current => claim.hold(record, Seat::Current, token),
            Presented::Successor => claim.hold(record, Seat::Successor, token),
            Presented::SteppedUp(place) => claim.hold(record, Seat::SteppedUp(place), token),
            Presented::Previous => claim.hold(record, Seat::Previous, token),
            Presented::Unknown => self.reject(claim, token, Rejection::WrongSecret, Standing::Absent),
            Presented::Superseded => {
                self.reject(claim, token, Rejection::Superseded, Standing::Superseded);
            }
            Presented::Reused => return Ok(Some(record)),
        }
        Ok(None)
    }

    #[cold]
    fn reject(&self, claim: &mut Claim, token: &Token, rejection: Rejection, standing: Standing) {
        self.engine.tell(EventKind::Rejected(rejection), Some(token.id()), None);
        claim.take(standing, token);
    }

    /// Loads the session once more, for a handle that goes on after its commit. What the handle has been told to change
    /// since then was built on the session as it was: then it stays that, and the next commit merges.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        if let Some(carrier) = self.engine.carrier() {
            return self.recheck_carried(carrier);
        }
        let (presented, now) = (self.lock().seen().opened.claim.presented.clone(), self.engine.now());
        let mut claim = Claim::ABSENT;
        if let Some(token) = &presented {
            let (deadline, kind) = (self.engine.deadline, self.engine.store.kind());
            let looking = within(deadline, kind, self.look_up(&mut claim, token, now));
            looking.await.inspect_err(|error| self.engine.tell_failure(error))?;
            // Whoever held a session holds one that ended, however long ago that was.
            if matches!(claim.standing, Standing::Absent) {
                claim.standing = Standing::Ended;
            }
        }
        let mut changing = self.lock();
        if changing.seen().intent.is_empty() {
            changing.reopen(Opened::new(claim, now));
        }
        Ok(())
    }
}

impl Engine {
    /// The token in a cookie's value. What is none is told of, and costs no store call.
    #[inline]
    pub(crate) fn parse(&self, value: &[u8]) -> Option<Token> {
        let token = Token::parse(value);
        if token.is_none() && !value.is_empty() {
            self.tell(EventKind::Rejected(Rejection::Malformed), None, None);
        }
        token
    }

    /// The session of a token that plainly is its current one: most are, and no more than this is asked of them. `None`
    /// says nothing: then the token is looked up as any other.
    #[inline]
    fn find_current(&self, token: &Token, now: Timestamp) -> Option<Arc<Record>> {
        if self.keyed.is_some() {
            return None;
        }
        let record = self.store.find(token.id(), now)?;
        let is_plain = record.expires().since(now) >= ENDS_SOON && !record.authority.is_keyed();
        (is_plain && record.authority.is_current(None, &record.id, token.secret())).then_some(record)
    }

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

    #[cold]
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

/// What a request's tokens come to. The first that is honoured settles it; until then the first counts that once was
/// honoured, for its request mustn't create a session.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) standing: Standing,
    pub(crate) presented: Option<Token>,
}

impl Opened {
    pub(crate) fn of<'a>(
        claim: Claim,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
        now: Timestamp,
    ) -> Self {
        let user_agent = match &claim.standing {
            Standing::Held { record, .. } => Self::user_agent_beside(record, user_agent),
            _ => user_agent.into_iter().next().map(Client::copy_user_agent),
        };
        Self { user_agent, ..Self::new(claim, now) }
    }

    #[inline]
    fn user_agent_beside<'a>(
        record: &Record,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<Box<[u8]>> {
        if record.client.is_some() {
            None
        } else {
            user_agent.into_iter().next().map(Client::copy_user_agent)
        }
    }
}

impl Claim {
    pub(crate) const ABSENT: Self = Self { standing: Standing::Absent, presented: None };

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.standing, Standing::Held { .. })
    }

    pub(crate) fn hold(&mut self, record: Arc<Record>, seat: Seat, token: &Token) {
        self.standing = Standing::Held { record, seat };
        self.presented = Some(token.clone());
    }

    pub(crate) fn take(&mut self, standing: Standing, token: &Token) {
        if matches!(self.standing, Standing::Absent) {
            (self.standing, self.presented) = (standing, Some(token.clone()));
        }
    }
}
