//! The way of a session that travels in its cookie: opened, decided on as any other, and sealed again.

use std::{borrow::Cow, sync::Arc, time::Duration};

use cloakroom_core::{
    Record, Timestamp, Token,
    carried::{Stamp, settle},
    cookie::capacity,
    exchange::{Action, EndReason, Intent, Plan, Seat, Standing},
    token::Secret,
};

use crate::{
    Error,
    carrier::{Carrier, Change, Cut, CutAnswer, Honour, Opened as Unsealed, Sealed},
    deadline::within,
    event::{EventKind, Rejection},
    exchange::{At, Carried, Commit, Opened, Outcome, Shared},
    load::Claim,
    sessions::Engine,
};

impl Shared {
    /// Opens the first cookie that is honoured.
    pub(crate) fn open_carried<'a>(
        &self,
        carrier: &dyn Carrier,
        headers: impl Iterator<Item = &'a [u8]>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Opened, Error> {
        let cookie = &self.engine.cookie;
        if carrier.parts_max() == 1 {
            let values = cookie.values(headers).map(Cow::Borrowed);
            return self.open_values(carrier, values, user_agent);
        }
        let headers: Vec<_> = headers.collect();
        let parts = cookie.parts(headers.iter().copied());
        let values = cookie.values(headers.iter().copied()).filter_map(|first| parts.join(first));
        let mut opened = self.open_values(carrier, values.map(Cow::Owned), user_agent)?;
        if opened.carried.is_some() || parts.count() != 1 {
            opened.carried.get_or_insert_default().parts = parts.count();
        }
        Ok(opened)
    }

    fn open_values<'a>(
        &self,
        carrier: &dyn Carrier,
        values: impl Iterator<Item = Cow<'a, [u8]>>,
        user_agent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Opened, Error> {
        let now = self.engine.now();
        let (mut claim, mut carried) = (Claim::ABSENT, None);
        for value in values {
            let unsealed = carrier.open(&value, now).inspect_err(|error| self.engine.tell_failure(error))?;
            let (record, stamp, honour) = match unsealed {
                Unsealed::Rejected(rejection) => {
                    self.engine.tell(EventKind::Rejected(rejection), None, None);
                    continue;
                }
                Unsealed::Session(record, stamp, honour) => (record, stamp, honour),
            };
            let token = token_of(&record);
            match self.stands(record, honour) {
                Standing::Held { record, seat } => {
                    claim.hold(record, seat, &token);
                    let (stamp, is_fading) = followed(stamp, honour);
                    carried = Some(Box::new(Carried { stamp, is_fading, parts: 1 }));
                    break;
                }
                standing => claim.take(standing, &token),
            }
        }
        Ok(Opened { carried, ..Opened::of(claim, user_agent, now) })
    }

    /// For a handle that goes on after its response's head: whether the session it began with is still honoured.
    pub(crate) fn recheck_carried(&self, carrier: &dyn Carrier) -> Result<(), Error> {
        let (mut changing, now) = (self.lock(), self.engine.now());
        let mut opened = changing.seen().opened.clone();
        let stamp = opened.carried.as_ref().map_or_else(Stamp::default, |carried| carried.stamp);
        if let Standing::Held { record, .. } = &opened.claim.standing {
            // Of a cookie that has expired, the list forgets what it said.
            let honour =
                if record.is_alive(now) { carrier.honour(record, stamp, now)? } else { Honour::Absent };
            opened.claim.standing = self.stands(Arc::clone(record), honour);
        }
        opened.loaded_at = now;
        changing.reopen(opened);
        Ok(())
    }

    fn stands(&self, record: Arc<Record>, honour: Honour) -> Standing {
        let (rejection, standing) = match honour {
            Honour::Full | Honour::Fading(_) => return Standing::Held { record, seat: Seat::Current },
            Honour::Superseded => (Rejection::Superseded, Standing::Superseded),
            Honour::Ended | Honour::Absent => (Rejection::Ended, Standing::Ended),
        };
        self.engine.tell(EventKind::Rejected(rejection), Some(record.id), record.subject.as_ref());
        standing
    }
}

impl Default for Carried {
    fn default() -> Self {
        Self { stamp: Stamp::default(), is_fading: false, parts: 1 }
    }
}

impl At<'_> {
    /// Commits a request whose session travels in its cookie. Most changes wait for nobody.
    pub(crate) fn commit_carried(
        self,
        opened: &Opened,
        intent: &Intent,
        now: Timestamp,
        plan: Plan,
    ) -> Commit {
        let Some(carrier) = self.engine.store.carrier() else { return Commit::done(Err(Error::degraded())) };
        let began = match &opened.claim.standing {
            Standing::Held { record, .. } => Some(Arc::clone(record)),
            _ => None,
        };
        let is_reading = intent.is_empty();
        let Carried { stamp, is_fading, parts } = opened.carried.as_deref().cloned().unwrap_or_default();
        let mut carrying = Carrying {
            engine: Arc::clone(self.engine),
            arrived: self.arrived,
            now,
            began,
            stamp,
            is_fading,
            parts,
            moves_authority: intent.moves_authority(),
            is_login: intent.login.is_some(),
            ends_others: intent.last().ends_others,
        };
        match carrying.at_once(carrier, plan) {
            Ok(Next::Done(outcome)) => Commit::done(Ok(outcome)),
            // Noted activity is housekeeping: it never fails a request that only reads.
            Err(_) if is_reading => Commit::done(Ok(Outcome::unchanged())),
            Err(error) => Commit::done(Err(error)),
            Ok(next) => Commit::running(async move {
                let engine = Arc::clone(&carrying.engine);
                let (deadline, kind) = (engine.deadline, engine.store.kind());
                let waiting = carrying.later(next);
                within(deadline, kind, waiting).await.inspect_err(|error| {
                    if error.is_unavailable() {
                        engine.tell_failure(error);
                    }
                })
            }),
        }
    }
}

/// The secret is in none of these cookies; what stands for it grants nothing.
fn token_of(record: &Record) -> Token {
    Token::new(record.id, Secret::from_bytes([0; 16]))
}

/// The stamp that the next cookie follows from; and whether one is to be issued in this one's place.
fn followed(stamp: Stamp, honour: Honour) -> (Stamp, bool) {
    match honour {
        Honour::Fading(line) => (Stamp { line, ..stamp }, true),
        Honour::Full | Honour::Superseded | Honour::Ended | Honour::Absent => (stamp, false),
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
    /// How many cookies the browser has of the session.
    parts: usize,
    moves_authority: bool,
    /// Whether older cookies lose their authority at once, and not after a grace.
    is_login: bool,
    /// Whether the login ends the subject's other sessions.
    ends_others: bool,
}

enum Next {
    Done(Outcome),
    /// Older cookies are to be refused first.
    Cut(Cut, Then),
    /// A login begins a session: what was revoked until now is to be known first.
    LogIn(Arc<Record>),
}

/// What follows a cut.
enum Then {
    Clear(EndReason),
    Issue(Arc<Record>),
    /// The session ends, and another begins.
    Begin(EndReason, Box<Record>),
}

impl Carrying {
    fn at_once(&mut self, carrier: &dyn Carrier, plan: Plan) -> Result<Next, Error> {
        match plan.action {
            Action::Nothing if self.is_fading => self.touch(carrier),
            Action::Nothing => Ok(Next::Done(Outcome::unchanged())),
            Action::Unavailable => Err(Error::degraded()),
            Action::Refuse => self.refuse().map(Next::Done),
            Action::Create(record) if record.subject.is_some() => Ok(Next::LogIn(record)),
            Action::Create(record) => self.begin(carrier, Arc::unwrap_or_clone(record)).map(Next::Done),
            Action::Touch => self.touch(carrier),
            Action::Replace { record, .. } => self.replace(carrier, Arc::unwrap_or_clone(record)),
            Action::End(reason) => self.end(carrier, Then::Clear(reason)),
            Action::EndThenCreate(reason, record) => {
                self.end(carrier, Then::Begin(reason, Box::new(Arc::unwrap_or_clone(record))))
            }
        }
    }

    /// The same session in a new cookie, which notes activity. Not over one with changes that this request didn't see.
    fn touch(&mut self, carrier: &dyn Carrier) -> Result<Next, Error> {
        let Some(began) = self.began.clone() else { return Ok(Next::Done(Outcome::unchanged())) };
        // One that was issued a moment before this request arrived may not have reached the browser when it was sent. If it
        // never does, a later request notes activity. Who fades can't wait, but for one issued in this very millisecond.
        let way_out = if self.is_fading { Duration::ZERO } else { self.engine.policy.grace / 4 };
        let way_out_ms = u64::try_from(way_out.as_millis()).unwrap_or(u64::MAX);
        let since = Timestamp::from_millis(self.arrived.as_millis().saturating_sub(way_out_ms));
        let since = since + Duration::from_millis(self.is_fading.into());
        if carrier.is_overtaken(began.id, self.stamp, since) || !self.is_honoured(carrier, &began)? {
            return Ok(Next::Done(Outcome::unchanged()));
        }
        let mut record = Record::clone(&began);
        record.times.active = self.now;
        self.issue(carrier, &record).map(Next::Done)
    }

    /// Whether a change may still be made: a revocation may have come since the request began.
    fn is_honoured(&mut self, carrier: &dyn Carrier, began: &Record) -> Result<bool, Error> {
        let honour = carrier.honour(began, self.stamp, self.now)?;
        self.stamp = followed(self.stamp, honour).0;
        Ok(matches!(honour, Honour::Full | Honour::Fading(_)))
    }

    fn replace(&mut self, carrier: &dyn Carrier, mut record: Record) -> Result<Next, Error> {
        let Some(began) = self.began.clone() else { return self.refuse().map(Next::Done) };
        if !self.is_honoured(carrier, &began)? {
            return self.refuse().map(Next::Done);
        }
        settle(&mut record, self.now);
        // For as long as a session can be idle, its end is remembered: so a change of that is noted like a rotation.
        if !self.moves_authority && record.times.idle_s == began.times.idle_s {
            let outcome = self.issue(carrier, &record)?;
            self.engine.tell(EventKind::Changed, Some(record.id), record.subject.as_ref());
            return Ok(Next::Done(outcome));
        }
        carrier.check(&record, self.stamp)?;
        // A cookie that fades would take its longer idle timeout along, and an end is remembered only for the shorter one.
        let shortens = record.times.idle_s < began.times.idle_s;
        let from = (!self.is_login && !shortens).then(|| self.now + self.engine.policy.grace);
        let record = Arc::new(record);
        let (arrived, ends_others) = (self.arrived, self.ends_others);
        let change = Change::Move { from, record: Arc::clone(&record), arrived, ends_others };
        Ok(Next::Cut(Cut { session: began, stamp: self.stamp, change }, Then::Issue(record)))
    }

    fn end(&mut self, carrier: &dyn Carrier, mut then: Then) -> Result<Next, Error> {
        let Some(began) = self.began.clone() else { return self.refuse().map(Next::Done) };
        match carrier.honour(&began, self.stamp, self.now)? {
            Honour::Full | Honour::Fading(_) => {}
            Honour::Superseded => return self.refuse().map(Next::Done),
            Honour::Ended | Honour::Absent => return self.ended(&then).map(Next::Done),
        }
        if let Then::Begin(_, record) = &mut then {
            settle(record, self.now);
            carrier.check(record, self.stamp)?;
        }
        Ok(Next::Cut(Cut { session: began, stamp: self.stamp, change: Change::End }, then))
    }

    async fn later(mut self, next: Next) -> Result<Outcome, Error> {
        let engine = Arc::clone(&self.engine);
        let Some(carrier) = engine.store.carrier() else { return Err(Error::degraded()) };
        let (cut, then) = match next {
            Next::Done(outcome) => return Ok(outcome),
            Next::LogIn(record) => return self.log_in(carrier, Arc::unwrap_or_clone(record)).await,
            Next::Cut(cut, then) => (cut, then),
        };
        let answer = carrier.cut(cut, self.now).await?;
        match answer {
            CutAnswer::Made(stamp) => self.stamp = stamp,
            CutAnswer::Never => {}
            CutAnswer::Superseded => return self.refuse(),
            CutAnswer::Ended => return self.ended(&then),
        }
        let tell_end = |reason| {
            // Of a session that can't be ended, only this browser's cookie goes.
            if answer != CutAnswer::Never {
                self.tell(EventKind::Ended(reason));
            }
        };
        match then {
            Then::Clear(reason) => {
                tell_end(reason);
                let further = engine.cookie.clear_parts(1, self.parts);
                let outcome = Outcome::setting([vec![engine.cookie.clear()], further].concat());
                Ok(Outcome { clear_site_data: engine.clears_site_data(reason), ..outcome })
            }
            Then::Begin(reason, record) => {
                tell_end(reason);
                // What the cut was made at tells of every revocation.
                let outcome = if self.ends_others {
                    self.log_in(carrier, *record).await?
                } else {
                    self.begin(carrier, *record)?
                };
                Ok(Outcome { clear_site_data: engine.clears_site_data(reason), ..outcome })
            }
            Then::Issue(record) => {
                let outcome = self.issue(carrier, &record)?;
                self.tell_of_others(&record);
                engine.tell(self.kind_of_move(&record), Some(record.id), record.subject.as_ref());
                Ok(outcome)
            }
        }
    }

    fn kind_of_move(&self, record: &Record) -> EventKind {
        let began_earlier =
            self.began.as_ref().is_some_and(|began| began.times.started < record.times.started);
        if self.is_login || began_earlier {
            EventKind::Authenticated
        } else if self.moves_authority {
            EventKind::Rotated
        } else {
            EventKind::Changed
        }
    }

    /// A subject's session of its own: what was revoked until now counts against it.
    async fn log_in(&mut self, carrier: &dyn Carrier, mut record: Record) -> Result<Outcome, Error> {
        let Some(subject) = record.subject.clone().filter(|_| self.ends_others) else {
            carrier.refresh().await?;
            return self.begin(carrier, record);
        };
        settle(&mut record, self.now);
        carrier.check(&record, Stamp::default())?;
        self.stamp = carrier.begin_ending_others(&subject, self.arrived).await?;
        self.tell_of_others(&record);
        self.begun(carrier, &record)
    }

    /// A session of its own.
    fn begin(&mut self, carrier: &dyn Carrier, mut record: Record) -> Result<Outcome, Error> {
        settle(&mut record, self.now);
        self.stamp = carrier.begin(record.subject.as_ref(), self.arrived, self.now)?;
        self.begun(carrier, &record)
    }

    fn begun(&self, carrier: &dyn Carrier, record: &Record) -> Result<Outcome, Error> {
        let outcome = self.issue(carrier, record)?;
        self.engine.tell(EventKind::Created, Some(record.id), record.subject.as_ref());
        if record.subject.is_some() {
            self.engine.tell(EventKind::Authenticated, Some(record.id), record.subject.as_ref());
        }
        Ok(outcome)
    }

    fn issue(&self, carrier: &dyn Carrier, record: &Record) -> Result<Outcome, Error> {
        let generation = self.stamp.generation.saturating_add(1);
        let Sealed { value, is_overwriting } = carrier.seal(record, Stamp { generation, ..self.stamp })?;
        if is_overwriting {
            self.engine.tell(EventKind::Overwritten, Some(record.id), record.subject.as_ref());
        }
        let max_age = record.times.end.since(self.now);
        let cookie = &self.engine.cookie;
        if self.parts == 1 && value.len() <= capacity(cookie.cookie_name(), 1) {
            return Ok(Outcome::with_cookie(cookie.set_sealed(value, max_age)));
        }
        Ok(Outcome::setting(cookie.set_parts(&value, self.parts, max_age)))
    }

    /// An end counts as done; what was to follow it doesn't.
    fn ended(&self, then: &Then) -> Result<Outcome, Error> {
        if matches!(then, Then::Clear(_)) { Ok(Outcome::unchanged()) } else { self.refuse() }
    }

    fn refuse(&self) -> Result<Outcome, Error> {
        self.tell(EventKind::Lost);
        if self.engine.refuses_lost_changes { Err(Error::lost()) } else { Ok(Outcome::unchanged()) }
    }

    /// Tells that a subject's other sessions ended; which they are, only their browsers know.
    fn tell_of_others(&self, record: &Record) {
        if self.ends_others {
            self.engine.tell(EventKind::Ended(EndReason::Revoked), None, record.subject.as_ref());
        }
    }

    /// Tells of the session that the request came with.
    fn tell(&self, kind: EventKind) {
        let record = self.began.as_deref();
        self.engine.tell(
            kind,
            record.map(|record| record.id),
            record.and_then(|record| record.subject.as_ref()),
        );
    }
}
