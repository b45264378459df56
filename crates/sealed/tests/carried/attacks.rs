//! Copies of a cookie in the wrong hands: planted before a login, or stolen.

use std::{sync::Arc, time::Duration};

use cloakroom::{SessionId, Subject, clock::ManualClock};

use crate::fixture::{Browser, COUNT, Fleet, faulty, increment};

/// Bug: for as long as a node's clock was behind another's, a cookie that had been logged out or superseded there was
/// honoured here, and one that a login had made worthless was even exchanged for a good one. Cause: an entry's effect
/// began at an instant of the other node's clock. Mend: what holds at once names no instant.
#[tokio::test]
async fn a7_2_4_a_node_whose_clock_is_behind_refuses_at_once() {
    let fleet = Fleet::new();
    fleet.clock.advance(Duration::from_millis(500));
    let behind = Fleet { clock: ManualClock::default(), ..fleet.clone() };
    let (first, second) = (fleet.node().await, behind.node().await);
    let mut browser = Browser::default();
    first.visit(&mut browser, increment).await.unwrap();
    let mut planted = browser.clone();
    first.log_in(&mut browser, "ada").await;
    fleet.advance(Duration::ZERO).await;
    assert!(second.visit(&mut planted, increment).await.unwrap_err().is_lost());
    second.visit(&mut planted, |_| Ok(())).await.unwrap();
    assert_eq!(second.request(&planted).await.unwrap().session.get(COUNT).unwrap(), None);

    let copy = browser.clone();
    first.visit(&mut browser, |session| session.logout()).await.unwrap();
    fleet.advance(Duration::ZERO).await;
    assert_eq!(second.user(&copy).await, None);
}

/// Bug: a thief whose copy had been through enough writes outlived the owner's next login, rotation and step-up; and a
/// planted cookie logged its victim out. Cause: what was refused were generations below a number, and each write raised
/// the presenter's own. Mend: a cut draws a random line, and cookies of all others are refused.
#[tokio::test]
async fn w_03_a_copy_that_was_written_to_many_times_is_refused_like_any_other() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let (mut owner, mut victim) = (Browser::default(), Browser::default());
    node.log_in(&mut owner, "ada").await;
    node.visit(&mut victim, increment).await.unwrap();
    let (mut stolen, mut planted) = (owner.clone(), victim.clone());
    for _ in 0..1_100 {
        node.visit(&mut stolen, increment).await.unwrap();
        node.visit(&mut planted, increment).await.unwrap();
    }
    node.log_in(&mut owner, "ada").await;
    assert_eq!(node.user(&stolen).await, None);
    node.log_in(&mut victim, "bob").await;
    assert!(node.visit(&mut planted, |session| session.logout()).await.unwrap_err().is_lost());
    assert_eq!(node.user(&victim).await.as_deref(), Some("bob"));
}

/// Bug: a planted cookie could log its victim out, and a stolen one rotate itself into safety, on a node that hadn't
/// heard of the owner's login. Cause: what a cookie is worth was looked up in the node's copy of the list, and the entry
/// appended to a newer one. Mend: it is looked up again at the head that the entry is appended to.
#[tokio::test]
async fn w_03_a_node_that_lags_lets_no_old_cookie_end_or_move_a_session() {
    let fleet = Fleet::new();
    let (ahead, lagging) = (fleet.node().await, fleet.lagging(|sealed| sealed).await);
    for turn in 0..4 {
        let mut browser = Browser::default();
        ahead.visit(&mut browser, increment).await.unwrap();
        if turn > 1 {
            ahead.log_in(&mut browser, "ada").await;
        }
        let mut copy = browser.clone();
        let request = lagging.request(&copy).await.unwrap();
        ahead.log_in(&mut browser, "ada").await;
        match turn {
            0 => request.session.logout().unwrap(),
            1 => request.session.login(Subject::new("ada").unwrap()).unwrap(),
            2 => request.session.rotate().unwrap(),
            _ => request.session.step_up().unwrap(),
        }
        assert!(request.respond(&mut copy).await.unwrap_err().is_lost(), "{turn}");
        assert_eq!(ahead.user(&browser).await.as_deref(), Some("ada"), "{turn}");
        assert_eq!(ahead.user(&copy).await, None, "{turn}");
    }
}

/// As before, of two logins with one cookie whose entries are noted together.
#[tokio::test]
async fn of_two_logins_with_one_cookie_at_once_one_succeeds() {
    let (store, fleet) = faulty();
    let node = Arc::new(fleet.node().await);
    let mut planted = Browser::default();
    node.visit(&mut planted, increment).await.unwrap();
    store.hold_next_replace();
    let id = SessionId::from_bytes([1; 16]);
    let first = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.sessions.end(id).await }
    });
    store.until_hanging(1).await;
    let mut logins = Vec::new();
    for user in ["ada", "mallory"] {
        let request = node.request(&planted).await.unwrap();
        request.session.login(Subject::new(user).unwrap()).unwrap();
        let mut browser = planted.clone();
        logins.push(tokio::spawn(async move {
            let is_done = request.respond(&mut browser).await.is_ok();
            (is_done, browser)
        }));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.heal();
    first.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for login in logins {
        let (is_done, browser) = login.await.unwrap();
        answers.push((is_done, node.user(&browser).await));
    }
    assert_eq!(answers, [(true, Some("ada".to_owned())), (false, None)]);
}

/// Bug: a cookie from a login of a moment ago was refused on a node that hadn't heard of that login, for it was of no line
/// that the node knew. Mend: a cookie says how much of the list its issuer knew; where that is more than is known here,
/// nothing that is known here speaks against it.
#[tokio::test]
async fn a_cookie_of_a_moment_ago_is_good_on_a_node_that_lags() {
    let fleet = Fleet::new();
    let ahead = fleet.node().await;
    let (mut browser, ada) = (Browser::default(), Subject::new("ada").unwrap());
    ahead.log_in(&mut browser, "ada").await;
    ahead.log_in(&mut browser, "ada").await;
    ahead.sessions.revocations().unwrap().end(&ada, None).await.unwrap();
    let lagging = fleet.lagging(|sealed| sealed).await;
    fleet.clock.advance(Duration::from_millis(1));
    for _ in 0..3 {
        ahead.log_in(&mut browser, "ada").await;
        let mut elsewhere = browser.clone();
        lagging.visit(&mut elsewhere, increment).await.unwrap();
        for (name, node) in [("ahead", &ahead), ("lagging", &lagging)] {
            assert_eq!(node.user(&elsewhere).await.as_deref(), Some("ada"), "{name}");
            assert_eq!(node.user(&browser).await.as_deref(), Some("ada"), "{name}");
        }
        ahead.sessions.revocations().unwrap().end(&ada, None).await.unwrap();
        fleet.clock.advance(Duration::from_millis(1));
        assert_eq!((ahead.user(&elsewhere).await, ahead.user(&browser).await), (None, None));
    }
}
