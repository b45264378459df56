//! The suite on the reference store, in each of the ways in which a store can be declared.

mod reference;

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use cloakroom::store::{Answer, Loaded, Revocation, Revoke, Store, Swept, Tombstone, Written};
use cloakroom_core::{Record, SessionId, Subject, Timestamp, Version};
use cloakroom_store_test::{Case, Harness, suite};
use parking_lot::Mutex;
use reference::{Reference, State};

/// A store that answers at once.
mod at_once {
    use super::*;

    suite!(|| async { Reference::default() });
}

/// A store whose answers come later.
mod slow {
    use super::*;

    suite!(|| async { Reference::slow() });
}

/// A store that is found as it was left, and can be open several times at once.
mod durable_and_shared {
    use super::*;

    suite!(Kept::default(), durable, shared);
}

#[derive(Default)]
struct Kept(Arc<Mutex<State>>);

impl Harness for Kept {
    type Store = Reference;

    async fn open(&self) -> Reference {
        Reference::on(Arc::clone(&self.0))
    }
}

/// A store with nothing but what every store has.
mod bare {
    use super::*;

    async fn open() -> Bare {
        Bare(Reference::default())
    }

    suite!(open, without: index, without: sweep);

    mod durable_and_shared {
        use super::*;

        #[derive(Default)]
        struct Bared(Kept);

        impl Harness for Bared {
            type Store = Bare;

            async fn open(&self) -> Bare {
                Bare(self.0.open().await)
            }
        }

        suite!(Bared::default(), without: sweep, shared, without: index, durable);
    }
}

/// A store that ends a subject's sessions and can't list them.
mod revoking {
    use super::*;

    async fn open() -> Revoking {
        Revoking(Reference::slow())
    }

    suite!(open, without: listing);

    mod durable_and_shared {
        use super::*;

        #[derive(Default)]
        struct Unlisted(Kept);

        impl Harness for Unlisted {
            type Store = Revoking;

            async fn open(&self) -> Revoking {
                Revoking(self.0.open().await)
            }
        }

        suite!(Unlisted::default(), durable, without: listing, shared);
    }
}

struct Bare(Reference);

impl Store for Bare {
    fn kind(&self) -> &'static str {
        "bare"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        self.0.load(id, now)
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        self.0.create(record, now)
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        self.0.replace(record, expected, now)
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        self.0.touch(id, active, now)
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        self.0.end(tombstone, expected, now)
    }

    fn close(&self) -> Answer<'_, ()> {
        self.0.close()
    }
}

struct Revoking(Reference);

impl Store for Revoking {
    fn kind(&self) -> &'static str {
        "revoking"
    }

    fn load(&self, id: SessionId, now: Timestamp) -> Answer<'_, Loaded> {
        self.0.load(id, now)
    }

    fn create(&self, record: Arc<Record>, now: Timestamp) -> Answer<'_, Written> {
        self.0.create(record, now)
    }

    fn replace(&self, record: Arc<Record>, expected: Version, now: Timestamp) -> Answer<'_, Written> {
        self.0.replace(record, expected, now)
    }

    fn touch(&self, id: SessionId, active: Timestamp, now: Timestamp) -> Answer<'_, Written> {
        self.0.touch(id, active, now)
    }

    fn end(&self, tombstone: Tombstone, expected: Option<Version>, now: Timestamp) -> Answer<'_, Written> {
        self.0.end(tombstone, expected, now)
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, Swept> {
        self.0.sweep(now, limit)
    }

    fn revoke(&self) -> Option<&dyn Revoke> {
        Some(self)
    }

    fn close(&self) -> Answer<'_, ()> {
        self.0.close()
    }
}

impl Revoke for Revoking {
    fn end_subject(
        &self,
        subject: &Subject,
        revocation: Revocation,
        now: Timestamp,
    ) -> Answer<'_, Option<Vec<SessionId>>> {
        let ended = self.0.end_subject(subject, revocation, now);
        Answer::later(async { ended.await.map(|_| None) })
    }

    fn last_revocation(&self, subject: &Subject, now: Timestamp) -> Answer<'_, Option<Revocation>> {
        self.0.last_revocation(subject, now)
    }
}

/// A case that was written but isn't in the macro's list would never run.
#[test]
fn every_case_is_in_the_list() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cases");
    let mut written = BTreeSet::new();
    for file in fs::read_dir(cases).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('<').next());
        written.extend(names.map(str::to_owned));
    }
    let listed: Vec<_> = Case::<Kept>::all().iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), written);
    assert_eq!(listed.len(), written.len(), "a case is listed twice");
}
