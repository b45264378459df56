//! Two clocks: the precise one, and the one that arrivals are noted with, which is some milliseconds behind.

use std::time::Duration;

use cloakroom::{
    MemoryStore, Sessions, Timestamp,
    clock::{Clock, ManualClock, SystemClock},
};

use crate::browser::{Browser, subject};

/// A clock whose ticks are far apart.
struct Ticking<C> {
    precise: C,
    tick_ms: u64,
}

impl<C: Clock> Clock for Ticking<C> {
    fn now(&self) -> Timestamp {
        self.precise.now()
    }

    fn just_now(&self) -> Timestamp {
        Timestamp::from_millis(self.now().as_millis() / self.tick_ms * self.tick_ms)
    }
}

fn sessions(clock: impl Clock) -> Sessions {
    Sessions::builder(MemoryStore::new()).clock(clock).build().unwrap()
}

#[test]
fn the_systems_ticks_are_never_late_and_never_go_back() {
    let mut last = Timestamp::ZERO;
    for _ in 0..100_000 {
        let just_now = SystemClock.just_now();
        assert!(last <= just_now && just_now <= SystemClock.now());
        last = just_now;
    }
    assert!(SystemClock.now().since(last) < Duration::from_secs(1));
}

#[tokio::test]
async fn a7_3_1_timeouts_hold_to_the_millisecond_on_a_clock_that_is_behind() {
    let clock = ManualClock::default();
    let sessions = sessions(Ticking { precise: clock.clone(), tick_ms: 400 });
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;
    clock.advance(Duration::from_millis(30 * 60 * 1000 - 1));
    assert!(browser.subject(&sessions).await.is_some());
    clock.advance(Duration::from_millis(1));
    assert!(browser.subject(&sessions).await.is_none());
}

#[tokio::test]
async fn a_login_that_is_sent_after_a_revocation_stays() {
    let sessions = sessions(Ticking { precise: SystemClock, tick_ms: 20 });
    let subjects = sessions.subjects().unwrap();
    for _ in 0..5 {
        let mut browser = Browser::default();
        browser.login(&sessions, "ada").await;
        subjects.end(&subject("ada"), None).await.unwrap();
        browser.login(&sessions, "ada").await;
        assert!(browser.subject(&sessions).await.is_some());
        // Before an instant is not at it.
        tokio::time::sleep(Duration::from_millis(2)).await;
        subjects.end_started_before(sessions.now()).await.unwrap();
        assert!(browser.subject(&sessions).await.is_none());
        browser.login(&sessions, "ada").await;
        assert!(browser.subject(&sessions).await.is_some());
    }
}
