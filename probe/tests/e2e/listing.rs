//! What users see of their own sessions.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::support::{Visitor, on_every_store_but_cookies};

const ONLY_BROWSERS_KNOW: &str = "which sessions a subject has, only their browsers know";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    id: String,
    is_current: bool,
    created_ms: u64,
    started_ms: u64,
    active_ms: u64,
    end_ms: u64,
    client: Option<String>,
}

#[track_caller]
fn list(visitor: &mut Visitor, query: &str) -> Vec<Listed> {
    let reply = visitor.get(&format!("/sessions{query}")).expect(200).expect_no_cookie();
    serde_json::from_str(&reply.body).expect("a listing is JSON")
}

#[test]
fn a7_5_2_users_list_their_own_sessions_by_public_handles_only() {
    on_every_store_but_cookies(ONLY_BROWSERS_KNOW, |probe| {
        let tokens: Vec<_> = (0..5).map(|_| probe.visitor().log_in("ada")).collect();
        probe.visitor().log_in("bob");
        let mut visitor = probe.visitor_with(&tokens[2]);
        visitor.get("/set?k=diary&v=private").expect(200);

        let body = visitor.get("/sessions").expect(200).body;
        let listed = list(&mut visitor, "");
        let ids: BTreeSet<_> = listed.iter().map(|session| session.id.as_str()).collect();
        assert_eq!((listed.len(), ids.len()), (5, 5));
        assert!(!body.contains("private") && !body.contains("bob"));

        for token in &tokens {
            // 21 characters of a token hold the id alone, and from the 23rd on they hold the secret alone.
            let session = listed.iter().find(|session| session.id.starts_with(&token[..21])).unwrap();
            assert_eq!(session.is_current, *token == tokens[2]);
            assert!(!body.contains(&token[22..]), "a secret is listed");
            assert!(session.created_ms <= session.started_ms && session.started_ms <= session.active_ms);
            assert_eq!(session.end_ms - session.started_ms, 86_400_000);
            assert_eq!(session.client, None, "the tests name no browser");
        }
        // What is listed opens nothing.
        for session in &listed {
            for token in [session.id.clone(), format!("{}{}", session.id, "A".repeat(21))] {
                assert!(probe.visitor_with(&token).view().is_nobody(), "{token}");
            }
        }
    });
}

#[test]
fn a_listing_follows_every_change_at_once() {
    on_every_store_but_cookies(ONLY_BROWSERS_KNOW, |probe| {
        let mut first = probe.visitor();
        first.get("/set?k=cart&v=umbrella").expect(200);
        first.log_in("ada");
        assert_eq!(list(&mut first, "").len(), 1);
        let mut second = probe.visitor();
        second.log_in("ada");
        assert_eq!(list(&mut first, "").len(), 2);
        // The same session, with a new token.
        second.log_in("ada");
        assert_eq!(list(&mut first, "").len(), 2);
        second.log_in("bob");
        assert_eq!((list(&mut first, "").len(), list(&mut second, "").len()), (1, 1));
        second.log_in("ada");
        second.get("/logout").expect(200);
        assert_eq!(list(&mut first, "").len(), 1);
    });
}

#[test]
fn pages_follow_on_one_another() {
    on_every_store_but_cookies(ONLY_BROWSERS_KNOW, |probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        for _ in 0..6 {
            probe.visitor().log_in("ada");
        }
        let all: Vec<_> = list(&mut visitor, "").into_iter().map(|session| session.id).collect();
        assert_eq!(all.len(), 7);
        for (index, id) in all.iter().enumerate() {
            let rest: Vec<_> =
                list(&mut visitor, &format!("?after={id}")).into_iter().map(|session| session.id).collect();
            assert_eq!(rest, all[index + 1..]);
        }
    });
}
