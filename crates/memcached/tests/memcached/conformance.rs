//! The conformance suite, on one server and on a ring of three.

use cloakroom_memcached::MemcachedStore;
use cloakroom_store_test::{Harness, suite};
use engines::{Memcached, shared};

use crate::fixture::prefix;

/// A prefix of its own on servers that all cases use.
struct Place(String);

impl Harness for Place {
    type Store = MemcachedStore;

    async fn open(&self) -> MemcachedStore {
        MemcachedStore::open(&self.0).await.unwrap()
    }
}

fn single() -> Place {
    Place(format!("{}?prefix={}", shared::<Memcached>(), prefix()))
}

suite!(single(), shared, without: sweep, without: listing);

mod ring {
    use std::sync::OnceLock;

    use super::*;
    use crate::fixture::ring_url;

    /// They live as long as this process.
    static SERVERS: OnceLock<[Memcached; 3]> = OnceLock::new();

    fn three() -> Place {
        let servers = SERVERS.get_or_init(|| [(); 3].map(|()| Memcached::with(&[])));
        Place(format!("{}?prefix={}&connections=1", ring_url(&servers.each_ref()), prefix()))
    }

    suite!(three(), shared, without: sweep, without: listing);
}
