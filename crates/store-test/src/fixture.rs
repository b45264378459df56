//! Sessions to test with.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cloakroom::store::{Authority, EndReason, Revocation, Times, Tombstone};
use cloakroom_core::{Data, Lifetime, Record, Secret, SessionId, Subject, Timestamp, Version};

/// When every case begins: 2026-01-01T00:04:05.678Z, in the past, so that a store that asks its own clock is found out.
pub(crate) const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);

/// The idle timeout of [`session`].
pub(crate) const IDLE: Duration = Duration::from_secs(1_800);

/// The absolute timeout of [`session`].
pub(crate) const ABSOLUTE: Duration = Duration::from_secs(86_400);

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// The instant this much earlier.
pub(crate) fn before(instant: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(instant.as_millis() - (Timestamp::ZERO + by).as_millis())
}

/// The id of the `n`th session: spread like random ones, and the same in every run.
pub(crate) fn id(n: u64) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(2 * n).to_be_bytes());
    bytes[8..].copy_from_slice(&mix(2 * n + 1).to_be_bytes());
    SessionId::from_bytes(bytes)
}

/// A version no other record has.
pub(crate) fn version() -> Version {
    static WRITES: AtomicU64 = AtomicU64::new(1);
    Version::from_write_id(mix(WRITES.fetch_add(1, Ordering::Relaxed)))
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap_or_else(|error| panic!("not a subject: {error}"))
}

pub(crate) fn data(json: &str) -> Data {
    Data::from_json(json).unwrap_or_else(|error| panic!("not data: {error}"))
}

/// An anonymous session that began at `now`.
pub(crate) fn session(n: u64, now: Timestamp) -> Record {
    let lifetime = Lifetime::new(IDLE, ABSOLUTE).unwrap_or_else(|error| panic!("not a lifetime: {error}"));
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&mix(n ^ 0x5ec2e7).to_be_bytes());
    Record {
        id: id(n),
        version: version(),
        subject: None,
        authority: Authority::new(Secret::from_bytes(secret).verifier(&id(n))),
        times: Times::start(lifetime, now, now),
        client: Some("Firefox on Linux".into()),
        data: data(&format!(r#"{{"n":{n}}}"#)),
    }
}

/// A session that began at `now` and belongs to a subject.
pub(crate) fn session_of(name: &str, n: u64, now: Timestamp) -> Record {
    Record { subject: Some(subject(name)), ..session(n, now) }
}

/// The record with another version, and data that tell it from every other.
pub(crate) fn changed(record: &Record) -> Record {
    let version = version();
    Record { version, data: data(&format!(r#"{{"write":{}}}"#, version.write_id())), ..record.clone() }
}

/// A tombstone that is kept for a minute.
pub(crate) fn tombstone(id: SessionId, at: Timestamp) -> Tombstone {
    Tombstone { id, version: version(), at, reason: EndReason::Logout, expires: at + minutes(1) }
}

/// The end of all of a subject's sessions, whose tombstones are kept for a minute.
pub(crate) fn revocation(at: Timestamp, except: Option<SessionId>) -> Revocation {
    Revocation {
        at,
        except,
        reason: EndReason::Revoked,
        version: version(),
        tombstones_expire: at + minutes(1),
    }
}

/// SplitMix64's mixing function: a bijection, so different numbers stay different.
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}
