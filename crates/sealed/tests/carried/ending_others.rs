//! A login that ends the subject's other sessions: for a password that was reset.

use std::time::Duration;

use cloakroom::{Subject, event::EventKind, store::EndReason};
use cloakroom_sealed::SealedSessions;

use crate::fixture::{Browser, COUNT, Fleet, Node, increment};

fn ada() -> Subject {
    Subject::new("ada").unwrap()
}

async fn log_in_alone(node: &Node, browser: &mut Browser) {
    node.visit(browser, |session| session.login_ending_others(ada())).await.unwrap();
}

/// How the one browser that stays came to its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Nothing,
    Anonymous,
    /// It was logged in as ada already.
    Itself,
    /// It was logged in as bob.
    Another,
    /// It logs out first, in the same request.
    Logout,
}

#[tokio::test]
async fn a7_4_3_a_login_can_end_the_others_on_every_node() {
    for from in [From::Nothing, From::Anonymous, From::Itself, From::Another, From::Logout] {
        let fleet = Fleet::new();
        let nodes = [fleet.node().await, fleet.node().await];
        let mut others = [Browser::default(), Browser::default()];
        for (node, browser) in nodes.iter().zip(&mut others) {
            node.log_in(browser, "ada").await;
        }
        let (mut stranger, mut here) = (Browser::default(), Browser::default());
        nodes[1].log_in(&mut stranger, "bob").await;
        match from {
            From::Nothing => {}
            From::Anonymous => drop(nodes[0].visit(&mut here, increment).await.unwrap()),
            From::Itself | From::Logout => nodes[0].log_in(&mut here, "ada").await,
            From::Another => nodes[0].log_in(&mut here, "bob").await,
        }
        fleet.advance(Duration::from_secs(1)).await;
        let before = here.clone();
        let handle = |session: &cloakroom::Session| {
            if from == From::Logout {
                session.logout()?;
            }
            session.login_ending_others(ada())?;
            increment(session)
        };
        nodes[0].visit(&mut here, handle).await.unwrap();
        assert!(nodes[0].events.has(&EventKind::Ended(EndReason::Revoked)), "{from:?}");

        let late = fleet.node().await;
        for node in [&nodes[0], &nodes[1], &late] {
            for browser in &others {
                assert!(node.comes_to_refuse(browser).await, "{from:?}");
            }
            assert!(before.value.is_none() || node.comes_to_refuse(&before).await, "{from:?}");
            let session = node.request(&here).await.unwrap().session;
            let count = if from == From::Anonymous { 2 } else { 1 };
            assert_eq!(session.subject(), Some(ada()), "{from:?}");
            assert_eq!(session.get(COUNT).unwrap(), Some(count), "{from:?}");
            // Whose session was taken over isn't logged out elsewhere.
            assert_eq!(node.user(&stranger).await.as_deref(), Some("bob"), "{from:?}");
        }

        // It can be spared by what comes later, and ended.
        let id = nodes[1].request(&here).await.unwrap().session.id();
        for spared in [id, id, None] {
            fleet.advance(Duration::from_secs(1)).await;
            nodes[1].sessions.revocations().unwrap().end(&ada(), spared).await.unwrap();
            let user = nodes[1].user(&here).await;
            assert_eq!(user.is_some(), spared.is_some(), "{from:?}");
        }
        // And whoever logs in afterwards is let in.
        fleet.advance(Duration::from_secs(1)).await;
        nodes[0].log_in(&mut others[0], "ada").await;
        assert_eq!(nodes[1].user(&others[0]).await.as_deref(), Some("ada"));
    }
}

/// Its own earlier cookie tells of a newer one, as after any login; and its write is lost, not adopted.
#[tokio::test]
async fn the_cookie_before_it_is_superseded() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut here = Browser::default();
    node.log_in(&mut here, "ada").await;
    let mut before = here.clone();
    log_in_alone(&node, &mut here).await;
    assert!(node.visit(&mut before, increment).await.unwrap_err().is_lost());
    assert!(node.visit(&mut before, |session| session.logout()).await.unwrap_err().is_lost());
    assert_eq!(node.user(&here).await.as_deref(), Some("ada"));
}

/// The others' end counts from when it is noted: a login that was under way then is refused, this kind or not; and so is
/// this one, if all sessions are ended while it is under way. It ends nobody's then.
#[tokio::test]
async fn of_two_that_are_under_way_one_stays() {
    let fleet = Fleet::new();
    let nodes = [fleet.node().await, fleet.node().await];
    for has_a_session in [false, true] {
        let [mut first, mut second, mut third, mut bystander] = [(); 4].map(|()| Browser::default());
        if has_a_session {
            for browser in [&mut first, &mut second, &mut third] {
                nodes[0].visit(browser, increment).await.unwrap();
            }
        }
        let one = nodes[0].request(&first).await.unwrap();
        let two = nodes[1].request(&second).await.unwrap();
        let plain = nodes[1].request(&third).await.unwrap();
        one.session.login_ending_others(ada()).unwrap();
        two.session.login_ending_others(ada()).unwrap();
        plain.session.login(ada()).unwrap();
        one.respond(&mut first).await.unwrap();
        assert!(two.respond(&mut second).await.unwrap_err().is_lost());
        assert!(plain.respond(&mut third).await.unwrap_err().is_lost());
        for node in &nodes {
            assert_eq!(node.user(&first).await.as_deref(), Some("ada"));
            assert_eq!((node.user(&second).await, node.user(&third).await), (None, None));
        }

        let late = nodes[0].request(&second).await.unwrap();
        late.session.login_ending_others(ada()).unwrap();
        fleet.advance(Duration::from_secs(1)).await;
        nodes[1].sessions.revocations().unwrap().end(&ada(), None).await.unwrap();
        fleet.advance(Duration::from_secs(1)).await;
        nodes[1].log_in(&mut bystander, "ada").await;
        assert!(late.respond(&mut second).await.unwrap_err().is_lost());
        assert_eq!(nodes[0].user(&bystander).await.as_deref(), Some("ada"), "it ended nobody's");
        fleet.advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn without_a_list_it_is_refused_in_the_handler() {
    let fleet = Fleet::new();
    let node = fleet.node_of(SealedSessions::insecure_without_revocation(fleet.ring.clone()));
    let session = node.request(&Browser::default()).await.unwrap().session;
    assert!(session.login_ending_others(ada()).unwrap_err().is_unsupported());
    assert_eq!(session.subject(), None);
}
