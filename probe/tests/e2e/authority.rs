//! Whose session a token opens: nobody's, if it was made up; nobody's any more, once a login has replaced it.

use std::{thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::support::on_every_store;

/// Time for a request to have read its session, so that what happens next happens while it is under way.
const UNDER_WAY: Duration = Duration::from_millis(200);

/// A token that is well-formed, and that no store knows.
fn made_up(byte: u8) -> String {
    URL_SAFE_NO_PAD.encode([byte; 32])
}

/// The public handle of the session that it would open.
fn made_up_id(byte: u8) -> Option<String> {
    Some(u128::from_be_bytes([byte; 16]).to_string())
}

#[test]
fn cs_strict_a_made_up_token_is_not_adopted() {
    on_every_store(|probe| {
        for byte in [0, 7, 255] {
            let token = made_up(byte);
            let mut attacker = probe.visitor_with(&token);
            assert!(attacker.view().is_nobody());
            assert_eq!(attacker.token(), token, "a read sets no cookie");
            attacker.get("/logout").expect(200).expect_no_cookie();
            attacker.get("/rotate").expect_problem(401);

            attacker.get("/set?k=a&v=b").expect(200);
            let view = attacker.view();
            assert_eq!(view.text("a"), Some("b"));
            assert!(view.id.is_some() && view.id != made_up_id(byte), "the id is new");
            assert!(probe.visitor_with(&token).view().is_nobody());
        }
    });
}

#[test]
fn w_03_a_made_up_token_is_not_adopted_by_a_login() {
    on_every_store(|probe| {
        let token = made_up(42);
        let mut victim = probe.visitor_with(&token);
        victim.log_in("ada");
        let view = victim.view();
        assert!(view.id.is_some() && view.id != made_up_id(42), "the id is new");
        assert_eq!(view.subject.as_deref(), Some("ada"));
        assert!(probe.visitor_with(&token).view().is_nobody());
    });
}

/// Ids are public, so whoever knows one may try secrets: they open nothing, and harm nobody.
#[test]
fn cs_strict_a_known_id_with_another_secret_opens_and_ends_nothing() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        visitor.get("/set?k=a&v=b").expect(200);
        let (token, before) = (visitor.token(), visitor.view());

        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in [0, 63, 127] {
            bytes[16 + bit / 8] ^= 1 << (bit % 8);
            let mut thief = probe.visitor_with(&URL_SAFE_NO_PAD.encode(&bytes));
            assert!(thief.view().is_nobody());
            thief.get("/logout").expect(200).expect_no_cookie();
            thief.get("/logout-all").expect(401).expect_no_cookie();
            thief.get("/set?k=a&v=stolen").expect(200);
            assert_ne!(thief.view().id, before.id, "a write begins a session of its own");
        }
        assert_eq!(visitor.view(), before);
        assert_eq!(visitor.token(), token);
    });
}

#[test]
fn a7_2_4_w_03_a_login_makes_the_old_token_worthless_at_once() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.get("/set?k=cart&v=umbrella").expect(200);
        let anonymous = visitor.token();
        let first = visitor.log_in("ada");
        let second = visitor.log_in("ada");
        assert!(anonymous != first && first != second);

        for old in [&anonymous, &first] {
            let mut attacker = probe.visitor_with(old);
            for _ in 0..2 {
                assert!(attacker.view().is_nobody());
                attacker.get("/slowread").expect(200).expect_no_cookie();
                attacker.get("/set?k=cart&v=stolen").expect_problem(409);
                attacker.get("/incr?k=n").expect_problem(409);
                attacker.get("/rotate").expect_problem(401);
                attacker.get("/logout").expect_problem(409);
                for target in probe.targets(&["/sessions"]) {
                    attacker.get(target).expect(401).expect_no_cookie();
                }
                attacker.get("/logout-all").expect(401).expect_no_cookie();
            }
            assert_eq!(attacker.token(), **old, "the cookie was left alone");
        }
        let view = visitor.view();
        assert_eq!((view.subject.as_deref(), view.text("cart")), (Some("ada"), Some("umbrella")));
        assert_eq!(view.data.len(), 1);
    });
}

/// A browser may keep an old cookie, after a restored backup for example: its owner can log in again.
#[test]
fn a_login_with_a_superseded_token_begins_a_session_of_its_own() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.get("/set?k=cart&v=umbrella").expect(200);
        let anonymous = visitor.token();
        visitor.log_in("ada");

        let mut other = probe.visitor_with(&anonymous);
        other.log_in("bob");
        let view = other.view();
        assert_eq!((view.subject.as_deref(), view.data.len()), (Some("bob"), 0));
        let own = visitor.view();
        assert_eq!(own.subject.as_deref(), Some("ada"));
        assert!(own.id.is_some() && own.id != view.id);
    });
}

#[test]
fn a7_2_4_a_write_in_flight_at_a_login_is_lost_and_says_so() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.get("/set?k=cart&v=umbrella").expect(200);
        let (mut slow, mut counting) = (visitor.tab(probe), visitor.tab(probe));
        slow.ask("GET", "/set?k=late&v=x&ms=500");
        counting.ask("GET", "/incr?k=late-count&ms=500");
        thread::sleep(UNDER_WAY);
        let token = visitor.log_in("ada");

        slow.answer("GET").expect_problem(409);
        counting.answer("GET").expect_problem(409);
        let view = visitor.view();
        assert_eq!((view.subject.as_deref(), view.data.len()), (Some("ada"), 1));
        assert_eq!(visitor.token(), token, "the login's cookie was left alone");
    });
}

#[test]
fn a_read_in_flight_at_a_login_is_served_and_sets_no_cookie() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let mut slow = visitor.tab(probe);
        slow.ask("GET", "/slowread?ms=500");
        thread::sleep(UNDER_WAY);
        visitor.log_in("ada");
        assert_eq!(slow.answer("GET").expect(200).expect_no_cookie().body, "authenticated\n");
    });
}

#[test]
fn logging_in_as_somebody_else_ends_the_first_session_and_carries_nothing_over() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let first = visitor.log_in("ada");
        visitor.get("/set?k=diary&v=private").expect(200);
        let before = visitor.view();
        visitor.log_in("bob");

        let view = visitor.view();
        assert!(view.id.is_some() && view.id != before.id);
        assert_eq!((view.subject.as_deref(), view.data.len()), (Some("bob"), 0));
        let mut old = probe.visitor_with(&first);
        assert!(old.view().is_nobody());
        old.get("/set?k=diary&v=x").expect_problem(409);
        let mut again = probe.visitor();
        again.log_in("ada");
        for target in probe.targets(&["/sessions"]) {
            let listed = again.get(target).expect(200).body;
            assert_eq!(listed.matches("\"id\"").count(), 1, "the first session is gone");
        }
    });
}
