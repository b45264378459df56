//! The lifecycle: what one request does to a session, as one pure decision.
//!
//! [`plan`] takes where the request stands, what its handler wants, the policy, the time and random bytes, and says
//! what must be stored and what must be sent.
//!
//! Strongest intent first: an end beats a login, a login beats a rotation, a rotation beats a write, a write beats a
//! read. What a handler does after an end belongs to a new session ([`Intent::then`]).
//!
//! # Carrying a plan out
//!
//! That is one atomic store call in almost every case: a compare-and-swap on the version of the standing's record.
//!
//! - If it meets a conflict, load the record again, [recheck](Standing::recheck) the standing and plan anew, with
//!   [`Circumstances::is_fresh`] set.
//! - If the session is gone, the standing of a request that held it is [`Standing::Ended`], never
//!   [`Standing::Absent`], however long ago it ended: or a late write would begin a session in its place.
//! - A plan that has a cookie but nothing to store, or that was made when the standing's record had expired, holds
//!   only for the record as it is now: other requests may have seen the successor, or kept the session alive. Unless
//!   it was loaded just before, load it again and plan anew.
//! - The cookie is sent when the change is stored, and never otherwise.

use std::{sync::Arc, time::Duration};

use crate::{
    AuthorityKeys, Data, Error, Lifetime, Policy, Record, Secret, SessionId, Subject, Timestamp, Token,
    Version,
    data::RESERVED_PREFIX,
    delta::Delta,
    lifetime::Times,
    record::{Authority, History, Origin, Pending, Presented, Rotated, TRACES_MAX},
    token::{Trace, Verifier},
};

/// Where a request stands towards a session.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It presented no token, or one that means nothing here: it is anonymous, and may begin a session.
    Absent,
    /// It presented a secret that this record honours.
    Held {
        /// The record, as loaded.
        record: Arc<Record>,
        /// Which of its secrets was presented.
        seat: Seat,
    },
    /// The session lives, but the presented secret lost its authority: anonymous, and mustn't write or set a cookie,
    /// or it would overwrite the cookie that a login has just set.
    Superseded,
    /// The session ended a short while ago. As superseded, but an end counts as done.
    Ended,
    /// The store couldn't be asked, and the route may be served without a session.
    Degraded,
}

/// Which of a record's secrets a request presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// The current one.
    Current,
    /// Its successor, for the first time: it becomes the current one with the next stored change.
    Successor,
    /// One that was replaced: served, never sent a cookie.
    Previous,
}

impl Standing {
    /// The standing of a request whose secret was looked up in a record. `None` if it was reused: the session must be
    /// revoked.
    #[must_use]
    pub fn of(record: Arc<Record>, presented: Presented) -> Option<Self> {
        let seat = match presented {
            Presented::Current => Seat::Current,
            Presented::Successor => Seat::Successor,
            Presented::Previous => Seat::Previous,
            Presented::Reused => return None,
            Presented::Superseded => return Some(Self::Superseded),
            Presented::Unknown => return Some(Self::Absent),
        };
        Some(Self::Held { record, seat })
    }

    /// The standing of a request after its change met a conflict. It keeps its authority for as long as the record's
    /// epoch is that of `began`: rotations pass a slow request by, a login doesn't. Which secret is honoured is looked
    /// up again, for only the fresh record tells whether a cookie may still be sent.
    #[must_use]
    pub fn recheck(
        fresh: Arc<Record>,
        began: &Record,
        secret: &Secret,
        keys: Option<&AuthorityKeys>,
        grace: Duration,
        now: Timestamp,
    ) -> Self {
        if fresh.authority.epoch != began.authority.epoch {
            return Self::Superseded;
        }
        let seat = match fresh.authority.examine_under(keys, &fresh.id, secret, grace, now) {
            Presented::Current => Seat::Current,
            Presented::Successor => Seat::Successor,
            Presented::Previous | Presented::Reused | Presented::Superseded | Presented::Unknown => {
                Seat::Previous
            }
        };
        Self::Held { record: fresh, seat }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its user logged out.
    Logout,
    /// Another user logged in over it.
    Replaced,
    /// It was ended from elsewhere: by its user from another device, or by an administrator.
    Revoked,
    /// A secret that had been rotated out was presented after its grace.
    Reuse,
}

impl EndReason {
    /// The reason in one word, for events and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::Reuse => "reuse",
        }
    }

    /// Reads what [`EndReason::as_str`] gave.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Logout, Self::Replaced, Self::Revoked, Self::Reuse]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

/// What a handler wants of the session.
#[derive(Debug)]
pub struct Intent {
    /// Changes to the data.
    pub delta: Delta,
    /// To whom the session shall belong.
    pub login: Option<Subject>,
    /// Authenticate the same subject again. The secret presented stays good, at its level, until the new one is seen.
    pub step_up: bool,
    /// Replace the secret.
    pub rotate: bool,
    /// Give the session these timeouts.
    pub lifetime: Option<Lifetime>,
    /// End the session.
    pub end: Option<EndReason>,
    /// What was done after the end: it belongs to a new session.
    pub then: Option<Box<Intent>>,
}

impl Intent {
    /// Nothing wanted yet, of data that may take so many bytes.
    #[must_use]
    pub const fn new(record_bytes_max: usize) -> Self {
        Self {
            delta: Delta::new(record_bytes_max),
            login: None,
            step_up: false,
            rotate: false,
            lifetime: None,
            end: None,
            then: None,
        }
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wish() == Wish::Read && self.lifetime.is_none() && self.delta.is_empty()
    }

    /// Ends the session; what is wanted from here on belongs to a new one. A second end takes back that new one.
    pub fn end(&mut self, reason: EndReason, record_bytes_max: usize) {
        self.end.get_or_insert(reason);
        self.then = Some(Box::new(Self::new(record_bytes_max)));
    }

    /// Whether the session changes hands, or its secret is to be replaced.
    #[must_use]
    pub fn moves_authority(&self) -> bool {
        matches!(self.wish(), Wish::Login | Wish::StepUp | Wish::Rotate)
    }

    fn wish(&self) -> Wish {
        if let Some(reason) = self.end {
            Wish::End(reason)
        } else if self.login.is_some() {
            Wish::Login
        } else if self.step_up {
            Wish::StepUp
        } else if self.rotate {
            Wish::Rotate
        } else if self.lifetime.is_some() || !self.delta.is_empty() {
            Wish::Write
        } else {
            Wish::Read
        }
    }
}

/// The strongest thing wanted, strongest first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    End(EndReason),
    Login,
    StepUp,
    Rotate,
    Write,
    Read,
}

/// What the decision needs to know of its surroundings.
pub struct Circumstances<'a> {
    /// The application's rules.
    pub policy: &'a Policy,
    /// The secret the request presented.
    pub presented: Option<&'a Secret>,
    /// The key ring that authority is bound with, where there is one.
    pub keys: Option<&'a AuthorityKeys>,
    /// When the request arrived. A login counts from here, so that a revocation during it covers it.
    pub arrived: Timestamp,
    /// The time of the decision.
    pub now: Timestamp,
    /// A coarse description of the client, for new sessions.
    pub client: Option<&'a Arc<str>>,
    /// Whether the record is another than the handler saw: then updates are run again on it.
    pub is_fresh: bool,
    /// Fills a buffer with bytes of a cryptographic random source.
    pub entropy: &'a mut dyn FnMut(&mut [u8]) -> Result<(), Error>,
}

/// What must be done, and then sent.
#[derive(Debug)]
pub struct Plan {
    /// The one change to the store.
    pub action: Action,
    /// The change to the browser's cookie, once the action is done.
    pub cookie: Option<CookieChange>,
}

/// A change to the store.
#[derive(Debug)]
pub enum Action {
    /// None.
    Nothing,
    /// Note activity; best effort.
    Touch,
    /// Store a new record; never over another.
    Create(Arc<Record>),
    /// Replace the record, if it is unchanged.
    Replace {
        /// The record as it shall be.
        record: Arc<Record>,
        /// Whether the request fails if it can't be stored. Housekeeping of a reading request waits for the next one.
        is_required: bool,
    },
    /// End the session, if it is unchanged.
    End(EndReason),
    /// End the session, if it is unchanged, then store a new record.
    EndThenCreate(EndReason, Arc<Record>),
    /// The request's changes are lost: it no longer has authority, or a condition of its own doesn't hold.
    Refuse,
    /// There is a change, but no store to keep it.
    Unavailable,
}

/// A change to the browser's cookie.
#[derive(Debug)]
pub enum CookieChange {
    /// Hand out a token; the browser may forget it after this time.
    Set(Token, Duration),
    /// Delete the cookie.
    Clear,
}

/// Whether a request plainly leaves everything as it is: it wants nothing, and nothing is due. That is most requests,
/// and it is found out without a plan's work. Where this is false, [`plan`] may still come to nothing.
#[must_use]
pub fn is_settled(standing: &Standing, intent: &Intent, policy: &Policy, now: Timestamp) -> bool {
    let is_quiet = match standing {
        Standing::Held { record, seat } => {
            *seat == Seat::Current
                && record.authority.history.is_none()
                && record.is_alive(now)
                && !record.times.is_touch_due(now)
                && !is_rotation_due(record, intent, policy, now)
        }
        Standing::Absent | Standing::Superseded | Standing::Ended | Standing::Degraded => true,
    };
    is_quiet && intent.is_empty()
}

/// Decides what a request does to its session.
///
/// No path from [`Standing::Superseded`] or [`Standing::Ended`] stores or sends anything, but for a login, which begins
/// a session of its own; and no path but creation makes a record.
///
/// # Errors
/// [`Error::is_entropy`] if random bytes are needed and not to be had; [`Error::is_value`] or [`Error::is_too_large`]
/// if the changes can't be merged into a fresh record; [`Error::is_anonymous`] if a rotation or a step-up was wanted of
/// an anonymous session.
pub fn plan(standing: &Standing, intent: &Intent, at: &mut Circumstances<'_>) -> Result<Plan, Error> {
    let mut plan = decide(standing, intent, at)?;
    if let Some(keys) = at.keys {
        keys.bind_action(&mut plan.action, at.presented)?;
    }
    Ok(plan)
}

fn decide(standing: &Standing, intent: &Intent, at: &mut Circumstances<'_>) -> Result<Plan, Error> {
    match (standing, intent.wish()) {
        (Standing::Held { record, .. }, _) if !record.is_alive(at.now) => {
            // The handler saw data that a login now must not take along: its updates are run again, on nothing.
            let at = &mut Circumstances { is_fresh: true, entropy: &mut *at.entropy, ..*at };
            decide(&Standing::Ended, intent, at)
        }

        (Standing::Held { .. }, Wish::End(reason)) => end(reason, intent, at),
        (Standing::Held { record, .. }, Wish::Login) => login(record, intent, at),
        (Standing::Held { record, seat }, Wish::StepUp) => step_up(record, *seat, intent, at),
        (Standing::Held { record, seat }, Wish::Rotate | Wish::Write | Wish::Read) => {
            keep(record, *seat, intent, at)
        }

        (Standing::Absent | Standing::Ended, Wish::End(_)) => match &intent.then {
            Some(then) => decide(standing, then, at),
            None => Ok(Plan::nothing()),
        },
        (Standing::Absent, Wish::Login | Wish::Write) => create(intent, at),
        (Standing::Superseded | Standing::Ended, Wish::Login) => create(intent, at),
        (Standing::Absent, Wish::Rotate | Wish::StepUp) => Err(anonymous()),
        (Standing::Superseded, Wish::End(_)) => match &intent.then {
            Some(then) if then.login.is_some() => create(then, at),
            _ => Ok(Plan::only(Action::Refuse)),
        },
        (Standing::Superseded | Standing::Ended, Wish::Rotate | Wish::StepUp | Wish::Write) => {
            Ok(Plan::only(Action::Refuse))
        }
        (Standing::Absent | Standing::Superseded | Standing::Ended | Standing::Degraded, Wish::Read) => {
            Ok(Plan::nothing())
        }

        (Standing::Degraded, Wish::End(_) | Wish::Login | Wish::StepUp | Wish::Rotate | Wish::Write) => {
            Ok(Plan::only(Action::Unavailable))
        }
    }
}

fn end(reason: EndReason, intent: &Intent, at: &mut Circumstances<'_>) -> Result<Plan, Error> {
    let next = match &intent.then {
        Some(then) => {
            // The handler saw the new session from its beginning: its changes are made once.
            let at = &mut Circumstances { is_fresh: false, entropy: &mut *at.entropy, ..*at };
            match decide(&Standing::Absent, then, at) {
                // The new session has no secret to replace yet; that doesn't keep the old one alive.
                Err(error) if error.is_anonymous() => Plan::nothing(),
                next => next?,
            }
        }
        None => Plan::nothing(),
    };
    Ok(match next {
        Plan { action: Action::Create(record), cookie } => {
            Plan { action: Action::EndThenCreate(reason, record), cookie }
        }
        _ => Plan { action: Action::End(reason), cookie: Some(CookieChange::Clear) },
    })
}

fn create(intent: &Intent, at: &mut Circumstances<'_>) -> Result<Plan, Error> {
    let Some(data) = changed(&intent.delta, &Data::new(), at.is_fresh)? else {
        return Ok(Plan::only(Action::Refuse));
    };
    if intent.login.is_none() && data.is_empty() {
        return Ok(Plan::nothing());
    }
    let (record, cookie) = begin(data, intent, at)?;
    Ok(Plan { action: Action::Create(record), cookie: Some(cookie) })
}

fn begin(
    data: Data,
    intent: &Intent,
    at: &mut Circumstances<'_>,
) -> Result<(Arc<Record>, CookieChange), Error> {
    let token = Token::from_bytes(random(at)?);
    let started = if intent.login.is_some() { at.arrived } else { at.now };
    let record = Record {
        id: token.id(),
        version: version(at)?,
        subject: intent.login.clone(),
        authority: Authority::new(verifier(token.secret(), &token.id(), at)),
        times: Times::start(intent.lifetime.unwrap_or(at.policy.lifetime), started, at.now),
        client: at.client.cloned(),
        data,
    };
    let max_age = record.times.end.since(at.now);
    Ok((Arc::new(record), CookieChange::Set(token, max_age)))
}

/// A new secret at once, in the same record: every earlier one is superseded. Over another subject's session, a new
/// session without data.
fn login(record: &Record, intent: &Intent, at: &mut Circumstances<'_>) -> Result<Plan, Error> {
    let is_first = record.subject.is_none();
    let is_over_another = !is_first && record.subject != intent.login;
    let mut kept = if is_over_another { Data::new() } else { record.data.clone() };
    kept.retain(|name| !name.starts_with(RESERVED_PREFIX) && (!is_first || at.policy.carry_over.keeps(name)));
    // What the request itself wrote belongs to the session it logs in to.
    let Some(data) = intent.delta.apply_to_kept(&record.data, &kept)? else {
        return Ok(Plan::only(Action::Refuse));
    };
    if is_over_another {
        let (new, cookie) = begin(data, intent, at)?;
        return Ok(Plan { action: Action::EndThenCreate(EndReason::Replaced, new), cookie: Some(cookie) });
    }
    let secret = Secret::from_bytes(random(at)?);
    let mut next = record.with_data(data);
    next.version = version(at)?;
    next.subject = intent.login.clone();
    let lifetime =
        intent.lifetime.unwrap_or(if is_first { at.policy.lifetime } else { record.times.lifetime() });
    next.times = record.times.restart(lifetime, at.arrived, at.now);
    next.client = at.client.cloned().or(next.client);
    next.authority.supersede_all();
    next.authority.current = verifier(&secret, &record.id, at);
    let cookie = Some(CookieChange::Set(Token::new(record.id, secret), next.times.end.since(at.now)));
    Ok(Plan { action: Action::Replace { record: Arc::new(next), is_required: true }, cookie })
}

/// A new secret for this request alone; the old one keeps its level until the new one is first seen.
fn step_up(record: &Record, seat: Seat, intent: &Intent, at: &mut Circumstances<'_>) -> Result<Plan, Error> {
    if record.subject.is_none() {
        return Err(anonymous());
    }
    let Some((mut next, _)) = write(record, seat, intent, at)? else {
        return Ok(Plan::only(Action::Refuse));
    };
    let secret = Secret::from_bytes(random(at)?);
    next.version = version(at)?;
    next.times.active = at.now;
    let end = at.arrived + next.times.lifetime().absolute();
    next.authority.epoch = next.authority.epoch.wrapping_add(1);
    let history = next.authority.history.get_or_insert_default();
    if let Some(unseen) = history.pending.take() {
        remember(&mut history.superseded, unseen.verifier.trace());
    }
    let origin = Origin::StepUp { started: at.arrived, end };
    history.pending = Some(Pending { verifier: verifier(&secret, &record.id, at), origin });
    let cookie = Some(CookieChange::Set(Token::new(record.id, secret), end.since(at.now)));
    Ok(Plan { action: Action::Replace { record: Arc::new(next), is_required: true }, cookie })
}

/// A request that leaves authority where it is: it reads, writes, rotates, or sees a successor for the first time.
fn keep(record: &Record, seat: Seat, intent: &Intent, at: &mut Circumstances<'_>) -> Result<Plan, Error> {
    if intent.rotate && record.subject.is_none() {
        return Err(anonymous());
    }
    let touch = if record.times.is_touch_due(at.now) { Action::Touch } else { Action::Nothing };
    let is_due = |record| is_rotation_due(record, intent, at.policy, at.now);
    if seat != Seat::Successor && intent.is_empty() && !is_due(record) {
        return Ok(Plan { action: touch, cookie: offer(record, seat, intent, at) });
    }
    let Some((mut next, mut is_written)) = write(record, seat, intent, at)? else {
        return Ok(Plan::only(Action::Refuse));
    };
    let is_promoted = seat == Seat::Successor;
    let is_rotated = seat != Seat::Previous && is_due(&next) && add_successor(&mut next, at)?;
    let cookie = offer(&next, seat, intent, at);
    if intent.lifetime.is_some() && cookie.is_some() && next.subject.is_some() && !next.authority.is_pending()
    {
        // The same token is sent again, and may be late: it isn't to be rotated out before it has arrived.
        next.authority.history.get_or_insert_default().since = at.now;
        is_written = true;
    }
    if is_written || is_promoted || is_rotated {
        next.version = version(at)?;
        next.times.active = at.now;
        let is_required = is_written || (is_rotated && intent.rotate);
        return Ok(Plan { action: Action::Replace { record: Arc::new(next), is_required }, cookie });
    }
    Ok(Plan { action: touch, cookie })
}

/// The record with the handler's changes, and whether there are any; `None` if a condition of theirs doesn't hold.
/// A successor takes its place first, for timeouts count from a step-up that it came from.
fn write(
    record: &Record,
    seat: Seat,
    intent: &Intent,
    at: &Circumstances<'_>,
) -> Result<Option<(Record, bool)>, Error> {
    let data = if intent.delta.is_empty() {
        record.data.clone()
    } else {
        let Some(data) = changed(&intent.delta, &record.data, at.is_fresh)? else { return Ok(None) };
        data
    };
    let mut next = record.with_data(data);
    if seat == Seat::Successor {
        promote(&mut next, at.now);
    }
    let times = next.times;
    if let Some(lifetime) = intent.lifetime {
        next.times = next.times.extend(lifetime);
    }
    let is_written = next.data != record.data || next.times != times;
    Ok(Some((next, is_written)))
}

fn changed(delta: &Delta, stored: &Data, is_fresh: bool) -> Result<Option<Data>, Error> {
    if is_fresh { delta.apply(stored) } else { Ok(delta.apply_to_loaded(stored)) }
}

/// The successor was seen, so the browser has it: what it replaces is on its way out.
pub(crate) fn promote(record: &mut Record, now: Timestamp) {
    let authority = &mut record.authority;
    let Some(history) = &mut authority.history else { return };
    let Some(pending) = history.pending.take() else { return };
    let replaced = std::mem::replace(&mut authority.current, pending.verifier).trace();
    history.since = now;
    match pending.origin {
        Origin::Rotation { .. } => {
            if history.rotated.len() == TRACES_MAX {
                history.rotated.remove(0);
            }
            history.rotated.push(Rotated { trace: replaced, at: now });
        }
        Origin::StepUp { started, end } => {
            for rotated in std::mem::take(&mut history.rotated) {
                remember(&mut history.superseded, rotated.trace);
            }
            remember(&mut history.superseded, replaced);
            // Set at the next rotation; a secret from a step-up went to one response only.
            history.since = Timestamp::ZERO;
            record.times = Times { started, end, ..record.times };
        }
    }
}

/// A secret that itself came from a rotation less than a grace ago isn't rotated again, even if asked for: a response
/// that still carries it could arrive after its successor was replaced in turn, and look like a theft.
fn is_rotation_due(record: &Record, intent: &Intent, policy: &Policy, now: Timestamp) -> bool {
    if record.subject.is_none() || record.authority.is_pending() {
        return false;
    }
    let history = record.authority.history.as_deref();
    let rotated = history.map_or(Timestamp::ZERO, |history| history.since);
    let has_arrived = rotated == Timestamp::ZERO || now.since(rotated) >= policy.grace;
    let age = now.since(rotated.max(record.times.started));
    has_arrived && (intent.rotate || policy.rotation_period.is_some_and(|period| age >= period))
}

fn add_successor(record: &mut Record, at: &mut Circumstances<'_>) -> Result<bool, Error> {
    let Some(presented) = at.presented else { return Ok(false) };
    let salt = random(at)?;
    let verifier = verifier(&presented.successor(&salt), &record.id, at);
    let history = record.authority.history.get_or_insert_default();
    history.pending = Some(Pending { verifier, origin: Origin::Rotation { salt } });
    Ok(true)
}

/// The cookie for a request that kept its authority: the successor of the secret it presented, while that is current
/// and the successor unseen; or the same token again, when its lifetime was changed.
fn offer(record: &Record, seat: Seat, intent: &Intent, at: &Circumstances<'_>) -> Option<CookieChange> {
    let presented = at.presented.filter(|_| seat != Seat::Previous)?;
    let max_age = record.times.end.since(at.now);
    let pending = record.authority.history.as_ref().and_then(|history| history.pending.as_ref());
    match pending.map(|pending| &pending.origin) {
        Some(Origin::Rotation { salt }) => {
            Some(CookieChange::Set(Token::new(record.id, presented.successor(salt)), max_age))
        }
        Some(Origin::StepUp { .. }) => None,
        None => intent.lifetime.map(|_| CookieChange::Set(Token::new(record.id, presented.clone()), max_age)),
    }
}

impl Authority {
    /// Whether a successor or a step-up's secret is out and unseen.
    fn is_pending(&self) -> bool {
        self.history.as_ref().is_some_and(|history| history.pending.is_some())
    }

    fn supersede_all(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        let History { pending, rotated, superseded, since, .. } = &mut **self.history.get_or_insert_default();
        for rotated in std::mem::take(rotated) {
            remember(superseded, rotated.trace);
        }
        remember(superseded, self.current.trace());
        if let Some(pending) = pending.take() {
            remember(superseded, pending.verifier.trace());
        }
        *since = Timestamp::ZERO;
    }
}

fn remember(traces: &mut Vec<Trace>, trace: Trace) {
    if traces.len() == TRACES_MAX {
        traces.remove(0);
    }
    traces.push(trace);
}

impl Plan {
    fn nothing() -> Self {
        Self::only(Action::Nothing)
    }

    fn only(action: Action) -> Self {
        Self { action, cookie: None }
    }
}

fn verifier(secret: &Secret, id: &SessionId, at: &Circumstances<'_>) -> Verifier {
    match at.keys {
        Some(keys) => keys.verifier(secret, id),
        None => secret.verifier(id),
    }
}

fn random<const N: usize>(at: &mut Circumstances<'_>) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    (at.entropy)(&mut bytes)?;
    Ok(bytes)
}

fn version(at: &mut Circumstances<'_>) -> Result<Version, Error> {
    Ok(Version::from_write_id(u64::from_le_bytes(random(at)?)))
}

fn anonymous() -> Error {
    Error::anonymous(
        "only an authenticated session's secret can be replaced: log in first, which replaces it anyway",
    )
}
