//! The end of all of a subject's sessions, whatever a clock says.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Data, Lifetime, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Revocation, Revoke as _, Store as _, Times, Written},
};
use cloakroom_core::Secret;

use crate::fixture::Database;

const T0: Timestamp = Timestamp::from_millis(1_767_225_845_678);

fn later(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

fn ada() -> Subject {
    Subject::new("ada").unwrap()
}

fn session(number: u8, active: Timestamp) -> Record {
    let id = SessionId::from_bytes([number; 16]);
    Record {
        id,
        version: Version::from_write_id(1),
        subject: Some(ada()),
        authority: Authority::new(Secret::from_bytes([7; 16]).verifier(&id)),
        times: Times { active, ..Times::start(Lifetime::default(), T0, T0) },
        client: None,
        data: Data::new(),
    }
}

/// The bug: logging out everywhere passed over a session whose time was over by the revoker's clock; a touch with an
/// earlier time came after it, and the session lived on. The mend: it ends, and isn't reported; the sweep tells whose it
/// was.
#[tokio::test]
async fn what_has_expired_by_the_revokers_clock_ends_too() {
    let store = Database::new().store().await;
    let (expired, alive) = (session(1, T0), session(2, later(1_000)));
    for record in [&expired, &alive] {
        assert_eq!(store.create(Arc::new(record.clone()), T0).await.unwrap(), Written::Stored);
    }
    let (version, tombstones_expire) = (Version::from_write_id(1 << 40), later(10_000));
    let revocation =
        Revocation { at: T0, except: None, reason: EndReason::Revoked, version, tombstones_expire };
    let ended = store.end_subject(&ada(), revocation, later(1_801)).await.unwrap();
    assert_eq!(ended, Some(vec![alive.id]));
    assert!(matches!(store.load(alive.id, later(1_801)).await.unwrap(), Loaded::Ended(_)));
    assert_eq!(store.touch(expired.id, later(1_799), later(1_799)).await.unwrap(), Written::Gone);
    assert!(matches!(store.load(expired.id, later(1_799)).await.unwrap(), Loaded::Absent));
    let swept = store.sweep(later(1_801), 9).await.unwrap();
    assert_eq!(swept.expired, [(expired.id, Some(ada()))]);
}
