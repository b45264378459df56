//! Keys for what stores keep of authority: verifiers that need a key, and a code over who may act for whom until when.
//!
//! Who can write a store, and has no key, can neither plant a session nor change whose it is. Not covered: data, the
//! idle timeout's times, and the way back to what the same session's record said before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    Error, Record, Secret, SessionId, Subject, Timestamp,
    exchange::Action,
    hmac::Hmac,
    keyring::{Key, KeyId, KeyRing},
    record::{Authority, History},
    token::Verifier,
};

/// A ring's keys, ready for verifiers and records. Made once for each state of the ring.
pub struct AuthorityKeys {
    keys: Vec<AuthorityKey>,
    primary: usize,
}

struct AuthorityKey {
    id: KeyId,
    verifier: Hmac,
    record: Hmac,
}

/// What a record's code says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authenticity {
    /// It was made under a key of the ring, and its authority is as it was then.
    Sound,
    /// It has no code: it was made without a key ring, or somebody took the code away.
    Unkeyed,
    /// It names a key that isn't in the ring.
    UnknownKey(KeyId),
    /// Its id, subject, authentication time, end or verifiers aren't those that the code was made for.
    Forged,
}

/// A code over a record's authority, and the key it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code {
    pub(crate) key: KeyId,
    mac: [u8; 16],
}

/// Everything that a code covers.
#[derive(Serialize)]
struct Covered<'a> {
    id: SessionId,
    subject: Option<&'a str>,
    started: Timestamp,
    end: Timestamp,
    authority: &'a Authority,
    keys: VerifierKeys,
}

/// Which key each verifier of an authority was made with, in the authority's order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VerifierKeys {
    current: KeyId,
    pending: KeyId,
    step_ups: Vec<KeyId>,
    rotated: Vec<KeyId>,
    superseded: Vec<KeyId>,
}

impl AuthorityKeys {
    /// The keys of this ring.
    #[must_use]
    pub fn new(ring: &KeyRing) -> Self {
        let primary = ring.keys().position(|key| key.id() == ring.primary().id()).unwrap_or(0);
        Self { keys: ring.keys().map(AuthorityKey::new).collect(), primary }
    }

    /// Checks a record that comes from a store, before anything in it is believed.
    #[must_use]
    pub fn examine(&self, record: &Record) -> Authenticity {
        let Some(code) = record.authority.code() else { return Authenticity::Unkeyed };
        let Some(key) = self.key(code.key) else { return Authenticity::UnknownKey(code.key) };
        match key.code(record) {
            Ok(expected) if bool::from(expected.mac.ct_eq(&code.mac)) => Authenticity::Sound,
            _ => Authenticity::Forged,
        }
    }

    /// The verifier of a new secret, under the primary key.
    pub(crate) fn verifier(&self, secret: &Secret, id: &SessionId) -> Verifier {
        let key = &self.keys[self.primary];
        secret.keyed_verifier(id, key.id, &key.verifier)
    }

    /// The verifier of a secret as this key makes it; `None` if the ring no longer has the key.
    pub(crate) fn verifier_under(&self, key: KeyId, secret: &Secret, id: &SessionId) -> Option<Verifier> {
        self.key(key).map(|key| secret.keyed_verifier(id, key.id, &key.verifier))
    }

    /// Binds the record that an action stores.
    pub(crate) fn bind_action(&self, action: &mut Action, presented: Option<&Secret>) -> Result<(), Error> {
        match action {
            Action::Create(record) | Action::Replace { record, .. } | Action::EndThenCreate(_, record) => {
                self.bind(Arc::make_mut(record), presented)
            }
            Action::Nothing | Action::Touch | Action::End(_) | Action::Refuse | Action::Unavailable => Ok(()),
        }
    }

    /// Puts a record under the primary key: its code, and those verifiers whose secret is at hand. Others stay under
    /// the key they were made with, which the ring keeps for longer than they can matter.
    fn bind(&self, record: &mut Record, presented: Option<&Secret>) -> Result<(), Error> {
        let primary = &self.keys[self.primary];
        if record.authority.current.key() != primary.id
            && let Some(secret) = presented
            && record.authority.is_current(Some(self), &record.id, secret)
        {
            record.authority.current = self.verifier(secret, &record.id);
            let pending = record.authority.history.as_mut().and_then(|history| history.pending.as_mut());
            if let Some(pending) = pending {
                pending.verifier = self.verifier(&secret.successor(&pending.salt), &record.id);
            }
        }
        // The code has its place there, and covers that there is one.
        record.authority.history.get_or_insert_default();
        let code = Some(primary.code(record)?);
        record.authority.history.get_or_insert_default().code = code;
        Ok(())
    }

    fn key(&self, id: KeyId) -> Option<&AuthorityKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl AuthorityKey {
    fn new(key: &Key) -> Self {
        Self {
            id: key.id(),
            verifier: Hmac::new(&key.derive("cloakroom/verifier/1")),
            record: Hmac::new(&key.derive("cloakroom/authority/1")),
        }
    }

    fn code(&self, record: &Record) -> Result<Code, Error> {
        let covered = Covered {
            id: record.id,
            subject: record.subject.as_ref().map(Subject::as_str),
            started: record.times.started,
            end: record.times.end,
            authority: &record.authority,
            keys: VerifierKeys::of(&record.authority),
        };
        let bytes = postcard::to_allocvec(&covered)
            .map_err(|error| Error::corrupt("the record's authority can't be written").because(error))?;
        let mut mac = [0; 16];
        mac.copy_from_slice(&self.record.of(&[&bytes])[..16]);
        Ok(Code { key: self.id, mac })
    }
}

impl VerifierKeys {
    pub(crate) fn of(authority: &Authority) -> Self {
        static NOTHING: History = History::NOTHING;
        let history = authority.history.as_deref().unwrap_or(&NOTHING);
        Self {
            current: authority.current.key(),
            pending: history.pending.as_ref().map_or(KeyId::NONE, |pending| pending.verifier.key()),
            step_ups: history.step_ups.iter().map(|step_up| step_up.verifier.key()).collect(),
            rotated: history.rotated.iter().map(|rotated| rotated.trace.key()).collect(),
            superseded: history.superseded.iter().map(|trace| trace.key()).collect(),
        }
    }

    /// Gives the verifiers, which were read without their keys, these. `None` if they don't match in number.
    pub(crate) fn give_to(&self, authority: &mut Authority) -> Option<()> {
        authority.current.set_key(self.current);
        let history = authority.history.as_deref_mut()?;
        let given = [&self.step_ups, &self.rotated, &self.superseded].map(Vec::len);
        if given != [history.step_ups.len(), history.rotated.len(), history.superseded.len()] {
            return None;
        }
        match &mut history.pending {
            Some(pending) => pending.verifier.set_key(self.pending),
            None if self.pending != KeyId::NONE => return None,
            None => {}
        }
        history
            .step_ups
            .iter_mut()
            .zip(&self.step_ups)
            .for_each(|(step_up, key)| step_up.verifier.set_key(*key));
        history.rotated.iter_mut().zip(&self.rotated).for_each(|(rotated, key)| rotated.trace.set_key(*key));
        history.superseded.iter_mut().zip(&self.superseded).for_each(|(trace, key)| trace.set_key(*key));
        Some(())
    }
}

impl std::fmt::Debug for AuthorityKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id)).finish()
    }
}
