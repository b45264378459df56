//! Who may act for a session.

use serde::{Deserialize, Serialize};

use crate::{
    AuthorityKeys, Error, Secret, SessionId, Timestamp,
    authority_keys::{Code, VerifierKeys},
    keyring::KeyId,
    record::{FORMAT, FORMAT_KEYED},
    token::{Trace, Verifier},
};

/// Who may act for a session: verifiers of its secrets, and the epoch that rises whenever authority changes hands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authority {
    pub(crate) epoch: u32,
    pub(crate) current: Verifier,
    /// Most sessions never rotate a secret: they pay eight bytes for the possibility.
    pub(crate) history: Option<Box<History>>,
}

/// Secrets other than the current one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct History {
    /// The successor by rotation, handed out and not seen yet.
    pub(crate) pending: Option<Box<Pending>>,
    /// Secrets from step-ups that were handed out and not seen yet, oldest first. There are hardly ever any.
    pub(crate) step_ups: Vec<StepUp>,
    /// Replaced in a rotation since authentication, oldest first. Presenting one after its grace is reuse.
    pub(crate) rotated: Vec<Rotated>,
    /// Lost their authority at a login or a step-up. Presenting one is never an alarm.
    pub(crate) superseded: Vec<Trace>,
    /// When the current secret took another's place or was last sent again, or a step-up's was sent; zero if none of
    /// it happened.
    pub(crate) since: Timestamp,
    /// What the key ring vouches for. It lies here so that sessions without a key ring have no room for it.
    #[serde(skip)]
    pub(crate) code: Option<Code>,
}

impl History {
    pub(crate) const NOTHING: Self = Self {
        pending: None,
        step_ups: Vec::new(),
        rotated: Vec::new(),
        superseded: Vec::new(),
        since: Timestamp::ZERO,
        code: None,
    };
}

/// A successor: derived from the current secret and this salt, so that whoever presents that is handed it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) verifier: Verifier,
    pub(crate) salt: [u8; 16],
}

/// A step-up's secret: random, and handed to the one request that authenticated, which arrived at this time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StepUp {
    pub(crate) verifier: Verifier,
    pub(crate) started: Timestamp,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rotated {
    pub(crate) trace: Trace,
    pub(crate) at: Timestamp,
}

/// How many replaced secrets of each kind a record remembers; beyond that, the oldest are forgotten and count as
/// unknown.
pub(crate) const TRACES_MAX: usize = 256;

/// How many secrets from step-ups may be out and unseen; beyond that, the oldest is superseded.
pub(crate) const STEP_UPS_MAX: usize = 4;

/// What a presented secret is to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The current one.
    Current,
    /// The successor of the current one, seen for the first time.
    Successor,
    /// One from a step-up, seen for the first time; and its place among those that are out, oldest first.
    SteppedUp(u8),
    /// Replaced a short while ago: still served, but sent no cookie.
    Previous,
    /// Replaced longer ago than the grace: stolen, or replayed.
    Reused,
    /// It had authority before a login or a step-up.
    Superseded,
    /// None of these.
    Unknown,
}

impl Authority {
    /// The authority of a new session, whose secret has this verifier.
    #[must_use]
    pub fn new(current: Verifier) -> Self {
        Self { epoch: 0, current, history: None }
    }

    /// Rises at each login and step-up. A request may change the session only while it is as when it began.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Looks a presented secret up in a record that was made without a key ring.
    #[must_use]
    pub fn examine(
        &self,
        id: &SessionId,
        secret: &Secret,
        grace: std::time::Duration,
        now: Timestamp,
    ) -> Presented {
        self.examine_under(None, id, secret, grace, now)
    }

    /// Looks a presented secret up. Each verifier is compared under the key it was made with; one whose key has left
    /// the ring matches nothing.
    #[must_use]
    #[inline]
    pub fn examine_under(
        &self,
        keys: Option<&AuthorityKeys>,
        id: &SessionId,
        secret: &Secret,
        grace: std::time::Duration,
        now: Timestamp,
    ) -> Presented {
        if self.is_current(keys, id, secret) {
            return Presented::Current;
        }
        self.examine_others(Candidates { keys, id, secret, first: None, others: Vec::new() }, grace, now)
    }

    fn examine_others(
        &self,
        mut candidates: Candidates<'_>,
        grace: std::time::Duration,
        now: Timestamp,
    ) -> Presented {
        let Some(history) = &self.history else { return Presented::Unknown };
        let mut is_unseen =
            |verifier: &Verifier| candidates.under(verifier.key()).is_some_and(|it| verifier.matches(&it));
        if history.pending.as_ref().is_some_and(|pending| is_unseen(&pending.verifier)) {
            return Presented::Successor;
        }
        for (place, step_up) in (0..u8::MAX).zip(&history.step_ups) {
            if is_unseen(&step_up.verifier) {
                return Presented::SteppedUp(place);
            }
        }
        let mut is_of = |trace: &Trace| candidates.under(trace.key()).is_some_and(|it| trace.matches(&it));
        if let Some(rotated) = history.rotated.iter().rev().find(|rotated| is_of(&rotated.trace)) {
            return if now.since(rotated.at) <= grace { Presented::Previous } else { Presented::Reused };
        }
        if history.superseded.iter().any(is_of) {
            return Presented::Superseded;
        }
        Presented::Unknown
    }

    /// Whether the session was stored under a key ring, so that it can't be served without one.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.code().is_some()
    }

    pub(crate) fn code(&self) -> Option<Code> {
        self.history.as_ref().and_then(|history| history.code)
    }

    /// Whether a presented secret is the current one, as nearly all are: found out with one hash. Where it isn't, it may
    /// still be honoured.
    #[must_use]
    #[inline]
    pub fn is_current(&self, keys: Option<&AuthorityKeys>, id: &SessionId, secret: &Secret) -> bool {
        let verifier = verifier_under(keys, self.current.key(), id, secret);
        verifier.is_some_and(|verifier| self.current.matches(&verifier))
    }

    /// What the binary form has behind that of an authority without a key ring.
    pub(crate) fn coded(&self) -> Option<(Code, VerifierKeys)> {
        self.code().map(|code| (code, VerifierKeys::of(self)))
    }

    pub(crate) fn give_code(&mut self, (code, keys): (Code, VerifierKeys)) -> Result<(), Error> {
        let given = keys.give_to(self);
        match (&mut self.history, given) {
            (Some(history), Some(())) => history.code = Some(code),
            _ => {
                return Err(Error::corrupt(
                    "the stored authority is damaged: its verifiers don't match their keys",
                ));
            }
        }
        Ok(())
    }

    /// The binary form, for stores that keep the record's parts in columns of their own.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] if it can't be written.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let bytes = match self.coded() {
            None => postcard::to_allocvec(&(FORMAT, self)),
            Some(coded) => postcard::to_allocvec(&(FORMAT_KEYED, self, coded)),
        };
        bytes.map_err(|error| Error::corrupt("the session's authority can't be written").because(error))
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`Error::is_corrupt`] if the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::corrupt("the stored authority is damaged, or was written by a newer version");
        let Ok(((format, mut authority), rest)) = postcard::take_from_bytes::<(u8, Self)>(bytes) else {
            return Err(damaged());
        };
        match (format, rest) {
            (FORMAT, []) => Ok(authority),
            (FORMAT_KEYED, rest) => match postcard::take_from_bytes(rest) {
                Ok((coded, [])) => authority.give_code(coded).map(|()| authority),
                _ => Err(damaged()),
            },
            _ => Err(damaged()),
        }
    }
}

#[inline]
fn verifier_under(
    keys: Option<&AuthorityKeys>,
    key: KeyId,
    id: &SessionId,
    secret: &Secret,
) -> Option<Verifier> {
    match key {
        KeyId::NONE => Some(secret.verifier(id)),
        key => keys?.verifier_under(key, secret, id),
    }
}

/// The verifiers that a presented secret has, by key: nearly always one, made once.
struct Candidates<'a> {
    keys: Option<&'a AuthorityKeys>,
    id: &'a SessionId,
    secret: &'a Secret,
    first: Option<Verifier>,
    others: Vec<Verifier>,
}

impl Candidates<'_> {
    fn under(&mut self, key: KeyId) -> Option<Verifier> {
        let made = self.first.iter().chain(&self.others).find(|verifier| verifier.key() == key);
        if let Some(made) = made {
            return Some(*made);
        }
        let made = verifier_under(self.keys, key, self.id, self.secret)?;
        match self.first {
            None => self.first = Some(made),
            Some(_) => self.others.push(made),
        }
        Some(made)
    }
}
