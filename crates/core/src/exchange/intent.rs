//! What a handler wants of the session.

use crate::{Lifetime, Subject, delta::Delta};

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
    /// Along with a login, end the subject's other sessions. That is for who carries the plan out.
    pub ends_others: bool,
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
            ends_others: false,
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

    /// What belongs to the session that there is in the end: of what came after an end, a new one.
    #[must_use]
    pub fn last(&self) -> &Self {
        match &self.then {
            Some(then) if self.end.is_some() => then.last(),
            _ => self,
        }
    }

    /// Whether the session changes hands, or its secret is to be replaced.
    #[must_use]
    pub fn moves_authority(&self) -> bool {
        matches!(self.wish(), Wish::Login | Wish::StepUp | Wish::Rotate)
    }

    pub(super) fn wish(&self) -> Wish {
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
pub(super) enum Wish {
    End(EndReason),
    Login,
    StepUp,
    Rotate,
    Write,
    Read,
}
