//! Where a token is looked for, and what passes for one.

use crate::support::{COOKIE_NAME, Connection, Probe, Visitor, on_every_store};

/// The token of somebody logged in: a header that is wrongly honoured is seen at once.
fn logged_in(probe: &Probe) -> String {
    let mut visitor = probe.visitor();
    visitor.log_in("ada");
    visitor.token()
}

/// Whether a request with these headers is served as somebody.
fn is_known(connection: &mut Connection, headers: &[(&str, &str)]) -> bool {
    let reply = connection.get("/get", headers).expect(200).expect_no_cookie();
    assert!(
        reply.body.contains(r#""subject":null"#) || reply.body.contains(r#""subject":"ada""#),
        "{reply:?}"
    );
    reply.body.contains(r#""subject":"ada""#)
}

#[test]
fn a3_3_1_a3_3_2_a3_3_4_the_cookie_is_strict_and_the_token_nowhere_else() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        for target in ["/set?k=a&v=b", "/login?user=ada", "/rotate"] {
            let reply = visitor.get(target).expect(200);
            let (cookie, token) = (reply.header("set-cookie").unwrap(), visitor.token());
            // The day is counted from when the login arrived, and rounded down.
            let cookie = cookie.replace("Max-Age=86399;", "Max-Age=86400;");
            let expected =
                format!("__Host-session={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400; Secure");
            assert_eq!(cookie, expected);
            assert!(token.len() == 43 || probe.is_sealed());
            assert!(!reply.body.contains(&token));
            let elsewhere = reply.headers.iter().filter(|(name, _)| name != "set-cookie");
            assert!(elsewhere.into_iter().all(|(_, value)| !value.contains(&token)));
        }
    });
}

#[test]
fn w_04_a_token_counts_in_the_cookie_header_alone() {
    on_every_store(|probe| {
        let token = logged_in(probe);
        let mut connection = probe.connection();
        for name in ["sid", "session", "__Host-session", "token", "access_token"] {
            let reply = connection.get(&format!("/get?{name}={token}"), &[]).expect(200).expect_no_cookie();
            assert!(reply.body.contains(r#""subject":null"#), "{name}");
        }
        connection.get(&format!("/rotate?__Host-session={token}"), &[]).expect(401).expect_no_cookie();

        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let reply = connection.send("GET", "/get", &form, &format!("{COOKIE_NAME}={token}")).expect(200);
        assert!(reply.expect_no_cookie().body.contains(r#""subject":null"#));

        let (bearer, pair) = (format!("Bearer {token}"), format!("{COOKIE_NAME}={token}"));
        for header in [
            ("Authorization", bearer.as_str()),
            (COOKIE_NAME, &token),
            ("X-Session", &token),
            ("Cookie2", &pair),
            ("Set-Cookie", &pair),
        ] {
            assert!(!is_known(&mut connection, &[header]), "{header:?}");
        }
        assert!(is_known(&mut connection, &[("Cookie", &pair)]));
    });
}

#[test]
fn cs_hostile_what_isnt_exactly_a_token_is_no_token() {
    on_every_store(|probe| {
        let token = logged_in(probe);
        let (id, rest) = token.split_at(21);
        let malformed = [
            String::new(),
            token[..token.len() - 1].to_owned(),
            format!("{token}A"),
            format!("{token}="),
            format!("{token}=="),
            format!("{token}%"),
            format!("\"{token}\""),
            format!("{token},{token}"),
            format!("{id} {rest}"),
            format!("{id}.{rest}"),
            format!("{id}%41{rest}"),
            format!("%{:02x}{}", token.as_bytes()[0], &token[1..]),
            token.replace(['-', '_'], "+") + "+",
            "A".repeat(42) + "B",
            "A".repeat(43).replace("AAA", "+/="),
            "x".repeat(20_000),
        ]
        .into_iter()
        .chain(not_canonical(&token));
        let mut connection = probe.connection();
        for value in malformed {
            assert!(!is_known(&mut connection, &[("Cookie", &format!("{COOKIE_NAME}={value}"))]), "{value}");
        }
        assert!(is_known(&mut connection, &[("Cookie", &format!("{COOKIE_NAME}={token}"))]));
    });
}

/// The same bytes to a decoder that overlooks the bits that the last character has left over, where it has any.
fn not_canonical(token: &str) -> Option<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let left_over = match token.len() % 4 {
        2 => 4,
        3 => 2,
        _ => return None,
    };
    let (head, last) = token.split_at(token.len() - 1);
    let index = ALPHABET.iter().position(|character| *character == last.as_bytes()[0]).unwrap();
    assert_eq!(index % (1 << left_over), 0, "the probe's tokens are canonical");
    Some(format!("{head}{}", char::from(ALPHABET[index + 1])))
}

#[test]
fn cs_hostile_headers_that_arent_cookies_harm_nobody() {
    on_every_store(|probe| {
        let pair = format!("{COOKIE_NAME}={}", logged_in(probe));
        let mut connection = probe.connection();
        for cookies in
            [";", "=", ";;=;=;", "=;", "a", "a=", "__Host-session", "__Host-session=", "$Version=1"]
        {
            assert!(!is_known(&mut connection, &[("Cookie", cookies)]), "{cookies}");
            // Nor do they hide the token that comes after them.
            assert!(is_known(&mut connection, &[("Cookie", &format!("{cookies}; {pair}"))]), "{cookies}");
        }
        assert!(is_known(&mut connection, &[("Cookie", &format!("a=\"x; y\"; {pair}"))]));

        // Bytes that are no text, and more headers than the server reads.
        for cookies in [b"Cookie: \xff\xfe\x80=\xc3; a=\xf0\x9f\r\n".to_vec(), b"Cookie: a=b\r\n".repeat(500)]
        {
            let mut connection = probe.connection();
            let mut request = b"GET /get HTTP/1.1\r\nHost: probe\r\n".to_vec();
            request.extend_from_slice(&cookies);
            request.extend_from_slice(b"\r\n");
            connection.write(&request).unwrap();
            let reply = connection.read_reply("GET").unwrap().expect_no_cookie();
            assert!(matches!(reply.status, 200 | 400 | 431), "{reply:?}");
            assert!(!reply.body.contains("ada"));
        }
        assert!(is_known(&mut connection, &[("Cookie", &pair)]));
    });
}

#[test]
fn c_prefix_lookalikes_of_the_cookies_name_never_match() {
    on_every_store(|probe| {
        let token = logged_in(probe);
        let mut connection = probe.connection();
        for name in [
            "%5f%5fHost-session",
            "__HOST-session",
            "__host-session",
            "=__Host-session",
            "__Host-session ",
            "__Host-session2",
            "x__Host-session",
            "session",
            "__Secure-session",
        ] {
            assert!(!is_known(&mut connection, &[("Cookie", &format!("{name}={token}"))]), "{name}");
        }
    });
}

#[test]
fn c_toss_several_cookie_headers_are_read_in_order_and_no_more_than_three_tokens() {
    on_every_store(|probe| {
        let token = logged_in(probe);
        let pair = format!("{COOKIE_NAME}={token}");
        let other = format!("{COOKIE_NAME}={}", "A".repeat(43));
        let mut connection = probe.connection();
        // HTTP/2 may split cookies over headers, and so may a proxy that passes them on.
        assert!(is_known(&mut connection, &[("Cookie", "a=b"), ("Cookie", &pair), ("Cookie", "c=d")]));
        for others in 1..=2 {
            let before = vec![other.as_str(); others].join("; ");
            assert!(is_known(&mut connection, &[("Cookie", &before), ("Cookie", &pair)]));
            assert!(is_known(&mut connection, &[("Cookie", &format!("{pair}; {before}"))]));
        }
        let three = [other.as_str(); 3].join("; ");
        assert!(!is_known(&mut connection, &[("Cookie", &three), ("Cookie", &pair)]));
        assert!(is_known(&mut connection, &[("Cookie", &pair), ("Cookie", &three)]));
    });
}

/// A cookie planted beside the visitor's own (by a sibling host, where the name has no prefix) must not get a session
/// made for it, nor hide that the visitor's session has ended.
#[test]
fn c_toss_a_planted_token_beside_an_ended_one_begins_no_session() {
    on_every_store(|probe| {
        let token = logged_in(probe);
        probe.visitor_with(&token).get("/logout").expect(200);
        let cookies = format!("{COOKIE_NAME}={}; {COOKIE_NAME}={token}", "A".repeat(43));
        let mut connection = probe.connection();
        connection.get("/set?k=a&v=b", &[("Cookie", &cookies)]).expect_problem(409);
        assert!(!is_known(&mut connection, &[("Cookie", &cookies)]));
    });
}

/// Of two live sessions the first one sent is the one, for reading and for writing.
#[test]
fn c_toss_of_two_sessions_the_first_one_sent_counts() {
    on_every_store(|probe| {
        let first = logged_in(probe);
        let second = probe.visitor().log_in("bob");
        let cookies = format!("{COOKIE_NAME}={first}; {COOKIE_NAME}={second}");
        let mut connection = probe.connection();
        let reply = connection.get("/set?k=a&v=b", &[("Cookie", &cookies)]).expect(200);
        // Sealed, the change is in the answer's cookie.
        assert_eq!(reply.token().is_some(), probe.is_sealed());
        let first = reply.token().map_or(first, str::to_owned);
        let view = |token: &str| Visitor::new(probe.connection(), Some(token.to_owned())).view();
        assert_eq!((view(&first).data.len(), view(&second).data.len()), (1, 0));
    });
}
