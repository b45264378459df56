//! What is lost ends sessions, and never brings one back.

use cloakroom::store::{Revoke as _, Store as _, Written};
use engines::{Engine as _, Memcached};

use crate::fixture::{
    ADAS_STATE, T0, changed, create, found, id, open, replace, revoke, session, session_of, subject, tell,
    tombstone,
};

/// The subject's state is what admits its sessions. Evicted, it takes them with it: what was revoked must not come back
/// because nobody remembers the revocation.
#[tokio::test]
async fn r_revive_without_its_subjects_state_a_session_is_gone() {
    let server = Memcached::start();
    let (store, other) = (open(&server).await, open(&server).await);
    let (own, revoked, anonymous) = (session_of("ada", 1), session_of("ada", 2), session(3));
    create(&store, &revoked).await;
    revoke(&store, "ada", None).await;
    create(&store, &own).await;
    create(&store, &anonymous).await;
    assert_eq!(found(&store, own.id).await, Some(own.version));

    assert_eq!(tell(server.address(), &format!("delete {ADAS_STATE}")), "DELETED");
    for store in [&store, &other] {
        for record in [&own, &revoked] {
            assert_eq!(found(store, record.id).await, None);
            assert_eq!(replace(store, &changed(record), record.version).await, Written::Gone);
            assert_eq!(store.touch(record.id, T0, T0).await.unwrap(), Written::Gone);
            assert_eq!(store.end(tombstone(record.id), None, T0).await.unwrap(), Written::Gone);
        }
        assert_eq!(found(store, anonymous.id).await, Some(anonymous.version));
    }

    let later = session_of("ada", 4);
    create(&store, &later).await;
    for store in [&store, &other] {
        assert_eq!(found(store, later.id).await, Some(later.version));
        for record in [&own, &revoked] {
            assert_eq!(found(store, record.id).await, None, "a new state admits what an old one did");
            assert_eq!(replace(store, &changed(record), record.version).await, Written::Gone);
        }
    }
}

/// A note that was lost doesn't admit a login that began before the revocation: its epoch is over.
#[tokio::test]
async fn r_revive_a_revocation_that_nobody_remembers_holds() {
    let server = Memcached::start();
    let store = open(&server).await;
    let record = session_of("ada", 1);
    create(&store, &record).await;
    revoke(&store, "ada", None).await;
    assert_eq!(tell(server.address(), &format!("delete {ADAS_STATE}")), "DELETED");
    assert_eq!(store.last_revocation(&subject("ada"), T0).await.unwrap(), None);
    revoke(&store, "ada", Some(record.id)).await;
    assert_eq!(found(&store, record.id).await, None, "an exception brings back what had ended");
}

/// `flush_all`, and a restart: everything has ended, whatever the store remembers; new sessions work at once.
#[tokio::test]
async fn r_revive_after_a_flush_or_a_restart_everything_has_ended() {
    let mut server = Memcached::start();
    let store = open(&server).await;
    for round in 0..2 {
        let records = [session(10 * round), session_of("ada", 10 * round + 1)];
        for record in &records {
            create(&store, record).await;
            assert_eq!(found(&store, record.id).await, Some(record.version));
        }
        if round == 0 {
            assert_eq!(tell(server.address(), "flush_all"), "OK");
        } else {
            server.process().kill();
            server.restart();
            crate::fixture::recovery(&store, id(99)).await;
        }
        for record in &records {
            assert_eq!(replace(&store, &changed(record), record.version).await, Written::Gone);
            assert_eq!(
                store.end(tombstone(record.id), Some(record.version), T0).await.unwrap(),
                Written::Gone
            );
            assert_eq!(store.touch(record.id, T0, T0).await.unwrap(), Written::Gone);
            assert_eq!(found(&store, record.id).await, None);
        }
        for record in &records {
            let left = tell(server.address(), &format!("mg cloakroom:s:{} v", record.id));
            assert_eq!(left, "EN", "what was refused left something behind");
        }
    }
}

/// A restarted server counts its changes from one again. What was remembered of a session under a number from before
/// must not pass for what has that number now.
#[tokio::test]
async fn r_revive_numbers_from_before_a_restart_are_forgotten() {
    let mut server = Memcached::start();
    let (one, other) = (open(&server).await, open(&server).await);
    let first = session(1);
    // The server's second change.
    create(&one, &session(2)).await;
    create(&one, &first).await;
    server.process().kill();
    server.restart();
    crate::fixture::recovery(&one, id(98)).await;
    crate::fixture::recovery(&other, id(98)).await;
    // Another version is its second change now, under the number by which `one` knew the first.
    create(&other, &first).await;
    let second = changed(&first);
    assert_eq!(replace(&other, &second, first.version).await, Written::Stored);
    assert_eq!(replace(&one, &changed(&first), first.version).await, Written::Conflict);
    assert_eq!(found(&one, first.id).await, Some(second.version));
}
