//! What the documentation says of changing the list of servers.

use cloakroom::store::{Store as _, Written};
use cloakroom_memcached::MemcachedStore;
use engines::{Engine as _, Memcached};

use crate::fixture::{T0, create, found, ring_url, session, session_of, tell, tombstone};

async fn opened(servers: &[&Memcached], options: &str) -> MemcachedStore {
    MemcachedStore::open(&format!("{}{options}", ring_url(servers))).await.unwrap()
}

/// A server that leaves takes its sessions along, and the others keep theirs.
#[tokio::test]
async fn sessions_of_a_server_that_leaves_are_gone_and_others_stay() {
    let (a, b) = (Memcached::start(), Memcached::start());
    let (both, alone) = (opened(&[&a, &b], "").await, opened(&[&a], "").await);
    let (mut stayed, mut went) = (0, 0);
    for n in 0..60 {
        let record = session(n);
        create(&both, &record).await;
        match found(&alone, record.id).await {
            Some(version) => {
                assert_eq!(version, record.version);
                stayed += 1;
            }
            None => went += 1,
        }
    }
    assert!(stayed > 10 && went > 10, "{stayed} and {went}");
}

/// A server that was in the list before is added again: emptied, or with another prefix, it brings nothing back that
/// was ended while it was away.
#[tokio::test]
async fn r_revive_a_server_that_comes_back_empty_or_to_another_prefix_brings_nothing_back() {
    let (a, b) = (Memcached::start(), Memcached::start());
    for options in ["?prefix=one:", "?prefix=two:"] {
        let both = opened(&[&a, &b], options).await;
        let records: Vec<_> = (0..40).map(|n| session_of("ada", n)).collect();
        for record in &records {
            create(&both, record).await;
        }
        let alone = opened(&[&a], options).await;
        for record in &records {
            let ended = alone.end(tombstone(record.id), None, T0).await.unwrap();
            assert!(matches!(ended, Written::Stored | Written::Gone));
        }
        let again = if options == "?prefix=one:" {
            assert_eq!(tell(b.address(), "flush_all"), "OK");
            opened(&[&a, &b], options).await
        } else {
            opened(&[&a, &b], "?prefix=three:").await
        };
        for record in &records {
            assert_eq!(found(&again, record.id).await, None, "{options}");
        }
    }
}
