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
    AuthorityKeys, Data, Error, Policy, Record, Secret, SessionId, Timestamp, Token, Version,
    data::RESERVED_PREFIX,
    delta::Delta,
    lifetime::Times,
    record::{Authority, StepUp},
    token::Verifier,
};

mod intent;
mod rotation;
mod standing;

use intent::Wish;
pub use intent::{EndReason, Intent};
pub(crate) use rotation::promote;
use rotation::{add_step_up, add_successor, is_rotation_due, offer};
pub use standing::{Seat, Standing};

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
    let is_quiet = || match standing {
        Standing::Held { record, seat } => {
            !seat.is_new()
                && !record.authority.is_pending()
                && record.is_alive(now)
                && !record.times.is_touch_due(now)
                && !is_rotation_due(record, intent, policy, now)
        }
        Standing::Absent | Standing::Superseded | Standing::Ended | Standing::Degraded => true,
    };
    intent.is_empty() && is_quiet()
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
    next.authority.epoch = next.authority.epoch.wrapping_add(1);
    next.authority.supersede_all(verifier(&secret, &record.id, at));
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
    let step_up = StepUp { verifier: verifier(&secret, &record.id, at), started: at.arrived };
    let end = next.times.stepped_up(step_up.started).end;
    add_step_up(&mut next.authority, step_up, at.now);
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
    if !seat.is_new() && intent.is_empty() && !is_due(record) {
        return Ok(Plan { action: touch, cookie: offer(record, seat, intent, at) });
    }
    let Some((mut next, mut is_written)) = write(record, seat, intent, at)? else {
        return Ok(Plan::only(Action::Refuse));
    };
    let is_promoted = seat.is_new();
    let is_rotated = seat != Seat::Previous && is_due(&next) && add_successor(&mut next, at)?;
    // The same token again tells of other timeouts, and of nothing else: sent with each request, it would never be replaced.
    let is_other_life = next.times.end != record.times.end || next.times.idle_s != record.times.idle_s;
    let is_told = is_other_life || intent.lifetime.is_none() || next.authority.is_pending();
    let cookie = offer(&next, seat, intent, at).filter(|_| is_told);
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
/// A secret that is new takes its place first, for timeouts count from the step-up that it came from.
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
    promote(&mut next, seat, at.now);
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
