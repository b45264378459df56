//! Signing in and out, here and elsewhere.

use std::fs;

use crate::server::{Folder, Server};
use crate::visitor::{Reply, SAFARI_ON_IPHONE, Visitor};

fn sign_in(visitor: &Visitor, server: &Server, user: &str) -> Reply {
    let password = if user == "ada" { "umbrella" } else { "bowler" };
    let reply =
        visitor.post(&server.url("/login"), &[("user", user), ("password", password), ("next", "/devices")]);
    reply.leads_to("/devices");
    reply
}

fn is_signed_in(visitor: &Visitor, server: &Server) -> bool {
    visitor.get(&server.url("/shop")).has("Sign out")
}

/// The sessions listed under "Your devices" that can be signed out from there.
fn others(visitor: &Visitor, server: &Server) -> Vec<String> {
    let page = visitor.get(&server.url("/devices"));
    assert_eq!(page.body.matches("This device</span>").count(), 1, "{}", page.body);
    let fields = page.body.split("name=\"session\" value=\"").skip(1);
    fields.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[test]
fn a7_2_4_signing_in_gives_a_new_token_and_the_old_is_dead() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let visitor = Visitor::new();
    visitor.post(&server.url("/cart"), &[("product", "scarf"), ("change", "more"), ("back", "cart")]);
    let before = visitor.copy();
    let welcome = sign_in(&visitor, &server, "ada");
    assert_ne!(visitor.token(), before.token());
    assert!(welcome.header("cache-control").contains("no-store"));

    let cart = visitor.get(&server.url("/cart"));
    assert!(cart.has("Ada") && cart.has("Encore"), "the cart came along: {}", cart.body);
    let dead = before.get(&server.url("/cart"));
    assert!(!dead.has("Ada") && dead.has("Nothing in the cart yet"), "{}", dead.body);
    assert_eq!(dead.header("set-cookie"), "", "a late answer must not overwrite the new cookie");
    let late = before.post(&server.url("/cart"), &[("product", "tag"), ("change", "more"), ("back", "cart")]);
    assert_eq!((late.status, late.header("set-cookie")), (409, ""));
    assert!(late.has("Somebody was faster"), "{}", late.body);
    assert!(!visitor.get(&server.url("/cart")).has("Number 27"));
}

#[test]
fn a7_2_4_a_fixed_token_does_not_become_the_victims() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let attacker = Visitor::new();
    attacker.post(&server.url("/cart"), &[("product", "scarf"), ("change", "more"), ("back", "cart")]);
    let victim = attacker.copy();
    sign_in(&victim, &server, "grace");
    assert!(is_signed_in(&victim, &server));
    assert!(!is_signed_in(&attacker, &server));
}

#[test]
fn signing_in_leads_to_known_pages_only() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    for next in ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"] {
        let page = Visitor::new().get(&server.url(&format!("/login?next={next}")));
        assert!(page.status == 200 && !page.has("evil") && !page.has("alert"), "{}", page.body);
        let form = [("user", "ada"), ("password", "umbrella"), ("next", next)];
        Visitor::new().post(&server.url("/login"), &form).leads_to("/shop");
    }
}

#[test]
fn a7_5_2_devices_are_listed_and_signed_out() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (desktop, phone, stranger) = (Visitor::new(), Visitor::with(SAFARI_ON_IPHONE), Visitor::new());
    for (visitor, user) in [(&desktop, "ada"), (&phone, "ada"), (&stranger, "grace")] {
        sign_in(visitor, &server, user);
    }
    let page = desktop.get(&server.url("/devices"));
    assert!(page.has("Chrome on Linux") && page.has("Safari on iPhone"), "{}", page.body);
    assert_eq!(page.body.matches("<li class=\"device").count(), 2, "Grace's is not listed");
    for visitor in [&desktop, &phone, &stranger] {
        let token = visitor.token().expect("signed in");
        assert!(!page.has(&token[22..]), "a listing holds no secret");
    }

    let listed = others(&desktop, &server);
    assert_eq!(listed.len(), 1);
    let attempt = stranger.post(&server.url("/devices/sign-out"), &[("session", &listed[0])]);
    attempt.leads_to("/devices");
    assert!(is_signed_in(&phone, &server), "nobody signs out another's device");

    desktop.post(&server.url("/devices/sign-out"), &[("session", &listed[0])]).leads_to("/devices");
    assert!(desktop.get(&server.url("/devices")).has("Signed out that device."));
    assert!(!is_signed_in(&phone, &server));
    phone.get(&server.url("/devices")).leads_to("/login?next=/devices");
    assert!(is_signed_in(&desktop, &server));
    desktop.post(&server.url("/devices/sign-out"), &[("session", "not a session")]).leads_to("/devices");
    assert!(desktop.get(&server.url("/devices")).has("signed out already"));
}

#[test]
fn a7_4_3_all_other_devices_are_signed_out_at_once() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let here = Visitor::new();
    let elsewhere = [Visitor::new(), Visitor::with(SAFARI_ON_IPHONE), Visitor::new()];
    let stranger = Visitor::new();
    sign_in(&here, &server, "ada");
    sign_in(&stranger, &server, "grace");
    for visitor in &elsewhere {
        sign_in(visitor, &server, "ada");
    }
    assert_eq!(others(&here, &server).len(), 3);
    here.post(&server.url("/devices/sign-out-others"), &[]).leads_to("/devices");
    assert!(here.get(&server.url("/devices")).has("Signed out 3 other devices."));
    assert!(elsewhere.iter().all(|visitor| !is_signed_in(visitor, &server)));
    assert!(is_signed_in(&here, &server) && is_signed_in(&stranger, &server));
    assert!(others(&here, &server).is_empty());
}

#[test]
fn a7_4_3_all_devices_are_signed_out_at_once_this_one_as_well() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (here, phone, stranger) = (Visitor::new(), Visitor::with(SAFARI_ON_IPHONE), Visitor::new());
    for (visitor, user) in [(&here, "ada"), (&phone, "ada"), (&stranger, "grace")] {
        sign_in(visitor, &server, user);
    }
    let copied = here.copy();
    here.post(&server.url("/devices/sign-out-everywhere"), &[]).leads_to("/signed-out");
    assert_eq!(here.token(), None, "the cookie is deleted");
    assert!(!is_signed_in(&copied, &server) && !is_signed_in(&phone, &server));
    assert!(is_signed_in(&stranger, &server));
}

#[test]
fn a7_4_1_signing_out_is_final() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let visitor = Visitor::new();
    sign_in(&visitor, &server, "ada");
    let copied = visitor.copy();
    let out = visitor.post(&server.url("/logout"), &[]);
    out.leads_to("/signed-out");
    assert_eq!(out.header("clear-site-data"), "\"storage\"");
    let picture = visitor.get(&server.url("/signed-out/ticket.svg"));
    assert_eq!(picture.header("clear-site-data"), "\"cache\"", "for the back button");
    assert_eq!(visitor.token(), None, "the cookie is deleted: {}", out.header("set-cookie"));
    assert!(visitor.get(&server.url("/signed-out")).has("Your ticket is torn up"));
    assert_eq!(visitor.token(), None, "and none follows");

    assert!(!is_signed_in(&copied, &server), "a copy of the cookie is worth nothing");
    copied.get(&server.url("/devices")).leads_to("/login?next=/devices");
    let late = copied.post(&server.url("/cart"), &[("product", "tag"), ("change", "more"), ("back", "cart")]);
    assert_eq!((late.status, late.header("set-cookie")), (409, ""), "a late write revives nothing");
}

#[test]
fn a3_5_3_a_link_to_logout_does_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    sign_in(&visitor, &server, "ada");
    for path in ["/logout", "/devices/sign-out-others", "/devices/sign-out-everywhere", "/checkout"] {
        let reply = visitor.get(&server.url(path));
        assert_eq!(
            (reply.status, reply.header("allow"), reply.header("set-cookie")),
            (405, "POST", ""),
            "{path}"
        );
        assert!(reply.has("Not that way"), "{}", reply.body);
    }
    assert!(is_signed_in(&visitor, &server));
}

#[test]
fn a16_2_5_the_log_holds_no_token_and_no_password() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--log", "trace"]);
    let visitor = Visitor::new();
    visitor.post(&server.url("/cart"), &[("product", "scarf"), ("change", "more"), ("back", "cart")]);
    let anonymous = visitor.token().expect("a cart needs a session");
    sign_in(&visitor, &server, "ada");
    let token = visitor.token().expect("signed in");
    visitor.post(&server.url("/logout"), &[]).leads_to("/signed-out");
    server.kill();
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("session.id="), "it logs at trace: {log}");
    for secret in [&anonymous[..], &anonymous[22..], &token[..], &token[22..], "umbrella"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}
