//! What a request asks for, and what it is answered.

use cloakroom_core::{
    Data, Key, Lifetime, Policy, Subject, Token,
    exchange::{EndReason, Intent},
};

/// What a request's handler does with the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) writes: bool,
    pub(crate) lifetime: Option<Lifetime>,
    pub(crate) rotates: bool,
    pub(crate) steps_up: bool,
    pub(crate) logs_in: Option<&'static str>,
    pub(crate) ends: bool,
    pub(crate) then: Option<Box<Ask>>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) done: Done,
    pub(crate) cookie: Cookie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Nothing,
    Touched,
    Created,
    Replaced,
    Ended,
    EndedAndCreated,
    Refused,
    Failed,
}

#[derive(Clone, Debug)]
pub(crate) enum Cookie {
    Untouched,
    Set(Token),
    Cleared,
}

impl Ask {
    pub(crate) fn read() -> Self {
        Self::default()
    }

    pub(crate) fn write() -> Self {
        Self { writes: true, ..Self::default() }
    }

    pub(crate) fn rotate() -> Self {
        Self { rotates: true, ..Self::default() }
    }

    pub(crate) fn step_up() -> Self {
        Self { steps_up: true, ..Self::default() }
    }

    pub(crate) fn login(subject: &'static str) -> Self {
        Self { logs_in: Some(subject), ..Self::default() }
    }

    pub(crate) fn lifetime(lifetime: Lifetime) -> Self {
        Self { lifetime: Some(lifetime), ..Self::default() }
    }

    pub(crate) fn logout() -> Self {
        Self { ends: true, ..Self::default() }
    }

    pub(crate) fn then(self, then: Self) -> Self {
        Self { then: Some(Box::new(then)), ..self }
    }

    pub(crate) fn intent(&self, loaded: &Data, number: usize, prefix: &str, policy: &Policy) -> Intent {
        let mut intent = Intent::new(policy.record_bytes_max);
        if self.writes {
            let delta = &mut intent.delta;
            delta.update(loaded, COUNT, |count| *count += 1).unwrap();
            delta.insert(loaded, Key::named(format!("{prefix}{number}")).unwrap(), &number).unwrap();
        }
        intent.login = self.logs_in.map(|subject| Subject::new(subject).unwrap());
        intent.lifetime = self.lifetime;
        intent.rotate = self.rotates;
        intent.step_up = self.steps_up;
        if self.ends {
            intent.end(EndReason::Logout, policy.record_bytes_max);
            intent.then =
                self.then.as_ref().map(|then| Box::new(then.intent(&Data::new(), number, "then", policy)));
        }
        intent
    }
}

/// How many writes a session has seen.
pub(crate) const COUNT: Key<u32> = Key::new("count");

impl Answer {
    pub(crate) fn is_served(&self) -> bool {
        !matches!(self.done, Done::Refused | Done::Failed)
    }

    pub(crate) fn token(&self) -> Option<Token> {
        match &self.cookie {
            Cookie::Set(token) => Some(token.clone()),
            Cookie::Untouched | Cookie::Cleared => None,
        }
    }

    pub(crate) fn leaves_the_cookie(&self) -> bool {
        matches!(self.cookie, Cookie::Untouched)
    }
}
