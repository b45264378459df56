//! What was ended stays ended, on every node.

use std::time::Duration;

use cloakroom::{
    Policy, Subject,
    clock::ManualClock,
    event::{EventKind, Rejection},
};
use cloakroom_sealed::SealedSessions;

use crate::fixture::{Browser, COUNT, Fleet, increment};

#[tokio::test]
async fn a_logout_ends_every_copy_of_the_cookie_on_every_node() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.node().await, fleet.node().await);
    let mut browser = Browser::default();
    first.log_in(&mut browser, "ada").await;
    let copy = browser.clone();
    assert_eq!(second.user(&copy).await.as_deref(), Some("ada"));
    first.visit(&mut browser, |session| session.logout()).await.unwrap();
    assert!(browser.value.is_none());
    assert_eq!(first.user(&copy).await, None, "at once where it was asked for");
    assert!(first.events.has(&EventKind::Rejected(Rejection::Ended)));
    assert!(second.comes_to_refuse(&copy).await);
    // A node that starts later knows, too.
    assert_eq!(fleet.node().await.user(&copy).await, None);
}

#[tokio::test]
async fn a_write_under_way_at_a_logout_revives_nothing() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.node().await, fleet.node().await);
    for node in [&first, &second] {
        let mut browser = Browser::default();
        first.log_in(&mut browser, "ada").await;
        let slow = node.request(&browser).await.unwrap();
        let copy = browser.clone();
        first.visit(&mut browser, |session| session.logout()).await.unwrap();
        assert!(node.comes_to_refuse(&copy).await);
        slow.session.update(COUNT, |count| *count += 1).unwrap();
        assert!(slow.respond(&mut browser).await.unwrap_err().is_lost());
        assert!(browser.value.is_none());
    }
}

#[tokio::test]
async fn a_login_makes_the_cookie_before_it_worthless() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.visit(&mut browser, |session| session.update(COUNT, |count| *count += 1)).await.unwrap();
    let planted = browser.clone();
    node.log_in(&mut browser, "ada").await;
    assert_eq!(node.request(&planted).await.unwrap().session.get(COUNT).unwrap(), None);
    assert!(node.events.has(&EventKind::Rejected(Rejection::Superseded)));
    assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));

    // Logging in again does the same to the cookie of the first login.
    let first = browser.clone();
    node.log_in(&mut browser, "ada").await;
    assert_eq!((node.user(&first).await, node.user(&browser).await.as_deref()), (None, Some("ada")));
}

#[tokio::test]
async fn a_login_over_another_users_session_ends_it() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let ada = browser.clone();
    node.log_in(&mut browser, "bob").await;
    assert_eq!((node.user(&ada).await, node.user(&browser).await.as_deref()), (None, Some("bob")));
}

#[tokio::test]
async fn one_session_can_be_ended_by_its_id() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.node().await, fleet.node().await);
    let mut browser = Browser::default();
    first.log_in(&mut browser, "ada").await;
    let id = first.request(&browser).await.unwrap().session.id().unwrap();
    assert!(second.sessions.end(id).await.unwrap());
    assert_eq!(second.user(&browser).await, None);
    assert!(first.comes_to_refuse(&browser).await);
}

#[tokio::test]
async fn all_of_a_subjects_sessions_end_but_the_one_excepted() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.node().await, fleet.node().await);
    let (ada, bob) = (Subject::new("ada").unwrap(), Subject::new("bob").unwrap());
    let mut browsers = [Browser::default(), Browser::default(), Browser::default()];
    for browser in &mut browsers {
        first.log_in(browser, "ada").await;
    }
    let mut other = Browser::default();
    first.log_in(&mut other, bob.as_str()).await;
    let [here, there, elsewhere] = &browsers;
    let id = first.request(here).await.unwrap().session.id();
    first.sessions.revocations().unwrap().end(&ada, id).await.unwrap();
    for node in [&first, &second] {
        assert!(node.comes_to_refuse(there).await && node.comes_to_refuse(elsewhere).await);
        assert_eq!(node.user(here).await.as_deref(), Some("ada"));
        assert_eq!(node.user(&other).await.as_deref(), Some("bob"));
    }

    // One that was ended can't be brought back by excepting it from the next revocation.
    let ended =
        Fleet::id_of(&fleet.node_of(SealedSessions::insecure_without_revocation(fleet.ring.clone())), there)
            .await;
    fleet.advance(Duration::from_secs(1)).await;
    second.sessions.revocations().unwrap().end(&ada, ended).await.unwrap();
    for browser in &browsers {
        assert!(first.comes_to_refuse(browser).await && second.comes_to_refuse(browser).await);
    }

    // Whoever logs in afterwards is let in, and stays when excepted twice.
    fleet.advance(Duration::from_secs(1)).await;
    let mut back = Browser::default();
    second.log_in(&mut back, "ada").await;
    let id = second.request(&back).await.unwrap().session.id();
    for _ in 0..2 {
        fleet.advance(Duration::from_secs(1)).await;
        second.sessions.revocations().unwrap().end(&ada, id).await.unwrap();
        assert_eq!(second.user(&back).await.as_deref(), Some("ada"));
    }
    fleet.advance(Duration::from_secs(1)).await;
    second.sessions.revocations().unwrap().end(&ada, None).await.unwrap();
    assert_eq!(second.user(&back).await, None);
}

#[tokio::test]
async fn a_login_under_way_at_a_revocation_comes_too_late() {
    let fleet = Fleet::new();
    let nodes = [fleet.node().await, fleet.node().await];
    let ada = Subject::new("ada").unwrap();
    for node in &nodes {
        let mut browser = Browser::default();
        let request = node.request(&browser).await.unwrap();
        request.session.login(ada.clone()).unwrap();
        nodes[0].sessions.revocations().unwrap().end(&ada, None).await.unwrap();
        fleet.advance(Duration::from_secs(1)).await;
        assert!(request.respond(&mut browser).await.unwrap_err().is_lost());
        assert!(browser.value.is_none());
        node.log_in(&mut browser, "ada").await;
        assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));
    }
}

/// Bug: a login in progress survived the end of all its subject's sessions, made on a node whose clock was behind, though
/// `clock_skew_max` allowed for that. Cause: sealed sessions compared the two times as they were. Mend: a login counts
/// from so much earlier.
#[tokio::test]
async fn a_login_under_way_at_a_revocation_by_a_clock_that_is_behind_comes_too_late() {
    let clock_skew_max = Duration::from_millis(300);
    let policy = Policy { clock_skew_max, ..Policy::default() };
    let behind = Fleet::new();
    let ahead = Fleet { clock: ManualClock::default(), ..behind.clone() };
    ahead.clock.advance(Duration::from_millis(200));
    let (here, there) = (behind.node_with(policy.clone()).await, ahead.node_with(policy).await);
    let ada = Subject::new("ada").unwrap();
    for has_a_session in [false, true] {
        let mut browser = Browser::default();
        if has_a_session {
            there.visit(&mut browser, increment).await.unwrap();
        }
        let request = there.request(&browser).await.unwrap();
        request.session.login(ada.clone()).unwrap();
        here.sessions.revocations().unwrap().end(&ada, None).await.unwrap();
        assert!(request.respond(&mut browser).await.unwrap_err().is_lost(), "{has_a_session}");
        assert_eq!(there.user(&browser).await, None);

        // That call took as long as the clocks may be apart: who logs in after it is let in, on either node.
        behind.clock.advance(clock_skew_max + Duration::from_millis(1));
        ahead.advance(clock_skew_max + Duration::from_millis(1)).await;
        for node in [&there, &here] {
            node.log_in(&mut browser, "ada").await;
            assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));
        }
    }
}

#[tokio::test]
async fn what_follows_a_logout_belongs_to_a_new_session() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let copy = browser.clone();
    let flash = |session: &cloakroom::Session| {
        session.logout()?;
        session.insert(COUNT, &7)
    };
    node.visit(&mut browser, flash).await.unwrap();
    let request = node.request(&browser).await.unwrap();
    assert_eq!((request.session.get(COUNT).unwrap(), request.session.subject()), (Some(7), None));
    assert_eq!(node.user(&copy).await, None);
}

#[tokio::test]
async fn many_revocations_at_once_from_two_nodes_are_all_held() {
    let fleet = Fleet::new();
    let nodes = [fleet.node().await, fleet.node().await];
    let mut browsers = vec![Browser::default(); 300];
    for browser in &mut browsers {
        nodes[0].log_in(browser, "ada").await;
    }
    let copies = browsers.clone();
    let logouts = browsers.iter_mut().enumerate().map(|(turn, browser)| {
        let node = &nodes[turn % 2];
        async move { node.visit(browser, |session| session.logout()).await.unwrap() }
    });
    futures_util::future::join_all(logouts).await;
    let later = fleet.node().await;
    for copy in &copies {
        assert!(nodes[0].comes_to_refuse(copy).await && nodes[1].comes_to_refuse(copy).await);
        assert_eq!(later.user(copy).await, None);
    }
}

#[tokio::test]
async fn an_entry_is_forgotten_when_its_cookies_have_expired_anyway() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let copy = browser.clone();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    fleet.advance(Duration::from_secs(86_400)).await;
    assert_eq!(node.user(&copy).await, None);
    assert_eq!(fleet.node().await.user(&copy).await, None);
}
