//! Handles that go on after their response's head.

use std::time::Duration;

use cloakroom::{Detached, Key, MemoryStore, Sessions, clock::ManualClock};
use cloakroom_store_test::{Fault, FaultyStore, Op};

use crate::browser::{Browser, subject};

const COUNT: Key<u32> = Key::new("count");

struct Setting {
    store: FaultyStore<MemoryStore>,
    sessions: Sessions,
    browser: Browser,
    detached: Detached,
}

async fn detached() -> Setting {
    let store = FaultyStore::new(MemoryStore::new());
    let builder = Sessions::builder(store.clone()).deadline(Duration::from_millis(50));
    let sessions = builder.sweep_every(Duration::from_secs(3_600)).build().unwrap();
    let (browser, detached) = detached_from(&sessions).await;
    Setting { store, sessions, browser, detached }
}

async fn detached_from(sessions: &Sessions) -> (Browser, Detached) {
    let mut browser = Browser::default();
    browser.login(sessions, "ada").await;
    let (exchange, session) = browser.request(sessions).await;
    let detached = session.detach();
    exchange.commit().await.unwrap();
    (browser, detached)
}

impl Setting {
    fn count(&self) {
        self.detached.update(COUNT, |count| *count += 1).unwrap();
    }

    async fn stored(&self) -> Option<u32> {
        self.browser.request(&self.sessions).await.1.get(COUNT).unwrap()
    }
}

/// Bug: a change that was stored was told as a failure, so that whoever made it again counted twice; and the handle was
/// dead from then on. Cause: loading the session afterwards was taken for a part of the commit. Mend: the commit's
/// answer counts, and a handle that couldn't load goes on with what it had.
#[tokio::test]
async fn a_commit_is_what_it_stored_whatever_comes_after() {
    let setting = detached().await;
    // The second commit begins with what the first couldn't load, and loads that itself.
    for (loads, fault) in [(0, Fault::Refused), (1, Fault::HangBefore)] {
        setting.count();
        setting.store.pass_next(Op::Load, loads);
        setting.store.fail_next(Op::Load, fault);
        setting.detached.commit().await.unwrap();
        setting.store.heal();
    }
    assert_eq!(setting.stored().await, Some(2));
    setting.count();
    setting.detached.commit().await.unwrap();
    assert_eq!(setting.stored().await, Some(3), "merged into what was stored meanwhile");
    assert_eq!(setting.detached.get(COUNT).unwrap(), Some(3));
}

/// The usual loop of a WebSocket drops whatever didn't come first.
///
/// Bug: a commit that was dropped left a handle that refused every change. Cause: it was open again only when all of it
/// was done. Mend: it is never closed.
#[tokio::test]
async fn a_commit_that_is_dropped_is_done_and_leaves_a_handle_to_use() {
    let setting = detached().await;
    for (op, counted) in [(Op::Load, 1), (Op::Replace, 2)] {
        setting.count();
        setting.store.fail_next(op, Fault::HangBefore);
        tokio::select! {
            biased;
            result = setting.detached.commit() => panic!("{result:?}"),
            () = setting.store.until_hanging(1) => {}
        }
        setting.store.heal();
        while setting.stored().await != Some(counted) {
            tokio::task::yield_now().await;
        }
    }
    setting.count();
    setting.detached.commit().await.unwrap();
    assert_eq!(setting.stored().await, Some(3));
}

/// Changes made while a commit loads the session are built on what it was before: they are merged all the same.
#[tokio::test]
async fn changes_made_during_a_commit_are_merged() {
    let mut setting = detached().await;
    setting.count();
    setting.store.fail_next(Op::Load, Fault::HangBefore);
    {
        let commit = setting.detached.commit();
        tokio::pin!(commit);
        tokio::select! {
            biased;
            result = &mut commit => panic!("{result:?}"),
            () = setting.store.until_hanging(1) => {}
        }
        setting.count();
        let sessions = setting.sessions.clone();
        setting.browser.visit(&sessions, |s| s.update(COUNT, |count| *count += 10).unwrap()).await.unwrap();
        setting.store.heal();
        commit.await.unwrap();
    }
    setting.detached.commit().await.unwrap();
    assert_eq!(setting.stored().await, Some(12));
}

/// Without changes, a commit finds out whether the session still lives: a store that can't tell is no "yes".
#[tokio::test]
async fn a_commit_of_nothing_tells_whether_the_session_lives() {
    let mut setting = detached().await;
    setting.store.fail_next(Op::Load, Fault::Refused);
    assert!(setting.detached.commit().await.unwrap_err().is_unavailable());
    assert_eq!(setting.detached.subject(), Some(subject("ada")));
    let sessions = setting.sessions.clone();
    setting.browser.visit(&sessions, |session| session.logout().unwrap()).await.unwrap();
    setting.detached.commit().await.unwrap();
    assert_eq!(setting.detached.subject(), None);
    setting.detached.insert(COUNT, &1).unwrap();
    assert!(setting.detached.commit().await.unwrap_err().is_lost());
}

/// The bug: a handle that only asked from time to time, as a WebSocket's heartbeat does, let its session die of idleness.
/// The cause: whether activity was to be noted was judged by the time of the commit before. The mend: by the time it is.
#[tokio::test]
async fn who_goes_on_asking_is_active() {
    let clock = ManualClock::default();
    let sessions = Sessions::builder(MemoryStore::new()).clock(clock.clone()).build().unwrap();
    let (_, detached) = detached_from(&sessions).await;
    for minute in (20..=120).step_by(20) {
        clock.advance(Duration::from_secs(20 * 60));
        detached.commit().await.unwrap();
        assert_eq!(detached.subject(), Some(subject("ada")), "after {minute} minutes");
    }
}

/// Bug: a loop that stops when its session is lost went on for ever. Cause: once nothing was left in the store of a session
/// that had ended, the handle was taken for one that never had a session. Mend: whoever held one holds one that ended.
#[tokio::test]
async fn an_ended_session_stays_ended_when_nothing_is_left_of_it() {
    let clock = ManualClock::default();
    let sessions = Sessions::builder(MemoryStore::new()).clock(clock.clone()).build().unwrap();
    let (mut browser, detached) = detached_from(&sessions).await;
    browser.visit(&sessions, |session| session.logout().unwrap()).await.unwrap();
    clock.advance(Duration::from_secs(30 * 86_400));
    sessions.sweep(1_000).await.unwrap();
    for _ in 0..3 {
        // The change is refused as it is made, or as it is committed.
        let change = async {
            detached.insert(COUNT, &1)?;
            detached.commit().await
        };
        assert!(change.await.unwrap_err().is_lost());
        let _ = detached.commit().await;
    }
}
