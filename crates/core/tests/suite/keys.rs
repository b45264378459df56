//! A key ring that rotates while the world goes on.

use std::{sync::Arc, time::Duration};

use cloakroom_core::{
    Authenticity, AuthorityKeys, Record, Timestamp,
    keyring::{KeyId, KeyRing, Material, Schedule, Step},
};

use crate::store::Entropy;

pub(crate) struct Keys {
    ring: KeyRing,
    entropy: Entropy,
    made: Arc<AuthorityKeys>,
}

impl Keys {
    pub(crate) fn new(now: Timestamp) -> Self {
        let mut entropy = Entropy(7);
        let (id, material) = fresh(&mut entropy);
        let ring = KeyRing::new(id, material, now).unwrap();
        Self { made: Arc::new(AuthorityKeys::new(&ring)), ring, entropy }
    }

    pub(crate) fn made(&self) -> Arc<AuthorityKeys> {
        Arc::clone(&self.made)
    }

    /// Rotates far more often than anybody would. No key is removed: what becomes of its traces is another test's
    /// matter.
    pub(crate) fn rotate(&mut self, now: Timestamp) {
        let seconds = Duration::from_secs;
        let schedule = Schedule::new(seconds(600), seconds(60), seconds(7_200)).unwrap();
        for step in self.ring.plan(now, &schedule).steps {
            match step {
                Step::Publish if self.ring.keys().len() < KeyRing::KEYS_MAX => {
                    let (id, material) = fresh(&mut self.entropy);
                    self.ring.publish(id, material, now).unwrap();
                }
                Step::Promote(id) => self.ring.promote(id, now, &schedule).unwrap(),
                Step::Publish | Step::Remove(_) => continue,
            }
            self.made = Arc::new(AuthorityKeys::new(&self.ring));
        }
    }

    pub(crate) fn assert_sound(&self, record: &Record) {
        assert_eq!(self.made.examine(record), Authenticity::Sound);
    }
}

fn fresh(entropy: &mut Entropy) -> (KeyId, Material) {
    let (mut id, mut material) = ([0; 4], [0; 32]);
    entropy.fill(&mut id);
    entropy.fill(&mut material);
    (KeyId::from_bytes(id), Material::new(material).unwrap())
}
