//! Lifetimes, and for how long a revocation is remembered.

use std::time::Duration;

use cloakroom::{Error, Key, Lifetime, Session, Subject};

use crate::fixture::{Browser, COUNT, Fleet, faulty, increment};

const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn remember(session: &Session) -> Result<(), Error> {
    increment(session)?;
    session.set_lifetime(Lifetime::NIST_AAL1)
}

/// Bug: after `lifetime_max` was lowered, older sessions could not be written to, and a logout of one was forgotten before
/// its cookie expired. Cause: entries were kept for as long as new sessions live. Mend: for as long as the session's own
/// cookies do; and cookies that would live longer than is allowed now live as long as that.
#[tokio::test]
async fn a_shorter_lifetime_opens_no_hole_and_fails_no_write() {
    let fleet = Fleet::new();
    let long = fleet.tuned(fleet.sealed().await.lifetime_max(MONTH));
    let mut browser = Browser::default();
    long.visit(&mut browser, remember).await.unwrap();
    let (copy, mut kept) = (browser.clone(), browser.clone());
    let short = fleet.node().await;
    short.visit(&mut kept, increment).await.unwrap();
    let (forgotten, still_long) = (kept.clone(), long);
    short.visit(&mut browser, |session| session.logout()).await.unwrap();
    fleet.advance(Duration::from_secs(10 * 86_400)).await;
    for copy in [&copy, &forgotten] {
        assert_eq!((short.user(copy).await, still_long.user(copy).await), (None, None));
        assert_eq!(still_long.request(copy).await.unwrap().session.get(COUNT).unwrap(), None);
    }
}

/// A logout on one node, and a longer life asked for with a copy on another that hasn't heard of it.
#[tokio::test]
async fn no_copy_outlives_its_logout_by_asking_for_a_longer_life() {
    let fleet = Fleet::new();
    let long = |sealed: cloakroom_sealed::SealedSessions| sealed.lifetime_max(MONTH);
    let (node, lagging) = (fleet.tuned(long(fleet.sealed().await)), fleet.lagging(long).await);
    let mut browser = Browser::default();
    node.visit(&mut browser, increment).await.unwrap();
    let mut copy = browser.clone();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    assert!(lagging.visit(&mut copy, remember).await.unwrap_err().is_lost());
    fleet.advance(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(node.request(&copy).await.unwrap().session.get(COUNT).unwrap(), None);

    // The other way round: the logout comes with a cookie of the shorter life.
    let mut browser = Browser::default();
    node.visit(&mut browser, increment).await.unwrap();
    let mut copy = browser.clone();
    node.visit(&mut copy, remember).await.unwrap();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    fleet.advance(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(node.request(&copy).await.unwrap().session.get(COUNT).unwrap(), None);
}

/// Bug: anybody could fill the list, and so end everybody's session, by beginning and ending some. Cause: the end of a
/// session was remembered for a day. Mend: for as long as one that is touched no more lives.
#[tokio::test]
async fn an_end_is_remembered_no_longer_than_cookies_live_without_activity() {
    let mut fleet = Fleet::new();
    fleet.settings.entries_max = 256;
    let node = fleet.node().await;
    let mut bystander = Browser::default();
    node.log_in(&mut bystander, "ada").await;
    for _ in 0..20 {
        for _ in 0..60 {
            let mut browser = Browser::default();
            node.visit(&mut browser, increment).await.unwrap();
            node.visit(&mut browser, |session| session.logout()).await.unwrap();
        }
        fleet.advance(Duration::from_secs(20 * 60)).await;
        node.visit(&mut bystander, |_| Ok(())).await.unwrap();
        assert_eq!(node.user(&bystander).await.as_deref(), Some("ada"));
    }
}

/// Bug: a full cart and a long user name made a login answer 500 and the cart vanish. Cause: older cookies were refused
/// before the new one was sealed. Mend: whether it fits is known before, and told to the handler that logs in.
#[tokio::test]
async fn a_login_that_wouldnt_fit_leaves_everything_as_it_was() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    let large = Key::<String>::new("large");
    for bytes in (2_000..3_000).rev() {
        let filled = node.visit(&mut browser, |session| session.insert(large.clone(), &"y".repeat(bytes)));
        if filled.await.is_ok() {
            break;
        }
    }
    let before = browser.clone();
    let subject = Subject::new("u".repeat(250)).unwrap();
    let request = node.request(&browser).await.unwrap();
    let error = request.session.login(subject.clone()).unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("large"), "{error}");
    let error = node
        .visit(&mut browser, |session| {
            session.login(Subject::new("ada")?)?;
            session.set_lifetime(Lifetime::NIST_AAL1)
        })
        .await
        .unwrap_err();
    assert!(error.is_invalid(), "{error}");
    assert_eq!(browser.value, before.value);
    assert!(node.request(&browser).await.unwrap().session.get(large.clone()).unwrap().is_some());
    // Without the cart there is room.
    node.visit(&mut browser, |session| {
        session.remove(large.clone())?;
        session.login(subject)
    })
    .await
    .unwrap();
    assert!(node.user(&browser).await.is_some());
}

/// Bug: whoever came with a cookie of an ended session was answered with 409 to every change for as long as it would have
/// lived. Mend: once no login can race with it any more, it is treated as absent.
#[tokio::test]
async fn a_dead_cookie_is_in_nobodys_way_for_longer_than_the_grace() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browsers = [Browser::default(), Browser::default()];
    for browser in &mut browsers {
        node.log_in(browser, "ada").await;
    }
    let [mut here, mut there] = browsers;
    let copy = here.clone();
    node.visit(&mut here, |session| session.logout()).await.unwrap();
    node.sessions.revocations().unwrap().end(&Subject::new("ada").unwrap(), None).await.unwrap();
    for dead in [&mut here.clone(), &mut there] {
        if dead.value.is_none() {
            dead.value.clone_from(&copy.value);
        }
        assert!(node.visit(dead, increment).await.unwrap_err().is_lost());
    }
    fleet.advance(Duration::from_secs(61)).await;
    let mut dead = copy;
    for dead in [&mut dead, &mut there] {
        node.visit(dead, increment).await.unwrap();
        assert_eq!(node.request(dead).await.unwrap().session.get(COUNT).unwrap(), Some(1));
    }
}

/// Bug: a page that was slow, or sent a moment before, and due to note activity put the cart of before a parallel change
/// back. Mend: no activity is noted over a cookie that may not have arrived yet.
#[tokio::test]
async fn a_slow_read_puts_no_old_data_back() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.visit(&mut browser, increment).await.unwrap();
    fleet.advance(Duration::from_secs(90)).await;
    let slow = node.request(&browser).await.unwrap();
    let before = browser.clone();
    node.visit(&mut browser, increment).await.unwrap();
    slow.respond(&mut browser).await.unwrap();
    assert_eq!(node.request(&browser).await.unwrap().session.get(COUNT).unwrap(), Some(2));
    fleet.advance(Duration::from_millis(5)).await;
    let mut late = before.clone();
    let cookies_set = late.cookies_set;
    node.visit(&mut late, |_| Ok(())).await.unwrap();
    assert_eq!(late.cookies_set, cookies_set);
    // Whose response was lost isn't forgotten for that.
    fleet.advance(Duration::from_secs(16)).await;
    let mut lost = before;
    let cookies_set = lost.cookies_set;
    node.visit(&mut lost, |_| Ok(())).await.unwrap();
    assert_eq!(lost.cookies_set, cookies_set + 1);
}

/// Bug: a login on a node that hadn't heard of a revocation of a moment ago was taken for one from before it. Mend: a login
/// asks the list.
#[tokio::test]
async fn a_login_after_a_revocation_counts_on_every_node() {
    let fleet = Fleet::new();
    let (node, lagging) = (fleet.node().await, fleet.lagging(|sealed| sealed).await);
    node.sessions.revocations().unwrap().end(&Subject::new("ada").unwrap(), None).await.unwrap();
    fleet.clock.advance(Duration::from_millis(1));
    let mut browser = Browser::default();
    lagging.log_in(&mut browser, "ada").await;
    assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));
}

/// Bug: "log out everywhere else" logged its own user out, if there had been a login in between. Cause: the session took
/// the newer epoch, and the exception knew the older. Mend: a session keeps the epoch it first logged in under.
#[tokio::test]
async fn a_session_that_was_spared_and_logs_in_again_is_spared_again() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let ada = Subject::new("ada").unwrap();
    node.sessions.revocations().unwrap().end(&ada, None).await.unwrap();
    fleet.advance(Duration::from_secs(1)).await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let id = Fleet::id_of(&node, &browser).await;
    for _ in 0..3 {
        fleet.advance(Duration::from_secs(1)).await;
        node.sessions.revocations().unwrap().end(&ada, id).await.unwrap();
        assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));
        fleet.advance(Duration::from_secs(1)).await;
        node.log_in(&mut browser, "ada").await;
    }
    assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));
}

/// Bug: a handle that outlived its response, a WebSocket's, lost its session at its first commit. Cause: it wasn't given
/// what revocation goes by. Mend: it is.
#[tokio::test]
async fn a_handle_that_outlives_its_response_stays_logged_in_until_the_logout() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let detached = node.request(&browser).await.unwrap().session.detach();
    for _ in 0..3 {
        detached.commit().await.unwrap();
        assert!(detached.subject().is_some());
    }
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    detached.commit().await.unwrap();
    assert_eq!(detached.subject(), None);
}

/// Bug: a list that could be read, but not written to, failed closed once a day. Cause: that its head couldn't be kept from
/// expiring in 400 days was taken for being out of touch. Mend: it is a warning.
#[tokio::test]
async fn a_list_that_can_only_be_read_serves_for_reading() {
    let (store, fleet) = faulty();
    let node = fleet.tuned(fleet.sealed().await.lifetime_max(MONTH));
    let mut browser = Browser::default();
    node.visit(&mut browser, remember).await.unwrap();
    store.refuse_writes();
    fleet.advance(Duration::from_secs(2 * 86_400)).await;
    tokio::time::sleep(2 * fleet.settings.stale_after).await;
    assert_eq!(node.request(&browser).await.unwrap().session.get(COUNT).unwrap(), Some(1));
}

/// Bug: a long list couldn't be loaded within the time after which one is out of date, so that no node with one started.
/// Cause: its parts were loaded one after the other, and anew each time. Mend: sixteen at once, and what was loaded stays.
#[tokio::test]
async fn a_long_list_on_a_slow_store_is_loaded_all_the_same() {
    let (store, fleet) = faulty();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let copy = browser.clone();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    fleet.end_sessions(&node, 6_400).await;
    store.delay_loads(Duration::from_millis(100));
    let begun = std::time::Instant::now();
    let later = fleet.node().await;
    assert_eq!(later.user(&copy).await, None);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
