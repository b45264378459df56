//! Visits that write nothing cost nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::support::{in_parallel, on_every_store};

const READING: [&str; 4] = ["/bare", "/get", "/slowread", "/logout"];

#[test]
fn a7_6_2_a_visit_that_writes_nothing_sets_no_cookie_and_stores_nothing() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        for target in READING {
            visitor.get(target).expect(200).expect_no_cookie();
        }
        for target in probe.targets(&["/sessions", "/logout-all", "/rotate"]) {
            visitor.get(target).expect(401).expect_no_cookie();
        }
        assert!(visitor.view().is_nobody());
        assert!(matches!(probe.rows(), None | Some(0)));

        // What is counted above does count.
        visitor.get("/set?k=a&v=b").expect(200);
        assert!(matches!(probe.rows(), None | Some(1)));
    });
}

#[test]
fn a_dos_a_flood_of_visits_and_of_made_up_tokens_stores_nothing() {
    on_every_store(|probe| {
        in_parallel(8, |thread, start| {
            let mut visitor = probe.visitor();
            start.wait();
            for round in 0..50_u8 {
                let mut bytes = [round; 32];
                bytes[0] = u8::try_from(thread).unwrap();
                let mut attacker = probe.visitor_with(&URL_SAFE_NO_PAD.encode(bytes));
                for target in READING {
                    visitor.get(target).expect(200).expect_no_cookie();
                    attacker.get(target).expect(200).expect_no_cookie();
                }
            }
        });
        assert!(matches!(probe.rows(), None | Some(0)));
    });
}

#[test]
fn a_visit_with_a_session_that_writes_nothing_changes_nothing() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let before = visitor.view();
        for target in probe.targets(&["/bare", "/get", "/slowread", "/sessions"]) {
            visitor.get(target).expect(200).expect_no_cookie();
        }
        assert_eq!(visitor.view(), before);
    });
}
