//! Requests of every shape: other methods, wrong parameters.

use crate::support::on_every_store;

#[test]
fn head_is_a_get_whose_body_stays_away() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.send("HEAD", "/bare").expect(200).expect_no_cookie();
        let begun = visitor.send("HEAD", "/set?k=a&v=b").expect(200);
        assert!(begun.token().is_some() && begun.header("cache-control") == Some("no-store"));
        let whole = visitor.get("/get").expect(200);
        // On the same connection: had it sent a body, the next answer would begin with it.
        let head = visitor.send("HEAD", "/get").expect(200).expect_no_cookie();
        assert_eq!(head.header("content-length"), whole.header("content-length"));
        assert_eq!(head.header("vary"), Some("cookie"));
        assert_eq!(visitor.view().text("a"), Some("b"));
        visitor.send("HEAD", "/logout").expect(200);
        assert!(!visitor.has_cookie());
    });
}

#[test]
fn other_methods_are_refused_without_a_look_at_the_session() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let before = visitor.view();
        for method in ["OPTIONS", "POST", "PUT", "DELETE", "PATCH"] {
            for target in
                ["/get", "/set?k=a&v=b", "/incr?k=n", "/login?user=bob", "/logout", "/logout-all", "/rotate"]
            {
                let reply = visitor.send(method, target).expect(405).expect_no_cookie();
                assert_eq!(reply.header("allow"), Some("GET,HEAD"), "{method} {target}");
                assert_eq!(reply.header("vary"), None, "{method} {target}");
            }
        }
        assert_eq!(visitor.view(), before);
    });
}

#[test]
fn wrong_parameters_are_said_to_be_wrong_and_nothing_is_stored() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let long = "n".repeat(256);
        for target in [
            "/login",
            "/login?user=",
            "/login?user=%00",
            "/login?user=a%0Ab",
            &format!("/login?user={long}"),
            "/login?user=a&user=b",
            "/set",
            "/set?k=a",
            "/set?v=b",
            "/set?k=&v=b",
            "/set?k=cloakroom.csrf&v=b",
            &format!("/set?k={}&v=b", &long[..65]),
            "/set?k=a&v=b&ms=x",
            "/set?k=a&v=b&ms=-1",
            "/set?k=a&v=b&ms=60001",
            "/set?k=a&v=b&ms=18446744073709551616",
            "/incr",
            "/incr?k=",
            "/incr?k=n&ms=1.5",
            "/slowread?ms=",
            "/sessions?after=x",
        ] {
            if probe.targets(&[target]).is_empty() {
                continue;
            }
            let reply = visitor.get(target).expect(400).expect_no_cookie();
            assert!(reply.body.len() > 20, "{target} says nothing: {reply:?}");
            assert_eq!(reply.header("vary"), None, "{target} is refused before the session is read");
        }
        for target in ["/", "/nowhere", "/get/", "//get"] {
            visitor.get(target).expect(404).expect_no_cookie();
        }
        assert!(visitor.view().is_nobody());
        assert!(matches!(probe.rows(), None | Some(0)));
    });
}
