//! The key ring: which key seals, which still open, and when that changes.
//!
//! A key goes pending → primary → retiring → removed. A *pending* key is known everywhere before it is used anywhere; the
//! *primary* seals; a *retiring* key still opens what it sealed, for as long as anything of it can live. So a fleet
//! whose nodes learn of a change at different moments refuses nothing that is valid.
//!
//! Like the rest of the crate it acts on nothing: the time, ids and random bytes are arguments.

mod key;
mod schedule;
mod text;

use std::fmt;

pub use key::{KeyId, Material};
pub use schedule::{Plan, Schedule, Step};

use crate::{Error, Timestamp};

/// One key of a ring.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    material: Material,
    state: State,
    created: Timestamp,
    since: Timestamp,
}

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Published, so that every node can open with it before any node seals with it.
    Pending,
    /// Seals and opens. Each ring has exactly one.
    Primary,
    /// Opens what it sealed before, and seals nothing.
    Retiring,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Primary => "primary",
            Self::Retiring => "retiring",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Key {
    /// Its public name.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What it is used for.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// When it entered its state.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// A key of its own for one purpose; see [`Material::derive`]. The material itself is never used.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        self.material.derive(purpose)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {} since {:?})", self.id, self.state, self.since)
    }
}

/// Keys by id, exactly one of which is the primary.
///
/// ```
/// use cloakroom_core::{Timestamp, keyring::{KeyId, KeyRing, Material, Schedule, State}};
/// use std::time::Duration;
///
/// # let random = |seed: u8| std::array::from_fn(|i| (i as u8).wrapping_mul(37 + 2 * seed) ^ (i * i) as u8);
/// const HOUR: Duration = Duration::from_secs(3600);
/// let start = Timestamp::from_millis(0);
/// let (first, second) = (KeyId::from_bytes([1; 4]), KeyId::from_bytes([2; 4]));
/// let mut ring = KeyRing::new(first, Material::new(random(1))?, start)?;
///
/// // Publish, wait until every node has it, promote; remove when nothing that the old key sealed can live.
/// let schedule = Schedule::new(30 * 24 * HOUR, HOUR, 24 * HOUR)?;
/// ring.publish(second, Material::new(random(2))?, start + HOUR)?;
/// assert!(ring.promote(second, start + HOUR, &schedule).is_err());
/// ring.promote(second, start + 2 * HOUR, &schedule)?;
/// assert_eq!(ring.primary().id(), second);
/// assert_eq!(ring.key(first).map(|key| key.state()), Some(State::Retiring));
/// assert!(ring.remove(first, start + 3 * HOUR, &schedule).is_err());
/// ring.remove(first, start + 27 * HOUR, &schedule)?;
/// assert!(ring.key(first).is_none());
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyRing {
    /// Oldest first.
    keys: Vec<Key>,
}

impl KeyRing {
    /// The most keys a ring has.
    pub const KEYS_MAX: usize = 32;

    /// A ring of one key, which is its primary.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for the id `00000000`, which stands for no key.
    pub fn new(id: KeyId, material: Material, now: Timestamp) -> Result<Self, Error> {
        let now = whole_second(now);
        let mut ring = Self { keys: Vec::new() };
        ring.add(Key { id, material, state: State::Primary, created: now, since: now })?;
        Ok(ring)
    }

    /// Whether the other ring has the same keys in the same states.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self.keys.iter().zip(&other.keys).all(|(one, other)| {
                (one.id, one.state, one.created, one.since)
                    == (other.id, other.state, other.created, other.since)
                    && one.material.is_same(&other.material)
            })
    }

    /// The key that seals.
    #[must_use]
    pub fn primary(&self) -> &Key {
        // A ring is never without one; the oldest key stands in for what can't be.
        self.in_state(State::Primary).unwrap_or(&self.keys[0])
    }

    /// The key of this id, in whatever state.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.iter()
    }

    /// Adds a pending key.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the id or the material is in the ring already, another key is pending, or the ring is
    /// full.
    pub fn publish(&mut self, id: KeyId, material: Material, now: Timestamp) -> Result<(), Error> {
        if let Some(pending) = self.in_state(State::Pending) {
            return Err(Error::invalid(format!(
                "the key {} is pending already: promote or remove it first",
                pending.id
            )));
        }
        let now = whole_second(now);
        self.add(Key { id, material, state: State::Pending, created: now, since: now })
    }

    /// Makes the pending key the primary; the primary begins to retire.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the key isn't pending, or hasn't been published for as long as the schedule says:
    /// a node might not have it yet.
    pub fn promote(&mut self, id: KeyId, now: Timestamp, schedule: &Schedule) -> Result<(), Error> {
        let key = self.find(id)?;
        if key.state != State::Pending {
            return Err(Error::invalid(format!(
                "the key {id} is {}: only a pending key is promoted",
                key.state
            )));
        }
        let due = key.since + schedule.publish_delay();
        if now < due {
            return Err(Error::invalid(format!(
                "the key {id} may be promoted from {} on: until then, a node may not have it",
                due
            )));
        }
        self.make_primary(id, now);
        Ok(())
    }

    /// Removes a key: a pending one at any time, a retiring one when nothing that it sealed can live.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the key is the primary or isn't in the ring, or it is too early.
    pub fn remove(&mut self, id: KeyId, now: Timestamp, schedule: &Schedule) -> Result<(), Error> {
        let key = self.find(id)?;
        match key.state {
            State::Pending => {}
            State::Primary => {
                return Err(Error::invalid(format!(
                    "the key {id} is the primary: publish and promote another first"
                )));
            }
            State::Retiring => {
                let due = schedule.removal(key);
                if now < due {
                    return Err(Error::invalid(format!(
                        "the key {id} may be removed from {} on: what it sealed can live until then",
                        due
                    )));
                }
            }
        }
        self.keys.retain(|key| key.id != id);
        Ok(())
    }

    /// Removes a key that others may know, at once: what it sealed or authenticated is worthless from now on. If it
    /// is the primary, the replacement becomes the primary without having been published.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the key isn't in the ring, or the replacement's id or material is.
    pub fn remove_compromised(
        &mut self,
        id: KeyId,
        replacement: (KeyId, Material),
        now: Timestamp,
    ) -> Result<(), Error> {
        let removed = self.find(id)?;
        let mut ring = self.clone();
        // First, for a full ring has no room for the replacement before.
        ring.keys.retain(|key| key.id != id);
        if removed.state == State::Primary {
            let (new, material) = replacement;
            if new == id || material.is_same(&removed.material) {
                return Err(Error::invalid(format!(
                    "the key {id} can't be replaced by itself: draw another"
                )));
            }
            let time = whole_second(now);
            ring.add(Key { id: new, material, state: State::Pending, created: time, since: time })?;
            ring.make_primary(new, now);
        }
        *self = ring;
        Ok(())
    }

    fn make_primary(&mut self, id: KeyId, now: Timestamp) {
        let now = whole_second(now);
        for key in &mut self.keys {
            let state = match key.state {
                _ if key.id == id => State::Primary,
                State::Primary => State::Retiring,
                _ => continue,
            };
            (key.state, key.since) = (state, now);
        }
    }

    fn add(&mut self, key: Key) -> Result<(), Error> {
        if self.keys.len() >= Self::KEYS_MAX {
            return Err(Error::invalid(format!(
                "a ring holds {} keys at most: remove those that have retired",
                Self::KEYS_MAX
            )));
        }
        if key.id == KeyId::NONE {
            return Err(Error::invalid("the key id 00000000 stands for no key: draw another"));
        }
        if self.key(key.id).is_some() {
            return Err(Error::invalid(format!("the key id {} is in the ring twice", key.id)));
        }
        if let Some(same) = self.keys.iter().find(|other| other.material.is_same(&key.material)) {
            return Err(Error::invalid(format!(
                "the keys {} and {} are the same: each key is random; make one with `cloakroom keys new`",
                same.id, key.id
            )));
        }
        self.keys.push(key);
        Ok(())
    }

    fn find(&self, id: KeyId) -> Result<&Key, Error> {
        self.key(id).ok_or_else(|| Error::invalid(format!("there is no key {id} in the ring")))
    }

    fn in_state(&self, state: State) -> Option<&Key> {
        self.keys.iter().find(|key| key.state == state)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.keys).finish()
    }
}

/// The next whole second: the text form has no finer times, and waiting a little longer is safe in every state.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis().div_ceil(1000).saturating_mul(1000))
}
