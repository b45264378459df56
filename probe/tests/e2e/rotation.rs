//! A token's replacement loses no one: neither who is under way, nor who never got the answer.

use std::{collections::BTreeSet, thread, time::Duration};

use crate::support::{in_parallel, on_every_store, on_every_store_but_cookies};

#[test]
fn cs_renew_a_hundred_parallel_requests_around_a_rotation_all_succeed_and_get_one_successor() {
    on_every_store_but_cookies("of parallel writes, the browser keeps the last one's cookie", |probe| {
        let token = probe.visitor().log_in("ada");
        let handed_out = in_parallel(100, |index, start| {
            // Each with the token it began with, as requests have that left the browser together.
            let mut visitor = probe.visitor_with(&token);
            start.wait();
            let reply = match index % 5 {
                0 => visitor.get("/rotate"),
                1 => visitor.get(&format!("/set?k=key-{index}&v=x&ms=30")),
                2 => visitor.get("/incr?k=count&ms=10"),
                3 => visitor.get("/slowread?ms=20"),
                _ => visitor.get("/get"),
            };
            reply.expect(200).token().map(str::to_owned)
        });
        let successors: BTreeSet<_> = handed_out.into_iter().flatten().collect();
        assert_eq!(successors.len(), 1, "the same successor for all");
        assert!(!successors.contains(&token));

        for token in successors.iter().chain([&token]) {
            let view = probe.visitor_with(token).view();
            assert_eq!((view.subject.as_deref(), view.data.len()), (Some("ada"), 20 + 1));
            assert_eq!(view.data["count"], 20);
        }
    });
}

#[test]
fn cs_renew_tabs_that_share_a_jar_stay_logged_in_through_rotations() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        in_parallel(20, |index, start| {
            let mut tab = visitor.tab(probe);
            start.wait();
            for round in 0..20 {
                match (index + round) % 10 {
                    0 => tab.get("/rotate").expect(200),
                    _ => tab.get("/incr?k=count").expect(200),
                };
            }
        });
        let view = visitor.view();
        assert_eq!(view.subject.as_deref(), Some("ada"));
        // Sealed, of parallel increments the browser keeps the last one's.
        let count = view.data["count"].as_i64().unwrap();
        assert!(count == 360 || (probe.is_sealed() && (1..360).contains(&count)), "{count}");
    });
}

#[test]
fn cs_renew_a_lost_answer_logs_nobody_out() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let token = visitor.log_in("ada");
        let lost = probe.visitor_with(&token).get("/rotate").expect(200).token().map(str::to_owned);
        assert!(lost.is_some());
        // Sealed, a cookie that was issued in the same tick of the clock isn't overtaken by that of a read.
        thread::sleep(Duration::from_millis(20));
        // The browser knows nothing of the successor, and is handed the same one again; sealed, another that is as good.
        let again = visitor.get("/get").expect(200).token().map(str::to_owned);
        assert!(again == lost || (probe.is_sealed() && again.is_some()));
        assert_eq!(visitor.view().subject.as_deref(), Some("ada"));
    });
}

#[test]
fn cs_renew_a_late_request_is_served_and_gets_no_cookie() {
    on_every_store_but_cookies("a late write comes with a cookie of its own, over the others'", |probe| {
        let mut visitor = probe.visitor();
        let token = visitor.log_in("ada");
        let [mut late_read, mut late_write] = [(); 2].map(|()| probe.visitor_with(&token));
        late_read.ask("GET", "/slowread?ms=500");
        late_write.ask("GET", "/set?k=late&v=kept&ms=500");
        thread::sleep(Duration::from_millis(200));
        visitor.get("/rotate").expect(200);
        assert_ne!(visitor.token(), token);
        // Seen once, the successor is the token.
        visitor.get("/set?k=seen&v=x").expect(200).expect_no_cookie();

        late_read.answer("GET").expect(200).expect_no_cookie();
        late_write.answer("GET").expect(200).expect_no_cookie();
        let mut old = probe.visitor_with(&token);
        assert_eq!(old.get("/get").expect(200).expect_no_cookie().status, 200);
        old.get("/set?k=old&v=kept").expect(200).expect_no_cookie();
        let view = visitor.view();
        assert_eq!((view.text("late"), view.text("old")), (Some("kept"), Some("kept")));
    });
}

/// A token that only just came from a rotation isn't replaced in turn: an answer still under way could bring the old one
/// back, and look like a theft.
#[test]
fn cs_renew_a_token_fresh_from_a_rotation_stays() {
    on_every_store_but_cookies(
        "there is no secret whose reuse looks like a theft, so each rotation is made",
        |probe| {
            let mut visitor = probe.visitor();
            visitor.log_in("ada");
            visitor.get("/rotate").expect(200);
            let successor = visitor.token();
            for _ in 0..3 {
                visitor.get("/rotate").expect(200);
                assert_eq!(visitor.token(), successor);
            }
            assert_eq!(visitor.view().subject.as_deref(), Some("ada"));
        },
    );
}

#[test]
fn a_logout_with_a_replaced_token_ends_the_session_for_its_successor_too() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let token = visitor.log_in("ada");
        visitor.get("/rotate").expect(200);
        visitor.get("/set?k=seen&v=x").expect(200);
        probe.visitor_with(&token).get("/logout").expect(200);
        assert!(visitor.view().is_nobody());
        visitor.get("/set?k=a&v=revived").expect_problem(409);
    });
}
