//! What becomes of a decision where a [rule](crate::rules) is broken.

use std::sync::Arc;

use cloakroom_core::{
    Error, Record, Subject, Timestamp, Token,
    exchange::{Action, CookieChange, Intent, Plan, Seat, Standing},
    record::Presented,
};

use crate::{
    rules::Rule,
    world::{Work, World},
};

impl World {
    /// What a secret is taken for: for what it is, unless a rule is broken.
    pub(crate) fn taken_for(&self, token: &Token, presented: Presented) -> Presented {
        match presented {
            Presented::Superseded if Rule::SupersededIsNotAbsent.is_broken() => Presented::Unknown,
            Presented::Superseded if Rule::OnlyWhatWasRotatedOutAlarms.is_broken() => Presented::Reused,
            Presented::Reused
                if Rule::AllThatWasRotatedOutAlarms.is_broken() && !self.model.is_retired_last(token) =>
            {
                Presented::Unknown
            }
            _ if self.robbed.contains(&token.expose()) => Presented::Superseded,
            presented => presented,
        }
    }

    /// The plan, and what becomes of it where a rule is broken.
    pub(crate) fn undone(&mut self, work: &Work, plan: Plan, now: Timestamp) -> Result<Plan, Error> {
        let is_logout = work.intent.end.is_some() && work.intent.then.as_ref().is_none_or(|it| it.is_empty());
        let is_lost = matches!(work.standing, Standing::Superseded);
        Ok(match plan {
            _ if is_logout && is_lost && Rule::ASupersededLogoutIsLost.is_broken() => {
                Plan { action: Action::Nothing, cookie: Some(CookieChange::Clear) }
            }
            Plan {
                action: Action::Replace { record, .. },
                cookie: Some(CookieChange::Set(token, max_age)),
            } if !work.intent.moves_authority() && Rule::TheOldIsGoodUntilTheNewIsSeen.is_broken() => {
                let seen = Standing::Held { record, seat: Seat::Successor };
                let nothing = Intent::new(self.policy.record_bytes_max);
                let plan = self.plan_as(&seen, &nothing, Some(token.secret()), work, now)?;
                Plan { cookie: Some(CookieChange::Set(token, max_age)), ..plan }
            }
            Plan { action: Action::Replace { mut record, is_required }, cookie }
                if Rule::AnonymousIsNotRotated.is_broken() =>
            {
                if let Standing::Held { record: before, .. } = &work.standing {
                    let subject = work.intent.login.clone().or_else(|| before.subject.clone());
                    Arc::make_mut(&mut record).subject = subject;
                }
                Plan { action: Action::Replace { record, is_required }, cookie }
            }
            plan => plan,
        })
    }
}

/// Where a request stands, or is taken to stand where a rule is broken.
pub(crate) fn mistaken(standing: &Standing) -> Standing {
    match standing {
        Standing::Held { record, seat: Seat::Previous } if Rule::OnlyTheCurrentIsSentAnother.is_broken() => {
            Standing::Held { record: Arc::clone(record), seat: Seat::Current }
        }
        Standing::Held { record, seat }
            if record.subject.is_none() && Rule::AnonymousIsNotRotated.is_broken() =>
        {
            let mut record = Record::clone(record);
            record.subject = Some(Subject::new("somebody").unwrap());
            Standing::Held { record: Arc::new(record), seat: *seat }
        }
        standing => standing.clone(),
    }
}
