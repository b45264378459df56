//! The way of a session that travels in its cookie: opened, decided on as any other, and sealed again.

use std::sync::Arc;

use cloakroom_core::{
    Record, Timestamp, Token,
    carried::{Stamp, settle},
    exchange::{Action, EndReason, Plan, Seat, Standing},
    token::Secret,
};

use crate::{
    Error,
    carrier::{Carrier, Cut, Honour, Opened, Sealed},
    deadline::within,
    event::{EventKind, Rejection},
    exchange::{Commit, Outcome, Shared, State},
    sessions::Engine,
};

/// What a login, a step-up or a rotation adds to the generation, so that no cookie that a slower request issues on
/// another node meanwhile reaches the least valid one.
const LEAP: u32 = 1 << 10;

impl Shared {
    /// Opens the first cookie that is honoured.
    pub(crate) fn open_carried<'a>(
        &self,
        state: &mut State,
        carrier: &dyn Carrier,
        values: impl Iterator<Item = &'a [u8]>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        let now = self.engine.now();
        for value in values {
            let opened = carrier.open(value, now).inspect_err(|error| self.engine.tell_failure(error))?;
            let (record, stamp, honour) = match opened {
                Opened::Rejected(rejection) => {
                    self.engine.tell(EventKind::Rejected(rejection), None, None);
                    continue;
                }
                Opened::Session(record, stamp, honour) => (record, stamp, honour),
            };
            let token = token_of(&record);
            match self.stands(record, honour) {
                Standing::Held { record, seat } => {
                    state.claim.hold(record, seat, &token);
                    (state.stamp, state.is_fading) = at_least(stamp, honour);
                    break;
                }
                standing => state.claim.take(standing, &token),
            }
        }
        self.open(state, user_agent, now);
        Ok(())
    }

    /// For a handle that goes on after its response's head: whether the session it began with is still honoured.
    pub(crate) fn recheck_carried(&self, carrier: &dyn Carrier) -> Result<(), Error> {
        let mut state = self.state.lock();
        if let Standing::Held { record, .. } = &state.claim.standing {
            let honour = carrier.honour(record, state.stamp, self.engine.now())?;
            state.claim.standing = self.stands(Arc::clone(record), honour);
        }
        state.loaded_at = self.engine.now();
        Ok(())
    }

    fn stands(&self, record: Arc<Record>, honour: Honour) -> Standing {
        let (rejection, standing) = match honour {
            Honour::Full | Honour::Fading(_) => return Standing::Held { record, seat: Seat::Current },
            Honour::Superseded => (Rejection::Superseded, Standing::Superseded),
            Honour::Ended => (Rejection::Ended, Standing::Ended),
        };
        self.engine.tell(EventKind::Rejected(rejection), Some(record.id), record.subject.as_ref());
        standing
    }

    /// Commits a request whose session travels in its cookie. Most changes wait for nobody.
    pub(crate) fn commit_carried(&self, state: &mut State, now: Timestamp, plan: Plan) -> Commit {
        let Some(carrier) = self.engine.store.carrier() else { return Commit::done(Err(Error::degraded())) };
        let began = match &state.claim.standing {
            Standing::Held { record, .. } => Some(Arc::clone(record)),
            _ => None,
        };
        let is_reading = state.intent.is_empty();
        let mut carrying = Carrying {
            engine: Arc::clone(&self.engine),
            arrived: self.arrived,
            now,
            began,
            stamp: state.stamp,
            is_fading: state.is_fading,
            moves_authority: state.intent.moves_authority(),
            is_immediate: state.intent.login.is_some(),
        };
        match carrying.at_once(carrier, plan) {
            // Noted activity is housekeeping: it never fails a request that only reads.
            Ok(Next::Done(outcome)) => Commit::done(Ok(outcome)),
            Err(_) if is_reading => Commit::done(Ok(Outcome::unchanged())),
            Err(error) => Commit::done(Err(error)),
            Ok(Next::Cut(cut, then)) => Commit::running(async move {
                let engine = Arc::clone(&carrying.engine);
                let (deadline, kind) = (engine.deadline, engine.store.kind());
                let cutting = carrying.cut_then(cut, then);
                within(deadline, kind, cutting).await.inspect_err(|error| engine.tell_failure(error))
            }),
        }
    }
}

/// The secret is in none of these cookies; what stands for it grants nothing.
fn token_of(record: &Record) -> Token {
    Token::new(record.id, Secret::from_bytes([0; 16]))
}

/// The stamp, such that the next cookie has at least the generation that is asked for; and whether one is.
fn at_least(stamp: Stamp, honour: Honour) -> (Stamp, bool) {
    match honour {
        Honour::Fading(least) => {
            (Stamp { generation: stamp.generation.max(least.saturating_sub(1)), ..stamp }, true)
        }
        Honour::Full | Honour::Superseded | Honour::Ended => (stamp, false),
    }
}

/// A commit under way.
struct Carrying {
    engine: Arc<Engine>,
    arrived: Timestamp,
    now: Timestamp,
    began: Option<Arc<Record>>,
    stamp: Stamp,
    is_fading: bool,
    moves_authority: bool,
    /// Whether older cookies lose their authority at once, and not after a grace.
    is_immediate: bool,
}

enum Next {
    Done(Outcome),
    /// Older cookies are to be refused first.
    Cut(Cut, Then),
}

/// What follows a cut.
enum Then {
    Clear(EndReason),
    Issue(Box<Record>),
    /// The session ends, and another begins.
    Begin(EndReason, Box<Record>),
}

impl Carrying {
    fn at_once(&mut self, carrier: &dyn Carrier, plan: Plan) -> Result<Next, Error> {
        match plan.action {
            Action::Nothing if self.is_fading => self.touch(carrier),
            Action::Nothing => Ok(Next::Done(Outcome::unchanged())),
            Action::Unavailable => Err(Error::degraded()),
            Action::Refuse => self.refuse(),
            Action::Create(record) => self.begin(carrier, Arc::unwrap_or_clone(record)).map(Next::Done),
            Action::Touch => self.touch(carrier),
            Action::Replace { record, .. } => self.replace(carrier, Arc::unwrap_or_clone(record)),
            Action::End(reason) => self.end(carrier, Then::Clear(reason), reason),
            Action::EndThenCreate(reason, record) => {
                let then = Then::Begin(reason, Box::new(Arc::unwrap_or_clone(record)));
                self.end(carrier, then, reason)
            }
        }
    }

    /// The same session in a new cookie, which notes activity.
    fn touch(&mut self, carrier: &dyn Carrier) -> Result<Next, Error> {
        let Some(began) = self.began.clone() else { return Ok(Next::Done(Outcome::unchanged())) };
        if !self.is_honoured(carrier, &began)? {
            return Ok(Next::Done(Outcome::unchanged()));
        }
        let mut record = Record::clone(&began);
        record.times.active = self.now;
        self.issue(carrier, &record, 1).map(Next::Done)
    }

    /// Whether a change may still be made: a revocation may have come since the request began.
    fn is_honoured(&mut self, carrier: &dyn Carrier, began: &Record) -> Result<bool, Error> {
        let honour = carrier.honour(began, self.stamp, self.now)?;
        self.stamp = at_least(self.stamp, honour).0;
        Ok(matches!(honour, Honour::Full | Honour::Fading(_)))
    }

    fn replace(&mut self, carrier: &dyn Carrier, mut record: Record) -> Result<Next, Error> {
        let Some(began) = self.began.clone() else { return self.refuse() };
        if !self.is_honoured(carrier, &began)? {
            return self.refuse();
        }
        settle(&mut record, self.now);
        if !self.moves_authority {
            let outcome = self.issue(carrier, &record, 1)?;
            self.engine.tell(EventKind::Changed, Some(record.id), record.subject.as_ref());
            return Ok(Next::Done(outcome));
        }
        if self.is_immediate {
            let Stamp { epoch, list, .. } =
                carrier.begin(record.id, record.subject.as_ref(), self.arrived, self.now)?;
            self.stamp = Stamp { epoch, list, ..self.stamp };
        }
        let from = if self.is_immediate { self.now } else { self.now + self.engine.policy.grace };
        let least_generation = Some(self.stamp.generation.saturating_add(LEAP));
        let cut = Cut { session: record.id, least_generation, from, reason: None };
        Ok(Next::Cut(cut, Then::Issue(Box::new(record))))
    }

    fn end(&mut self, carrier: &dyn Carrier, then: Then, reason: EndReason) -> Result<Next, Error> {
        let Some(began) = self.began.clone() else { return self.refuse() };
        match carrier.honour(&began, self.stamp, self.now)? {
            Honour::Full | Honour::Fading(_) => {}
            // An end counts as done.
            Honour::Ended if matches!(then, Then::Clear(_)) => return Ok(Next::Done(Outcome::unchanged())),
            Honour::Superseded | Honour::Ended => return self.refuse(),
        }
        let cut = Cut { session: began.id, least_generation: None, from: self.now, reason: Some(reason) };
        Ok(Next::Cut(cut, then))
    }

    async fn cut_then(mut self, cut: Cut, then: Then) -> Result<Outcome, Error> {
        let engine = Arc::clone(&self.engine);
        let Some(carrier) = engine.store.carrier() else { return Err(Error::degraded()) };
        carrier.cut(cut, self.now).await?;
        let subject = self.began.as_ref().and_then(|record| record.subject.clone());
        let tell_end = |reason| engine.tell(EventKind::Ended(reason), Some(cut.session), subject.as_ref());
        match then {
            Then::Clear(reason) => {
                tell_end(reason);
                let outcome = Outcome::with_cookie(engine.cookie.clear());
                Ok(Outcome { clear_site_data: engine.clears_site_data(reason), ..outcome })
            }
            Then::Begin(reason, record) => {
                tell_end(reason);
                let outcome = self.begin(carrier, *record)?;
                Ok(Outcome { clear_site_data: engine.clears_site_data(reason), ..outcome })
            }
            Then::Issue(record) => {
                if self.is_immediate {
                    // Whoever ended the subject's sessions meanwhile meant this one as well.
                    let Stamp { epoch, list, .. } =
                        carrier.begin(record.id, record.subject.as_ref(), self.arrived, self.now)?;
                    self.stamp = Stamp { epoch, list, ..self.stamp };
                }
                let outcome = self.issue(carrier, &record, LEAP)?;
                let is_authenticated = self.is_immediate || self.began_earlier(&record);
                let kind = if is_authenticated { EventKind::Authenticated } else { EventKind::Rotated };
                engine.tell(kind, Some(record.id), record.subject.as_ref());
                Ok(outcome)
            }
        }
    }

    /// Whether the record was authenticated again since the request began.
    fn began_earlier(&self, record: &Record) -> bool {
        self.began.as_ref().is_some_and(|began| began.times.started < record.times.started)
    }

    /// A session of its own.
    fn begin(&mut self, carrier: &dyn Carrier, mut record: Record) -> Result<Outcome, Error> {
        settle(&mut record, self.now);
        self.stamp = carrier.begin(record.id, record.subject.as_ref(), self.arrived, self.now)?;
        let outcome = self.issue(carrier, &record, 1)?;
        self.engine.tell(EventKind::Created, Some(record.id), record.subject.as_ref());
        if record.subject.is_some() {
            self.engine.tell(EventKind::Authenticated, Some(record.id), record.subject.as_ref());
        }
        Ok(outcome)
    }

    fn issue(&self, carrier: &dyn Carrier, record: &Record, step: u32) -> Result<Outcome, Error> {
        let generation = self.stamp.generation.saturating_add(step);
        let Sealed { value, is_overwriting } = carrier.seal(record, Stamp { generation, ..self.stamp })?;
        if is_overwriting {
            self.engine.tell(EventKind::Overwritten, Some(record.id), record.subject.as_ref());
        }
        let cookie = self.engine.cookie.set_sealed(&value, record.times.end.since(self.now));
        Ok(Outcome::with_cookie(cookie))
    }

    fn refuse(&self) -> Result<Next, Error> {
        let record = self.began.as_deref();
        self.engine.tell(
            EventKind::Lost,
            record.map(|record| record.id),
            record.and_then(|record| record.subject.as_ref()),
        );
        if self.engine.refuses_lost_changes {
            Err(Error::lost())
        } else {
            Ok(Next::Done(Outcome::unchanged()))
        }
    }
}
