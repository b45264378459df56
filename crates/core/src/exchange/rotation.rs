//! How one secret takes another's place, and to whom the new one is sent.

use super::{Circumstances, CookieChange, Intent, Seat, random, verifier};
use crate::{
    Error, Policy, Record, Timestamp, Token,
    record::{Authority, History, Pending, Rotated, STEP_UPS_MAX, StepUp, TRACES_MAX},
    token::{Trace, Verifier},
};

/// A secret that was handed out is seen for the first time, so the browser has it: what it replaces is on its way out.
/// What was handed out later stays as it is.
pub(crate) fn promote(record: &mut Record, seat: Seat, now: Timestamp) {
    let authority = &mut record.authority;
    let Some(history) = &mut authority.history else { return };
    match seat {
        Seat::Current | Seat::Previous => {}
        Seat::Successor => {
            let Some(pending) = history.pending.take() else { return };
            let replaced = std::mem::replace(&mut authority.current, pending.verifier).trace();
            if history.rotated.len() == TRACES_MAX {
                history.rotated.remove(0);
            }
            history.rotated.push(Rotated { trace: replaced, at: now });
            history.since = now;
        }
        Seat::SteppedUp(place) => {
            let mut older = std::mem::take(&mut history.step_ups);
            let newer = older.split_off(older.len().min(usize::from(place) + 1));
            let Some(seen) = older.pop() else { return };
            // A secret from a step-up went to one response only: if no other is out, the next may follow at once.
            let since = if newer.is_empty() { Timestamp::ZERO } else { history.since };
            history.step_ups = older;
            authority.supersede_all(seen.verifier);
            let history = authority.history.get_or_insert_default();
            (history.step_ups, history.since) = (newer, since);
            record.times = record.times.stepped_up(seen.started);
        }
    }
}

/// Adds a step-up's secret to those that are out. It takes nobody else's place before it is seen.
pub(super) fn add_step_up(authority: &mut Authority, step_up: StepUp, now: Timestamp) {
    authority.epoch = authority.epoch.wrapping_add(1);
    let history = authority.history.get_or_insert_default();
    if history.step_ups.len() == STEP_UPS_MAX {
        remember(&mut history.superseded, history.step_ups.remove(0).verifier.trace());
    }
    history.step_ups.push(step_up);
    history.since = now;
}

/// A secret that itself came from a rotation less than a grace ago isn't rotated again, even if asked for: a response
/// that still carries it could arrive after its successor was replaced in turn, and look like a theft.
pub(super) fn is_rotation_due(record: &Record, intent: &Intent, policy: &Policy, now: Timestamp) -> bool {
    let history = record.authority.history.as_deref();
    let is_out = |history: &History| history.pending.is_some() || history.is_step_up_under_way(policy, now);
    if record.subject.is_none() || history.is_some_and(is_out) {
        return false;
    }
    let rotated = history.map_or(Timestamp::ZERO, |history| history.since);
    let has_arrived = rotated == Timestamp::ZERO || now.since(rotated) >= policy.grace;
    let age = now.since(rotated.max(record.times.started));
    has_arrived && (intent.rotate || policy.rotation_period.is_some_and(|period| age >= period))
}

pub(super) fn add_successor(record: &mut Record, at: &mut Circumstances<'_>) -> Result<bool, Error> {
    let Some(presented) = at.presented else { return Ok(false) };
    let salt = random(at)?;
    let verifier = verifier(&presented.successor(&salt), &record.id, at);
    let history = record.authority.history.get_or_insert_default();
    history.pending = Some(Box::new(Pending { verifier, salt }));
    Ok(true)
}

/// The cookie for a request that kept its authority: the successor of the secret it presented, while that is current
/// and the successor unseen; or the same token again, when its lifetime was changed. Nothing that could arrive behind
/// a step-up's secret, and take its place in the browser.
pub(super) fn offer(
    record: &Record,
    seat: Seat,
    intent: &Intent,
    at: &Circumstances<'_>,
) -> Option<CookieChange> {
    let presented = at.presented.filter(|_| seat != Seat::Previous)?;
    let history = record.authority.history.as_deref();
    if history.is_some_and(|history| history.is_step_up_under_way(at.policy, at.now)) {
        return None;
    }
    let secret = match history.and_then(|history| history.pending.as_ref()) {
        Some(pending) => presented.successor(&pending.salt),
        None if intent.lifetime.is_some() => presented.clone(),
        None => return None,
    };
    Some(CookieChange::Set(Token::new(record.id, secret), record.times.end.since(at.now)))
}

impl Authority {
    /// Whether a successor by rotation is out and unseen.
    pub(super) fn is_pending(&self) -> bool {
        self.history.as_ref().is_some_and(|history| history.pending.is_some())
    }

    /// Puts a secret in the place of all that had authority, which are remembered.
    pub(super) fn supersede_all(&mut self, current: Verifier) {
        let before = std::mem::replace(&mut self.current, current);
        let history = self.history.get_or_insert_default();
        let rotated = std::mem::take(&mut history.rotated).into_iter().map(|rotated| rotated.trace);
        let pending = history.pending.take().map(|pending| pending.verifier.trace());
        let step_ups = std::mem::take(&mut history.step_ups);
        let step_ups = step_ups.into_iter().map(|step_up| step_up.verifier.trace());
        for trace in rotated.chain([before.trace()]).chain(pending).chain(step_ups) {
            remember(&mut history.superseded, trace);
        }
        history.since = Timestamp::ZERO;
    }

    /// The seat of the secret that was handed out last, of those that weren't seen.
    pub(crate) fn newest(&self) -> Seat {
        let places = (0..u8::MAX).zip(self.history.iter().flat_map(|history| &history.step_ups));
        match places.last() {
            Some((place, _)) => Seat::SteppedUp(place),
            None if self.is_pending() => Seat::Successor,
            None => Seat::Current,
        }
    }

    pub(super) fn step_up(&self, place: u8) -> Option<&StepUp> {
        self.history.as_ref().and_then(|history| history.step_ups.get(usize::from(place)))
    }
}

impl History {
    /// Whether the response with a step-up's secret may still be under way, or a request that was sent before it
    /// arrived. After that, who presents an older secret lost the response, or never was to have it.
    fn is_step_up_under_way(&self, policy: &Policy, now: Timestamp) -> bool {
        let way_out = policy.rotation_period.unwrap_or(policy.grace);
        !self.step_ups.is_empty() && now.since(self.since) < way_out + policy.grace
    }
}

fn remember(traces: &mut Vec<Trace>, trace: Trace) {
    if traces.len() == TRACES_MAX {
        traces.remove(0);
    }
    traces.push(trace);
}
