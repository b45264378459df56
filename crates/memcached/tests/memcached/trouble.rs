//! Servers that hang, are killed and come back.

use std::time::{Duration, Instant};

use cloakroom::store::{Loaded, Store as _, Written};
use cloakroom_memcached::MemcachedStore;
use engines::{Engine as _, Memcached, Proxy};

use crate::fixture::{
    T0, changed, create, found, id, open, recovery, replace, revoke, ring_url, session, session_of, subject,
    tombstone, within,
};

/// One server of the ring is down: its sessions are unavailable, and all others are served as ever. Nothing moves to
/// another server, so nothing that ended meanwhile is back with it.
#[tokio::test]
async fn a_server_that_is_down_takes_only_its_own_sessions_along() {
    let (a, b, mut c) = (Memcached::start(), Memcached::start(), Memcached::start());
    let store = MemcachedStore::open(&ring_url(&[&a, &b, &c])).await.unwrap();
    let records: Vec<_> = (0..90).map(session).collect();
    for record in &records {
        create(&store, record).await;
    }
    c.process().kill();
    let (mut served, mut lost) = (Vec::new(), Vec::new());
    for record in &records {
        match within(Duration::from_secs(2), store.load(record.id, T0)).await.unwrap() {
            Ok(loaded) => {
                assert_eq!(crate::fixture::version_of(loaded), Some(record.version));
                served.push(record);
            }
            Err(error) => {
                assert!(error.is_unavailable() && format!("{error:?}").contains(&c.address().to_string()));
                lost.push(record);
            }
        }
    }
    assert!(served.len() > 30 && lost.len() > 15, "{} and {}", served.len(), lost.len());
    // New sessions have nowhere else to go either.
    let mut refused = 0;
    for n in 100..160 {
        match store.create(session(n).into(), T0).await {
            Ok(written) => assert_eq!(written, Written::Stored),
            Err(error) => {
                assert!(error.is_unavailable());
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused}");
    // Who is served is told quickly, and so is who isn't.
    let asked = Instant::now();
    for record in served.iter().chain(&lost) {
        let _ = store.load(record.id, T0).await;
    }
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());

    c.restart();
    recovery(&store, lost[0].id).await;
    for record in &lost {
        assert_eq!(found(&store, record.id).await, None, "its memory is gone with it");
    }
    for record in &served {
        assert_eq!(replace(&store, &changed(record), record.version).await, Written::Stored);
    }
}

/// The server with the subject's state is down: its sessions are neither served nor said to have ended.
#[tokio::test]
async fn without_the_subjects_server_a_session_is_unavailable() {
    let (a, mut b) = (Memcached::start(), Memcached::start());
    let store = MemcachedStore::open(&ring_url(&[&a, &b])).await.unwrap();
    let records: Vec<_> = (0..120).map(|n| session_of(&format!("user-{n}"), n)).collect();
    for record in &records {
        create(&store, record).await;
    }
    b.process().kill();
    let (mut served, mut unavailable) = (0, 0);
    for record in &records {
        match store.load(record.id, T0).await {
            Ok(loaded) => {
                assert_eq!(crate::fixture::version_of(loaded), Some(record.version));
                served += 1;
            }
            Err(error) => {
                assert!(error.is_unavailable());
                unavailable += 1;
            }
        }
    }
    // A quarter has both on the one server that is left.
    assert!(served > 8 && unavailable > 45, "{served} and {unavailable}");
}

/// A session that another process ended has ended, also where this process remembers whose it was and they can't be asked.
#[tokio::test]
async fn without_the_subjects_server_an_ended_session_has_ended() {
    let (a, mut b) = (Memcached::start(), Memcached::start());
    let url = ring_url(&[&a, &b]);
    let [store, other, fresh] = [
        MemcachedStore::open(&url).await.unwrap(),
        MemcachedStore::open(&url).await.unwrap(),
        MemcachedStore::open(&url).await.unwrap(),
    ];
    let records: Vec<_> = (0..120).map(|n| session_of(&format!("user-{n}"), n)).collect();
    for record in &records {
        create(&store, record).await;
        let ended = other.end(tombstone(record.id), None, T0).await.unwrap();
        assert_eq!(ended, Written::Stored);
    }
    b.process().kill();
    let mut ended = 0;
    for record in &records {
        match (store.load(record.id, T0).await, fresh.load(record.id, T0).await) {
            (Ok(Loaded::Ended(_)), Ok(Loaded::Ended(_))) => ended += 1,
            (Err(error), Err(_)) => assert!(error.is_unavailable()),
            differ => panic!("{differ:?}"),
        }
    }
    // Half of them are on the server that is left.
    assert!(ended > 30, "{ended}");
}

/// A server that hangs: every call is over by its deadline. When it goes on, everything works, without a restart.
#[tokio::test]
async fn a_server_that_hangs_keeps_nobody_beyond_the_deadline_and_goes_on_afterwards() {
    let mut server = Memcached::start();
    let store = open(&server).await;
    let (record, user) = (session(1), session_of("ada", 2));
    create(&store, &record).await;
    create(&store, &user).await;
    for hang in [Duration::from_millis(700), Duration::from_secs(7)] {
        server.process().hang();
        let (deadline, begun) = (Duration::from_millis(300), Instant::now());
        while begun.elapsed() < hang {
            let asked = Instant::now();
            let calls = (0..40).map(|_| within(deadline, store.load(record.id, T0)));
            let answers = futures_util::future::join_all(calls).await;
            assert!(answers.iter().all(|answer| !matches!(answer, Some(Ok(_)))), "it answered while it hung");
            // By its deadline, and what a busy machine adds.
            assert!(asked.elapsed() < deadline + Duration::from_secs(2), "{:?}", asked.elapsed());
            // A connection that is given up is refused at once: not so fast.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.process().resume();
        let recovery = recovery(&store, record.id).await;
        println!("after a hang of {hang:?}: works again within {recovery:?}");
        assert!(recovery < Duration::from_secs(5), "{recovery:?}");
        assert_eq!(found(&store, record.id).await, Some(record.version));
        assert_eq!(found(&store, user.id).await, Some(user.version));
    }
    let next = changed(&record);
    assert_eq!(replace(&store, &next, record.version).await, Written::Stored);
    revoke(&store, "ada", None).await;
    assert_eq!(found(&store, user.id).await, None);
}

/// A server is killed and started again, several times: the store is back within five seconds of it, by itself.
#[tokio::test]
async fn a_server_that_is_restarted_is_used_again_within_five_seconds() {
    let mut server = Memcached::start();
    let store = open(&server).await;
    for (round, away) in (0..).zip([0, 300, 3_000]) {
        let record = session(round);
        create(&store, &record).await;
        server.process().kill();
        let error = within(Duration::from_secs(2), store.load(record.id, T0)).await.unwrap().unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        tokio::time::sleep(Duration::from_millis(away)).await;
        server.restart();
        let recovery = recovery(&store, record.id).await;
        println!("away for {away} ms: back within {recovery:?}");
        assert!(recovery < Duration::from_secs(5), "{recovery:?}");
        create(&store, &session(100 + round)).await;
    }
}

/// A connection that is cut while nobody uses it costs nobody an error.
#[tokio::test]
async fn connections_that_were_cut_while_idle_are_made_again() {
    let server = Memcached::start();
    let proxy = Proxy::start(server.address());
    let store = MemcachedStore::open(&format!("memcached://{}", proxy.address())).await.unwrap();
    let record = session(1);
    create(&store, &record).await;
    for _ in 0..5 {
        proxy.cut();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(found(&store, record.id).await, Some(record.version));
    }
}

/// The answer to a change is lost: the call fails, the change may have been made, and the session is whole.
#[tokio::test]
async fn after_a_lost_answer_the_stored_stamp_tells_what_became_of_the_change() {
    let server = Memcached::start();
    let proxy = Proxy::start(server.address());
    let store =
        MemcachedStore::open(&format!("memcached://{}?connections=1", proxy.address())).await.unwrap();
    let record = session(1);
    create(&store, &record).await;
    let next = changed(&record);
    proxy.lose_answers(1);
    let error = store.replace(next.clone().into(), record.version, T0).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    proxy.resume();
    recovery(&store, id(9)).await;
    assert_eq!(found(&store, record.id).await, Some(next.version), "it reached the server");
    assert_eq!(replace(&store, &changed(&record), record.version).await, Written::Conflict);
    assert_eq!(replace(&store, &changed(&next), next.version).await, Written::Stored);
    assert_eq!(store.revoke().unwrap().last_revocation(&subject("ada"), T0).await.unwrap(), None);
}
