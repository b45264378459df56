//! What a server doesn't take.

use std::sync::Arc;

use cloakroom::store::{Store as _, Written};
use engines::Memcached;

use crate::fixture::{T0, create, filled, found, open, replace, session};

/// The smallest items that Memcached takes without more settings.
const SMALL: &[&str] = &["-I", "512k"];

/// Memcached throws away what it has under a key when the new value is too large. A session that has grown too large
/// would so have been lost to the request that made it grow; it is refused before it is sent.
#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_the_stored_one_stays() {
    for (arguments, limit) in
        [(&[] as &[&str], 1024 * 1024), (SMALL, 512 * 1024), (&["-I", "4m"], 4 * 1024 * 1024)]
    {
        let server = Memcached::with(arguments);
        let store = open(&server).await;
        let small = session(1);
        create(&store, &small).await;
        let large = filled(&small, limit);
        let error = store.replace(Arc::new(large), small.version, T0).await.unwrap_err();
        assert!(error.is_too_large() && error.to_string().contains("-I"), "{error}");
        assert_eq!(found(&store, small.id).await, Some(small.version));

        // Whatever it lets through is stored.
        let mut stored = small;
        for below in [4_096, 2_048, 1_600, 1_400, 1_300, 1_250, 1_200] {
            let next = filled(&stored, limit - below);
            match store.replace(Arc::new(next.clone()), stored.version, T0).await {
                Ok(written) => {
                    assert_eq!(written, Written::Stored, "{below} bytes below {limit}");
                    stored = next;
                }
                Err(error) => assert!(error.is_too_large(), "{below} bytes below {limit}: {error:?}"),
            }
            assert_eq!(found(&store, stored.id).await, Some(stored.version), "{below} bytes below {limit}");
        }
        let small = filled(&stored, 10);
        assert_eq!(replace(&store, &small, stored.version).await, Written::Stored);
    }
}

/// Memory runs short: sessions are evicted, and none is anything but whole or gone.
#[tokio::test]
async fn an_evicted_session_is_gone_and_the_others_are_whole() {
    let server = Memcached::with(&["-m", "8"]);
    let store = open(&server).await;
    let records: Vec<_> = (0..2_000).map(|n| filled(&session(n), 8 * 1024)).collect();
    let mut stored = 0;
    for record in &records {
        match store.create(Arc::new(record.clone()), T0).await {
            Ok(written) => {
                assert_eq!(written, Written::Stored);
                stored += 1;
            }
            Err(error) => assert!(error.is_unavailable(), "{error:?}"),
        }
    }
    let mut kept = 0;
    for record in &records {
        if let Some(version) = found(&store, record.id).await {
            assert_eq!(version, record.version);
            kept += 1;
        }
    }
    assert!(0 < kept && kept < stored, "{kept} of {stored} were kept");
}
