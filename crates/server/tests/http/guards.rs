//! What a request may not do, and what the cookie is like.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::server::{Folder, Server};
use crate::visitor::Visitor;

const ADD: [(&str, &str); 3] = [("product", "scarf"), ("change", "more"), ("back", "cart")];

#[test]
fn a3_5_1_other_sites_can_change_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    visitor.post(&server.url("/cart"), &ADD).leads_to("/cart");
    let here = server.url("");
    for headers in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("sec-fetch-site", "cross-site"), ("origin", here.as_str())],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![],
    ] {
        for path in ["/cart", "/login", "/logout", "/devices/sign-out-others", "/nothing"] {
            let reply = visitor.post_with(&server.url(path), &ADD, &headers);
            assert_eq!((reply.status, reply.header("set-cookie")), (403, ""), "{path} {headers:?}");
            assert!(reply.has("That came from somewhere else"), "{}", reply.body);
        }
    }
    assert!(visitor.get(&server.url("/shop")).has("<span class=\"count\">1<"), "nothing was added");
    visitor.post_with(&server.url("/cart"), &ADD, &[("origin", &here)]).leads_to("/cart");
    visitor.post_with(&server.url("/cart"), &ADD, &[("sec-fetch-site", "none")]).leads_to("/cart");
    assert!(visitor.get(&server.url("/shop")).has("<span class=\"count\">3<"));
}

#[test]
fn a3_3_1_over_https_the_cookie_is_bound_to_its_host() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:", "--public-url", "https://shop.example"]);
    let added = Visitor::new().post_with(&server.url("/cart"), &ADD, &[("origin", "https://shop.example")]);
    let cookie = added.header("set-cookie");
    assert!(cookie.starts_with("__Host-session="), "{cookie}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/;"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let elsewhere = Visitor::new().post_with(&server.url("/cart"), &ADD, &[("origin", &server.url(""))]);
    assert_eq!(elsewhere.status, 403, "the origin has to be the public one");
}

#[test]
fn over_plain_http_on_loopback_safari_keeps_the_cookie() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let added = Visitor::new().post(&server.url("/cart"), &ADD);
    let cookie = added.header("set-cookie");
    assert!(cookie.starts_with("session=") && !cookie.contains("Secure"), "{cookie}");
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax"), "{cookie}");
    server.kill();
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(log.matches("plain HTTP on this machine").count(), 1, "{log}");
}

#[test]
fn cs_strict_a_made_up_token_is_not_adopted() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let made_up = format!("session={}", "A".repeat(43));
    let visitor = Visitor::new();
    let looked = visitor.get_with(&server.url("/cart"), &[("cookie", &made_up)]);
    assert_eq!((looked.status, looked.header("set-cookie")), (200, ""));
    let from_here = ("sec-fetch-site", "same-origin");
    let added = visitor.post_with(&server.url("/cart"), &ADD, &[("cookie", &made_up), from_here]);
    added.leads_to("/cart");
    let token = visitor.token().expect("a new session");
    assert!(!token.starts_with(&"A".repeat(21)), "{token}");
}

#[test]
fn w_04_a_token_outside_the_cookie_is_ignored() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    visitor.post(&server.url("/cart"), &ADD);
    let token = visitor.token().expect("a session");
    let other = Visitor::new();
    let asked = other.get(&server.url(&format!("/cart?session={token}&sid={token}")));
    assert!(asked.has("Nothing in the cart yet"), "{}", asked.body);
}

#[test]
fn bodies_are_bounded_and_have_to_be_forms() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    let long = "x".repeat(32 * 1024);
    let too_big = visitor.post(&server.url("/login"), &[("user", &long), ("password", "umbrella")]);
    assert_eq!(too_big.status, 413);
    assert!(too_big.has("That is too big"), "{}", too_big.body);
    let request = format!(
        "POST /cart HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{{}}",
        server.address
    );
    assert!(raw(&server, request.as_bytes()).starts_with("HTTP/1.1 415 "));
}

#[test]
fn cs_hostile_odd_requests_get_an_answer() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    for cookie in
        ["session=", "session", ";;;=;", "session=\u{ff}\u{1}", "SESSION=x; session=%00; session=\"\""]
    {
        let request =
            format!("GET /cart HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        let reply = raw(&server, request.as_bytes());
        assert!(
            reply.starts_with("HTTP/1.1 200 ") || reply.starts_with("HTTP/1.1 400 "),
            "{cookie:?}: {reply}"
        );
    }
    let head = raw(&server, b"HEAD /shop HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let bad_path = raw(&server, b"GET /shop/%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(bad_path.starts_with("HTTP/1.1 400 "), "{bad_path}");
    let far_too_long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    let reply = raw(&server, far_too_long.as_bytes());
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 4"), "{reply}");
    assert_eq!(Visitor::new().get(&server.url("/healthz")).status, 200);
}

/// What comes back for these bytes. A server that hangs up while they are being sent answers nothing.
fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.address).expect("it listens");
    let _ = stream.write_all(request);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}
