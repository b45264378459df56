//! The suite on the reference store, in each of the ways in which a store can be declared.

mod reference;

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use cloakroom::store::{Answer, Loaded, Store, Tombstone, Written};
use cloakroom_core::{Record, SessionId, Timestamp, Version};
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
