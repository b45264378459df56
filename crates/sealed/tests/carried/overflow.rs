//! A list that is full cuts wider, and never opens a hole.

use std::time::Duration;

use crate::fixture::{Browser, Fleet};

#[tokio::test]
async fn an_overflow_ends_too_many_sessions_and_never_too_few() {
    let mut fleet = Fleet::new();
    fleet.settings.entries_max = 40;
    let node = fleet.node().await;
    let mut revoked = Vec::new();
    for turn in 0..200 {
        let mut browser = Browser::default();
        node.log_in(&mut browser, "ada").await;
        revoked.push(browser.clone());
        node.visit(&mut browser, |session| session.logout()).await.unwrap();
        fleet.advance(Duration::from_millis(if turn % 50 == 0 { 5_000 } else { 10 })).await;
    }
    fleet.advance(Duration::from_secs(10)).await;
    let mut last = Browser::default();
    node.log_in(&mut last, "ada").await;
    let later = fleet.node().await;
    for copy in &revoked {
        assert_eq!((node.user(copy).await, later.user(copy).await), (None, None));
    }
    assert_eq!(later.user(&last).await.as_deref(), Some("ada"), "who comes later is let in");
}
