//! What caches between the visitor and the application are told (CVE-2023-30861 and its kin): an answer that sets a
//! cookie is stored by none, and one that was made from a session is served to no other.

use std::{thread, time::Duration};

use crate::support::{Reply, on_every_store};

/// Which headers an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Headers {
    sets_cookie: bool,
    is_stored_by_no_cache: bool,
    varies_by_cookie: bool,
}

const UNTOUCHED: Headers =
    Headers { sets_cookie: false, is_stored_by_no_cache: false, varies_by_cookie: false };
const READ: Headers = Headers { varies_by_cookie: true, ..UNTOUCHED };
const REFUSED: Headers = Headers { is_stored_by_no_cache: true, ..READ };
const COOKIE_SET: Headers = Headers { sets_cookie: true, ..REFUSED };
/// A problem is made in the place of the answer: it tells nothing of the session.
const PROBLEM: Headers = Headers { is_stored_by_no_cache: true, ..UNTOUCHED };

impl Headers {
    fn of(reply: &Reply) -> Self {
        Self {
            sets_cookie: reply.header("set-cookie").is_some(),
            is_stored_by_no_cache: reply.header("cache-control") == Some("no-store"),
            varies_by_cookie: reply.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("cookie")),
        }
    }
}

#[test]
fn cs_cache_anonymous_visits() {
    on_every_store(|probe| {
        for (target, status, headers) in [
            ("/bare", 200, UNTOUCHED),
            ("/nowhere", 404, UNTOUCHED),
            ("/set?k=a", 400, UNTOUCHED),
            ("/get", 200, READ),
            ("/slowread", 200, READ),
            ("/logout", 200, READ),
            ("/sessions", 401, REFUSED),
            ("/logout-all", 401, REFUSED),
            ("/rotate", 401, REFUSED),
            ("/set?k=a&v=b", 200, COOKIE_SET),
            ("/incr?k=a", 200, COOKIE_SET),
            ("/login?user=ada", 200, COOKIE_SET),
        ] {
            if probe.targets(&[target]).is_empty() {
                continue;
            }
            let reply = probe.visitor().get(target).expect(status);
            assert_eq!(Headers::of(&reply), headers, "{target}");
        }
    });
}

#[test]
fn cs_cache_visits_with_a_session() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let changed = if probe.is_sealed() { COOKIE_SET } else { READ };
        for (target, status, headers) in [
            ("/bare", 200, UNTOUCHED),
            ("/get", 200, READ),
            ("/slowread", 200, READ),
            ("/sessions", 200, READ),
            ("/set?k=a&v=b", 200, changed),
            ("/incr?k=n", 200, changed),
            ("/login?user=ada", 200, COOKIE_SET),
            ("/rotate", 200, COOKIE_SET),
            ("/logout", 200, COOKIE_SET),
        ] {
            if probe.targets(&[target]).is_empty() {
                continue;
            }
            let reply = visitor.get(target).expect(status);
            assert_eq!(Headers::of(&reply), headers, "{target}");
        }
    });
}

/// The answer carries a cookie though its handler did nothing but read.
#[test]
fn cs_cache_an_answer_that_only_refreshes_the_cookie_is_stored_by_no_cache() {
    on_every_store(|probe| {
        let token = probe.visitor().log_in("ada");
        probe.visitor_with(&token).get("/rotate").expect(200);
        for target in probe.targets(&["/get", "/slowread", "/sessions", "/set?k=a&v=b"]) {
            // Sealed, a cookie that was issued in the same tick of the clock isn't overtaken by that of a read.
            thread::sleep(Duration::from_millis(20));
            let reply = probe.visitor_with(&token).get(target).expect(200);
            assert_eq!(Headers::of(&reply), COOKIE_SET, "{target}");
        }
        let reply = probe.visitor_with(&token).get("/bare").expect(200);
        assert_eq!(Headers::of(&reply), UNTOUCHED);
    });
}

#[test]
fn cs_cache_problems() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let old = visitor.log_in("ada");
        visitor.log_in("ada");
        let mut superseded = probe.visitor_with(&old);
        for target in ["/set?k=a&v=b", "/incr?k=a", "/logout"] {
            let reply = superseded.get(target).expect_problem(409);
            assert_eq!(Headers::of(&reply), PROBLEM, "{target}");
        }
        let reply = superseded.get("/get").expect(200);
        assert_eq!(Headers::of(&reply), READ);
    });
}
