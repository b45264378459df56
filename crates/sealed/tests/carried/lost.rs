//! A list that lost some of what it acknowledged.

use std::time::Duration;

use cloakroom::{Subject, Timestamp, store::Index as _};

use crate::fixture::{Browser, Fleet, Kept, increment};

/// Bug: when the list's store came back without its last entries, running nodes were deaf to the next ones, their own
/// logouts among them, and nodes that started later honoured what had been logged out. Cause: only a list of another id
/// was taken for a loss. Mend: a list that is shorter than, or another than, what was seen of it begins anew.
#[tokio::test]
async fn r_revive_a_list_without_its_last_entries_is_as_good_as_lost() {
    for entries_later in [0, 1, 2, 3, 10, 100] {
        let (kept, fleet) = Kept::fleet();
        let node = fleet.node().await;
        let (mut browser, mut bystander) = (Browser::default(), Browser::default());
        node.log_in(&mut browser, "ada").await;
        node.log_in(&mut bystander, "bob").await;
        let copy = browser.clone();
        let before = kept.snapshot();
        node.visit(&mut browser, |session| session.logout()).await.unwrap();
        fleet.end_sessions(&node, 2).await;
        // Another node, which hadn't seen the lost entries, goes on with what is left.
        kept.restore(before);
        if entries_later > 0 {
            let other = fleet.node().await;
            fleet.end_sessions(&other, entries_later).await;
        }
        assert!(node.comes_to_refuse(&bystander).await, "{entries_later}: what was lost can't be told");
        for node in [&node, &fleet.node().await] {
            assert_eq!((node.user(&copy).await, node.user(&bystander).await), (None, None));
            let mut browser = Browser::default();
            node.log_in(&mut browser, "ada").await;
            let copy = browser.clone();
            node.visit(&mut browser, |session| session.logout()).await.unwrap();
            assert_eq!((node.user(&copy).await, fleet.node().await.user(&copy).await), (None, None));
        }
    }
}

/// As before, when no node is left that had seen the lost entries: then cookies know how long the list was.
#[tokio::test]
async fn r_revive_a_cookie_tells_that_the_list_was_longer() {
    let (kept, fleet) = Kept::fleet();
    let node = fleet.node().await;
    let (mut browser, mut bystander) = (Browser::default(), Browser::default());
    node.log_in(&mut browser, "ada").await;
    let copy = browser.clone();
    let before = kept.snapshot();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    node.log_in(&mut bystander, "bob").await;
    fleet.nodes.lock().clear();
    drop(node);
    kept.restore(before);
    let restarted = fleet.node().await;
    let _ = restarted.user(&bystander).await;
    assert!(restarted.comes_to_refuse(&copy).await);
    assert_eq!(fleet.node().await.user(&copy).await, None);
}

/// Bug: an archived part of the list that was gone was taken for one whose entries had all expired. Mend: the part after it
/// tells until when it must be there.
#[tokio::test]
async fn r_revive_a_list_that_lost_a_part_from_its_middle_is_as_good_as_lost() {
    let (kept, fleet) = Kept::fleet();
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    let copy = browser.clone();
    let before = kept.snapshot();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    fleet.end_sessions(&node, 500).await;
    kept.remove_the_first_added_since(&before);
    let later = fleet.node().await;
    assert_eq!(later.user(&copy).await, None);
    let mut browser = Browser::default();
    later.log_in(&mut browser, "ada").await;
    assert_eq!(later.user(&browser).await.as_deref(), Some("ada"));
}

/// Parts of the list that expired aren't missed.
#[tokio::test]
async fn old_parts_of_the_list_expire_and_are_swept() {
    let (_, fleet) = Kept::fleet();
    let node = fleet.node().await;
    let remembered = fleet.tuned(fleet.sealed().await.lifetime_max(Duration::from_secs(400 * 86_400)));
    let mut browser = Browser::default();
    let remember = |session: &cloakroom::Session| {
        session.login(Subject::new("ada").unwrap())?;
        session.set_lifetime(cloakroom::Lifetime::NIST_AAL1)
    };
    remembered.visit(&mut browser, remember).await.unwrap();
    for _ in 0..5 {
        fleet.end_sessions(&node, 300).await;
        fleet.advance(Duration::from_secs(90_000)).await;
        fleet.store.sweep(fleet.clock_now(), usize::MAX).await.unwrap();
        let later = fleet.node().await;
        let remembered = fleet.tuned(fleet.sealed().await.lifetime_max(Duration::from_secs(400 * 86_400)));
        assert_eq!(remembered.user(&browser).await.as_deref(), Some("ada"));
        drop(later);
    }
}

/// Bug: `end_started_before` on a store that holds the list as well ended the list. Cause: its records had begun when they
/// were written. Mend: they began in the future.
#[tokio::test]
async fn ending_what_is_old_in_a_store_leaves_the_list_in_it_alone() {
    let memory = std::sync::Arc::new(cloakroom::MemoryStore::new());
    let fleet = Fleet::on(memory.clone());
    let node = fleet.node().await;
    let mut browser = Browser::default();
    node.log_in(&mut browser, "ada").await;
    memory.end_started_before(fleet.clock_now() + Duration::from_secs(1), Timestamp::ZERO).await.unwrap();
    fleet.advance(Duration::from_secs(2)).await;
    assert_eq!(node.user(&browser).await.as_deref(), Some("ada"));
    let copy = browser.clone();
    node.visit(&mut browser, |session| session.logout()).await.unwrap();
    assert_eq!(fleet.node().await.user(&copy).await, None);
    node.visit(&mut browser, increment).await.unwrap();
}
