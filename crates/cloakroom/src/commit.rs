//! Carrying a plan out: one atomic store call, and another attempt where it met a conflict.

use std::{sync::Arc, time::Duration};

use cloakroom_core::{
    Record, Timestamp, Token,
    exchange::{Action, Circumstances, CookieChange, EndReason, Intent, Plan, Standing, plan},
};

use crate::{
    Error,
    change::Change,
    client::Client,
    event::EventKind,
    exchange::{At, Opened, Outcome, SiteData},
    load::Claim,
    sessions::Engine,
    store::{Loaded, Written},
};

/// A request's commit: everything it needs, owned, so that it can outlive the request.
pub(crate) struct Work {
    pub(crate) engine: Arc<Engine>,
    pub(crate) arrived: Timestamp,
    pub(crate) now: Timestamp,
    standing: Standing,
    /// The record whose authority the request began under.
    began: Option<Arc<Record>>,
    presented: Option<Token>,
    user_agent: Option<Box<[u8]>>,
    pub(crate) intent: Intent,
    /// Whether the record was loaded again since the handler saw it.
    is_fresh: bool,
    /// What the store answered at once to the first change.
    pub(crate) answered: Option<Result<Written, Error>>,
    /// What the browser is to forget, once the session has ended.
    clear_site_data: Option<SiteData>,
}

/// How often a change is planned anew. Only writers in other processes cause more than two, and the deadline comes
/// first where they are that many.
pub(crate) const ATTEMPTS_MAX: u32 = 64;

enum Step {
    Done(Outcome),
    /// The record is another by now: load it.
    Stale,
    /// The standing is known to be another.
    Replan,
}

/// A request's side of a decision.
pub(crate) struct Request<'a> {
    pub(crate) standing: &'a Standing,
    pub(crate) intent: &'a Intent,
    pub(crate) presented: Option<&'a Token>,
    pub(crate) began: Option<&'a Record>,
    pub(crate) user_agent: Option<&'a [u8]>,
}

/// What must be stored and sent.
pub(crate) fn decide(
    engine: &Engine,
    request: &Request<'_>,
    arrived: Timestamp,
    now: Timestamp,
    is_fresh: bool,
) -> Result<Plan, Error> {
    let client = request.client();
    let keys = engine.authority_keys();
    let mut circumstances = Circumstances {
        policy: &engine.policy,
        presented: request.presented.map(Token::secret),
        keys: keys.as_deref(),
        arrived,
        now,
        client: client.as_ref(),
        is_fresh,
        entropy: &mut |buffer| {
            let filled = engine.sources.entropy.fill(buffer);
            filled.map_err(|error| cloakroom_core::Error::entropy(error.to_string()))
        },
    };
    Ok(plan(request.standing, request.intent, &mut circumstances)?)
}

impl Request<'_> {
    /// What to call the client in a session that begins: what the one before says, or the browser itself.
    fn client(&self) -> Option<Arc<str>> {
        let begins = !matches!(self.standing, Standing::Held { .. });
        if !begins && self.intent.login.is_none() && self.intent.end.is_none() {
            return None;
        }
        let told = self.began.and_then(|record| record.client.clone());
        let read =
            || self.user_agent.and_then(Client::from_user_agent).map(|client| client.describe().into());
        told.or_else(read)
    }
}

/// A change as it was planned, and what the store answered if it was asked already.
pub(crate) struct Begun {
    pub(crate) plan: Plan,
    pub(crate) answered: Option<Result<Written, Error>>,
}

/// Stores a plain change without a future, where the store answers at once. Most changes meet no conflict, and a future
/// with room for all that could go wrong would be the most expensive part of them. Boxed is what is left to do.
pub(crate) fn replace_at_once(
    engine: &Engine,
    standing: &Standing,
    intent: &Intent,
    plan: Plan,
    now: Timestamp,
) -> Result<Outcome, Box<Begun>> {
    let (record, stored) = match (&plan.action, standing) {
        (Action::Replace { record, .. }, Standing::Held { record: stored, .. })
            if engine.is_immediate && intent.login.is_none() =>
        {
            (record, stored)
        }
        _ => return Err(Box::new(Begun { plan, answered: None })),
    };
    match engine.store.replace(Arc::clone(record), stored.version, now).now() {
        Ok(Ok(Written::Stored)) => {
            engine.tell_replaced(intent, stored, record, plan.cookie.is_some());
            Ok(engine.outcome(plan.cookie))
        }
        answered => Err(Box::new(Begun { plan, answered: answered.ok() })),
    }
}

impl Work {
    pub(crate) fn new(
        at: At<'_>,
        opened: &Opened,
        intent: Intent,
        now: Timestamp,
        answered: Option<Result<Written, Error>>,
    ) -> Self {
        let Opened { claim: Claim { standing, presented }, user_agent, .. } = opened;
        let began = match standing {
            Standing::Held { record, .. } => Some(Arc::clone(record)),
            _ => None,
        };
        Self {
            engine: Arc::clone(at.engine),
            arrived: at.arrived,
            now,
            standing: standing.clone(),
            began,
            presented: presented.clone(),
            user_agent: user_agent.clone(),
            intent,
            is_fresh: false,
            answered,
            clear_site_data: None,
        }
    }

    /// Whether the request wants nothing of the session, so that whatever is to be stored can wait for the next one.
    pub(crate) fn is_reading(&self) -> bool {
        self.intent.is_empty()
    }

    fn plan(&self) -> Result<Plan, Error> {
        let began = self.began.as_deref();
        let Self { standing, intent, user_agent, arrived, now, is_fresh, .. } = self;
        let presented = self.presented.as_ref();
        let user_agent = user_agent.as_deref();
        decide(
            &self.engine,
            &Request { standing, intent, presented, began, user_agent },
            *arrived,
            *now,
            *is_fresh,
        )
    }

    /// Carries out the first plan, and others until one holds. Without a first one, the record is loaded again.
    pub(crate) async fn run(mut self, mut plan: Option<Plan>) -> Result<Outcome, Error> {
        let engine = Arc::clone(&self.engine);
        let mut turn = None;
        for attempt in 1..=ATTEMPTS_MAX {
            let step = match plan {
                Some(plan) => self.attempt(plan).await?,
                None => Step::Stale,
            };
            match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Replan => {}
                Step::Stale => {
                    if let (None, Some(id)) = (&turn, self.began.as_ref().map(|record| record.id))
                        && !self.is_reading()
                    {
                        turn = Some(engine.queue(id).lock().await);
                    }
                    Box::pin(async {
                        self.back_off(attempt).await?;
                        self.reload().await
                    })
                    .await?;
                }
            }
            self.now = engine.now();
            plan = Some(self.plan()?);
        }
        Err(Error::contended(ATTEMPTS_MAX))
    }

    async fn attempt(&mut self, plan: Plan) -> Result<Step, Error> {
        let Plan { action, cookie } = plan;
        match action {
            // A cookie without a write is a successor's, and only the record as it is now tells whether to send it.
            Action::Nothing | Action::Touch if cookie.is_some() && !self.is_fresh => Ok(Step::Stale),
            Action::Nothing => Ok(self.done(cookie)),
            Action::Touch => Ok(self.touch(cookie).await),
            Action::Create(record) => self.create(record, cookie).await,
            Action::Replace { record, is_required } => self.replace(record, is_required, cookie).await,
            Action::End(reason) => self.end(reason, cookie).await,
            Action::EndThenCreate(reason, record) => match self.end(reason, None).await? {
                Step::Done(_) => Box::pin(self.begin_anew(record, cookie)).await,
                step => Ok(step),
            },
            Action::Refuse => self.refuse(),
            Action::Unavailable => Err(Error::degraded()),
        }
    }

    /// Best effort: activity that couldn't be noted is noted by the next request.
    async fn touch(&mut self, cookie: Option<CookieChange>) -> Step {
        if let Some(began) = &self.began
            && let Err(error) = self.engine.store.touch(began.id, self.now, self.now).await
        {
            self.engine.tell_failure(&error);
        }
        self.done(cookie)
    }

    async fn create(&mut self, record: Arc<Record>, cookie: Option<CookieChange>) -> Result<Step, Error> {
        match self.apply(&Change::Create(&record)).await? {
            Written::Stored => {
                self.engine.tell(EventKind::Created, Some(record.id), record.subject.as_ref());
                Box::pin(self.confirm_login(&record)).await?;
                Ok(self.done(cookie))
            }
            // Somebody has this id: draw another.
            Written::Conflict | Written::Gone => Ok(Step::Replan),
        }
    }

    async fn replace(
        &mut self,
        record: Arc<Record>,
        is_required: bool,
        cookie: Option<CookieChange>,
    ) -> Result<Step, Error> {
        let Standing::Held { record: stored, .. } = &self.standing else { return Ok(Step::Stale) };
        let stored = Arc::clone(stored);
        match self.apply(&Change::Replace(&record, stored.version)).await {
            Ok(Written::Stored) => {
                self.engine.tell_replaced(&self.intent, &stored, &record, cookie.is_some());
                if self.intent.login.is_some() {
                    Box::pin(self.confirm_login(&record)).await?;
                }
                Ok(self.done(cookie))
            }
            Ok(Written::Conflict) => Ok(Step::Stale),
            Ok(Written::Gone) => Ok(self.gone()),
            Err(error) if is_required => Err(error),
            // Housekeeping that a later request will do; this one only read.
            Err(error) => {
                self.engine.tell_failure(&error);
                Ok(self.done(None))
            }
        }
    }

    async fn end(&mut self, reason: EndReason, cookie: Option<CookieChange>) -> Result<Step, Error> {
        let Standing::Held { record, .. } = &self.standing else { return Ok(Step::Stale) };
        let record = Arc::clone(record);
        let tombstone = self.engine.tombstone(record.id, reason, self.now)?;
        match self.apply(&Change::End(tombstone, record.version)).await? {
            Written::Stored => {
                self.engine.tell(EventKind::Ended(reason), Some(record.id), record.subject.as_ref());
                self.clear_site_data = self.engine.clears_site_data(reason);
                Ok(self.done(cookie))
            }
            Written::Conflict => Ok(Step::Stale),
            Written::Gone => Ok(self.gone()),
        }
    }

    /// The second half of an end: from here on, the request is one that came without a session.
    async fn begin_anew(&mut self, record: Arc<Record>, cookie: Option<CookieChange>) -> Result<Step, Error> {
        self.standing = Standing::Absent;
        self.began = None;
        self.is_fresh = false;
        if let Some(then) = self.intent.then.take() {
            self.intent = *then;
        }
        self.create(record, cookie).await
    }

    fn gone(&mut self) -> Step {
        self.standing = Standing::Ended;
        self.is_fresh = true;
        Step::Replan
    }

    fn refuse(&self) -> Result<Step, Error> {
        let record = self.began.as_ref();
        self.engine.tell(
            EventKind::Lost,
            record.map(|record| record.id),
            record.and_then(|r| r.subject.as_ref()),
        );
        if self.engine.refuses_lost_changes {
            Err(Error::lost())
        } else {
            Ok(Step::Done(Outcome::unchanged()))
        }
    }

    fn done(&self, cookie: Option<CookieChange>) -> Step {
        let outcome = self.engine.outcome(cookie);
        Step::Done(Outcome { clear_site_data: self.clear_site_data, ..outcome })
    }

    async fn reload(&mut self) -> Result<(), Error> {
        let (Some(began), Some(presented)) = (&self.began, &self.presented) else { return Ok(()) };
        let (now, grace) = (self.engine.now(), self.engine.policy.grace);
        self.standing = match self.engine.store.load(began.id, now).await? {
            Loaded::Found(fresh) if self.engine.believes(&fresh)? => {
                let keys = self.engine.authority_keys();
                Standing::recheck(fresh, began, presented.secret(), keys.as_deref(), grace, now)
            }
            // What was put in the session's place counts as its end: nothing is stored over it.
            Loaded::Found(_) => Standing::Ended,
            Loaded::Absent | Loaded::Ended(_) => Standing::Ended,
        };
        self.is_fresh = true;
        Ok(())
    }

    /// Writers in other processes don't line up with ours: after a few conflicts, random pauses part them.
    async fn back_off(&self, attempt: u32) -> Result<(), Error> {
        if attempt < 3 {
            return Ok(());
        }
        let mut random = [0; 2];
        self.engine.sources.entropy.fill(&mut random)?;
        let bound_us = 500 << attempt.min(8);
        tokio::time::sleep(Duration::from_micros(u64::from(u16::from_le_bytes(random)) % bound_us)).await;
        Ok(())
    }
}

impl Engine {
    fn outcome(&self, cookie: Option<CookieChange>) -> Outcome {
        match cookie {
            Some(CookieChange::Set(token, max_age)) => Outcome::with_cookie(self.cookie.set(&token, max_age)),
            Some(CookieChange::Clear) => Outcome::with_cookie(self.cookie.clear()),
            None => Outcome::unchanged(),
        }
    }

    /// What the browser is to forget when a session ends by the request itself.
    pub(crate) fn clears_site_data(&self, reason: EndReason) -> Option<SiteData> {
        self.clear_site_data.filter(|_| reason == EndReason::Logout)
    }

    fn tell_replaced(&self, intent: &Intent, before: &Record, after: &Record, has_cookie: bool) {
        let tell = |kind| self.tell(kind, Some(after.id), after.subject.as_ref());
        if before.data != after.data || intent.lifetime.is_some() {
            tell(EventKind::Changed);
        }
        if intent.step_up {
            tell(EventKind::Authenticated);
        } else if has_cookie && intent.login.is_none() && intent.lifetime.is_none() {
            tell(EventKind::Rotated);
        }
    }
}
