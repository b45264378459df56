//! What stands under a key: a byte for the format, a head, and of a session its record.

use std::sync::Arc;

use cloakroom::{
    Error, Record, SessionId, Timestamp, Version,
    store::{EndReason, Revocation, Tombstone},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const FORMAT: u8 = 1;

/// What stands under a session's key.
pub(crate) enum Entry {
    /// The session, and if it belongs to somebody, from when.
    Session(Arc<Record>, Option<Epoch>),
    Ended(Tombstone),
}

/// A stretch in the life of a subject: it ends with every revocation, and nothing ever brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    /// Drawn when the subject's state was begun. If that is lost, the next one has another.
    life: [u8; 16],
    /// How many revocations there were in this life.
    revocations: u32,
}

/// What stands under a subject's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) epoch: Epoch,
    /// Sessions of the subject end by this time.
    until_ms: u64,
    spared: Option<Spared>,
    note: Option<Note>,
}

/// The one session that the last revocation spared.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Spared {
    id: [u8; 16],
    /// The first of the revocations in a row that spared it.
    since: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Note {
    at_ms: u64,
    except: Option<[u8; 16]>,
    reason: Reason,
    version: u64,
    tombstones_expire_ms: u64,
}

#[derive(Serialize, Deserialize)]
enum Head {
    Anonymous,
    Owned(Epoch),
    Ended { id: [u8; 16], version: u64, at_ms: u64, reason: Reason, expires_ms: u64 },
}

/// Numbered by hand: what is stored outlives this code.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Reason(u8);

const REASONS: [EndReason; 4] =
    [EndReason::Logout, EndReason::Revoked, EndReason::Replaced, EndReason::Reuse];

/// A note is of use to logins in progress, and kept for a day.
const NOTE_KEPT_MS: u64 = 86_400_000;

pub(crate) fn session(record: &Record, epoch: Option<Epoch>) -> Result<Vec<u8>, Error> {
    let mut bytes = encoded(&epoch.map_or(Head::Anonymous, Head::Owned))?;
    bytes.extend_from_slice(&record.encode()?);
    Ok(bytes)
}

pub(crate) fn tombstone(tombstone: &Tombstone) -> Result<Vec<u8>, Error> {
    encoded(&Head::Ended {
        id: *tombstone.id.as_bytes(),
        version: tombstone.version.write_id(),
        at_ms: tombstone.at.as_millis(),
        reason: Reason::of(tombstone.reason)?,
        expires_ms: tombstone.expires.as_millis(),
    })
}

/// Reads what stands under this session's key.
pub(crate) fn read(bytes: &[u8], id: SessionId) -> Result<Entry, Error> {
    let (head, rest) = decoded(bytes)?;
    let (entry, found) = match head {
        Head::Ended { id, version, at_ms, reason, expires_ms } => {
            let id = SessionId::from_bytes(id);
            let tombstone = Tombstone {
                id,
                version: Version::from_write_id(version),
                at: Timestamp::from_millis(at_ms),
                reason: reason.read()?,
                expires: Timestamp::from_millis(expires_ms),
            };
            (Entry::Ended(tombstone), id)
        }
        Head::Anonymous => session_in(rest, None)?,
        Head::Owned(epoch) => session_in(rest, Some(epoch))?,
    };
    if found != id {
        return Err(Error::corrupt(format!("Memcached has another session under the key of {id}")));
    }
    Ok(entry)
}

fn session_in(bytes: &[u8], epoch: Option<Epoch>) -> Result<(Entry, SessionId), Error> {
    let record = Record::decode(bytes)?;
    if record.subject.is_some() != epoch.is_some() {
        return Err(Error::corrupt(format!("the head of session {} doesn't fit its record", record.id)));
    }
    let id = record.id;
    Ok((Entry::Session(Arc::new(record), epoch), id))
}

impl State {
    /// The state of a subject that has none.
    pub(crate) fn begun() -> Result<Self, Error> {
        let mut life = [0; 16];
        getrandom::fill(&mut life).map_err(|error| {
            Error::unavailable(
                "the operating system has no random bytes for a subject's epoch",
                error.to_string(),
            )
        })?;
        Ok(Self { epoch: Epoch { life, revocations: 0 }, until_ms: 0, spared: None, note: None })
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        encoded(self)
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        decoded(bytes).map(|(state, _)| state)
    }

    /// Whether a session that was stored in this epoch has been spared by every revocation since.
    pub(crate) fn admits(&self, id: SessionId, epoch: Epoch) -> bool {
        let is_spared = |spared: &Spared| {
            spared.id == *id.as_bytes()
                && (spared.since..=self.epoch.revocations).contains(&epoch.revocations)
        };
        epoch.life == self.epoch.life
            && (epoch.revocations == self.epoch.revocations || self.spared.as_ref().is_some_and(is_spared))
    }

    pub(crate) fn lasts_until(&self, end: Timestamp) -> bool {
        end.as_millis() <= self.until_ms
    }

    pub(crate) fn until(&self) -> Timestamp {
        Timestamp::from_millis(self.until_ms)
    }

    pub(crate) fn last_until(&mut self, end: Timestamp) {
        self.until_ms = self.until_ms.max(end.as_millis());
    }

    /// Until when the state is needed.
    pub(crate) fn expires(&self) -> Timestamp {
        let noted = self.note.map_or(0, |note| note.at_ms.saturating_add(NOTE_KEPT_MS));
        Timestamp::from_millis(self.until_ms.max(noted))
    }

    /// Ends what the subject has, and notes why.
    pub(crate) fn revoke(&mut self, revocation: &Revocation) -> Result<(), Error> {
        let before = self.epoch.revocations;
        self.spared = revocation.except.map(|id| {
            let since = match self.spared {
                Some(spared) if spared.id == *id.as_bytes() => spared.since,
                _ => before,
            };
            Spared { id: *id.as_bytes(), since }
        });
        self.epoch.revocations = before.checked_add(1).ok_or_else(|| {
            Error::unsupported("a subject can be revoked four thousand million times, and this one was")
        })?;
        // Clocks differ, so the later one may have come first: it means the sessions of both.
        if self.note.is_some_and(|note| note.at_ms > revocation.at.as_millis()) {
            return Ok(());
        }
        self.note = Some(Note {
            at_ms: revocation.at.as_millis(),
            except: revocation.except.map(|id| *id.as_bytes()),
            reason: Reason::of(revocation.reason)?,
            version: revocation.version.write_id(),
            tombstones_expire_ms: revocation.tombstones_expire.as_millis(),
        });
        Ok(())
    }

    pub(crate) fn last_revocation(&self, now: Timestamp) -> Result<Option<Revocation>, Error> {
        let fresh = |note: &Note| now.as_millis() < note.at_ms.saturating_add(NOTE_KEPT_MS);
        self.note.filter(fresh).map(|note| note.read()).transpose()
    }

    /// What is left of a session that a revocation ended: by which one can't be told, so the one that is noted stands for
    /// it.
    pub(crate) fn left(&self, id: SessionId, now: Timestamp) -> Result<Option<Tombstone>, Error> {
        let Some(note) = self.note.map(|note| note.read()).transpose()? else { return Ok(None) };
        let Revocation { at, reason, version, tombstones_expire: expires, .. } = note;
        Ok((now < expires).then_some(Tombstone { id, version, at, reason, expires }))
    }
}

impl Note {
    fn read(self) -> Result<Revocation, Error> {
        Ok(Revocation {
            at: Timestamp::from_millis(self.at_ms),
            except: self.except.map(SessionId::from_bytes),
            reason: self.reason.read()?,
            version: Version::from_write_id(self.version),
            tombstones_expire: Timestamp::from_millis(self.tombstones_expire_ms),
        })
    }
}

impl Reason {
    fn of(reason: EndReason) -> Result<Self, Error> {
        let at = REASONS.iter().position(|known| *known == reason).and_then(|at| u8::try_from(at).ok());
        at.map(Self).ok_or_else(|| Error::unsupported("this store doesn't know that reason of an end"))
    }

    fn read(self) -> Result<EndReason, Error> {
        REASONS.get(usize::from(self.0)).copied().ok_or_else(damaged)
    }
}

fn encoded(head: &impl Serialize) -> Result<Vec<u8>, Error> {
    postcard::to_extend(head, vec![FORMAT]).map_err(|_| Error::corrupt("the entry can't be written"))
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Error> {
    let Some((&FORMAT, bytes)) = bytes.split_first() else {
        return Err(Error::corrupt(
            "an entry in Memcached has a format this version doesn't know: it was written by a newer one, or by \
             another program under the same prefix",
        ));
    };
    postcard::take_from_bytes(bytes).map_err(|_| damaged())
}

fn damaged() -> Error {
    Error::corrupt("an entry in Memcached is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::from_bytes([1; 16]);
    const OTHER: SessionId = SessionId::from_bytes([2; 16]);

    fn revocation(except: Option<SessionId>) -> Revocation {
        Revocation {
            at: Timestamp::from_millis(1_000),
            except,
            reason: EndReason::Revoked,
            version: Version::from_write_id(7),
            tombstones_expire: Timestamp::from_millis(2_000),
        }
    }

    #[test]
    fn an_epoch_ends_with_a_revocation_and_never_comes_back() {
        let mut state = State::begun().unwrap();
        let first = state.epoch;
        assert!(state.admits(ID, first));
        for _ in 0..3 {
            state.revoke(&revocation(None)).unwrap();
            assert!(!state.admits(ID, first) && state.admits(ID, state.epoch));
        }
        assert!(!State::begun().unwrap().admits(ID, first), "another life");
    }

    #[test]
    fn only_revocations_in_a_row_that_spare_a_session_leave_it() {
        let mut state = State::begun().unwrap();
        let first = state.epoch;
        state.revoke(&revocation(Some(ID))).unwrap();
        state.revoke(&revocation(Some(ID))).unwrap();
        assert!(state.admits(ID, first) && !state.admits(OTHER, first));
        state.revoke(&revocation(Some(OTHER))).unwrap();
        assert!(!state.admits(ID, first) && !state.admits(OTHER, first));
        state.revoke(&revocation(Some(ID))).unwrap();
        assert!(!state.admits(ID, first), "what had ended isn't spared");
    }

    #[test]
    fn every_reason_and_field_is_read_as_it_was_written() {
        for reason in REASONS {
            let written = Tombstone {
                id: ID,
                version: Version::from_write_id(u64::MAX),
                at: Timestamp::from_millis(3),
                reason,
                expires: Timestamp::from_millis(u64::MAX),
            };
            let bytes = tombstone(&written).unwrap();
            let Entry::Ended(found) = read(&bytes, ID).unwrap() else { panic!("not a tombstone") };
            assert_eq!(found, written);
            assert!(read(&bytes, OTHER).err().unwrap().is_corrupt());
            let mut state = State::begun().unwrap();
            let noted = Revocation { reason, ..revocation(Some(OTHER)) };
            state.revoke(&noted).unwrap();
            let state = State::read(&state.encode().unwrap()).unwrap();
            assert_eq!(state.last_revocation(noted.at).unwrap(), Some(noted));
        }
    }

    #[test]
    fn what_is_no_entry_is_corrupt() {
        for bytes in [b"".as_slice(), b"\x01", b"\x02\x00", b"\x01\x09", b"hello", b"\x01\x00nothing"] {
            assert!(read(bytes, ID).err().unwrap().is_corrupt());
            assert!(State::read(bytes).unwrap_err().is_corrupt());
        }
    }
}
