//! The same shop with its sessions sealed into cookies: nothing in it knows.

use std::fs;
use std::time::{Duration, Instant};

use crate::server::{Folder, Server};
use crate::visitor::{SAFARI_ON_IPHONE, Visitor};

const STORE: &str = "sealed:?keys=cloakroom.keys&revocations=sqlite:revoked.db";

fn folder_with_keys() -> Folder {
    let folder = Folder::new();
    assert!(folder.cloakroom(&["keys", "new"]).status().expect("it runs").success());
    folder
}

fn sign_in(visitor: &Visitor, server: &Server, user: &str, password: &str) {
    let form = [("user", user), ("password", password), ("next", "/devices")];
    visitor.post(&server.url("/login"), &form).leads_to("/devices");
}

fn is_signed_in(visitor: &Visitor, server: &Server) -> bool {
    visitor.get(&server.url("/shop")).has("Sign out")
}

/// Waits until a server has heard that a session ended.
fn comes_to_refuse(visitor: &Visitor, server: &Server) {
    comes_to_lack(visitor, &server.url("/shop"), "Sign out");
}

/// Waits until a page hasn't this any more. That takes far less, on a machine that isn't busy.
fn comes_to_lack(visitor: &Visitor, url: &str, text: &str) {
    let begun = Instant::now();
    while visitor.get(url).has(text) {
        assert!(begun.elapsed() < Duration::from_secs(5), "still honoured");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_shop_works_without_a_store() {
    let folder = folder_with_keys();
    let servers = [0, 1].map(|_| Server::start(&folder, &["--store", STORE]));
    let visitor = Visitor::new();
    for (turn, product) in ["scarf", "umbrella", "scarf"].iter().enumerate() {
        let form = [("product", *product), ("change", "more"), ("back", "cart")];
        visitor.post(&servers[turn % 2].url("/cart"), &form).leads_to("/cart");
    }
    let cart = visitor.get(&servers[1].url("/cart"));
    assert!(cart.has("Curtain Call") && cart.has("Encore") && cart.has("157.50"), "{}", cart.body);
    sign_in(&visitor, &servers[0], "ada", "umbrella");
    assert!(visitor.get(&servers[1].url("/cart")).has("Encore"), "the cart came along");
    assert!(visitor.token().expect("a cookie").len() > 43, "the session is in the cookie");
    visitor.post(&servers[1].url("/checkout"), &[]).leads_to("/receipt");
    assert!(visitor.get(&servers[0].url("/receipt")).has("2 × Encore"));
    assert!(visitor.get(&servers[0].url("/cart")).has("Nothing in the cart yet"));
}

#[test]
fn a7_2_4_signing_in_makes_the_cookie_before_it_worthless() {
    let folder = folder_with_keys();
    let servers = [0, 1].map(|_| Server::start(&folder, &["--store", STORE]));
    let visitor = Visitor::new();
    visitor.post(&servers[0].url("/cart"), &[("product", "scarf"), ("change", "more"), ("back", "cart")]);
    let planted = visitor.copy();
    sign_in(&visitor, &servers[0], "ada", "umbrella");
    assert!(!planted.get(&servers[0].url("/cart")).has("Encore"), "at once where the login was");
    comes_to_lack(&planted, &servers[1].url("/cart"), "Encore");
    assert!(!is_signed_in(&planted, &servers[1]));
}

#[test]
fn a7_4_1_signing_out_is_final_on_every_server() {
    let folder = folder_with_keys();
    let servers = [0, 1].map(|_| Server::start(&folder, &["--store", STORE]));
    let visitor = Visitor::new();
    sign_in(&visitor, &servers[0], "ada", "umbrella");
    let copied = visitor.copy();
    assert!(servers.iter().all(|server| is_signed_in(&copied, server)));
    visitor.post(&servers[0].url("/logout"), &[]).leads_to("/signed-out");
    assert_eq!(visitor.token(), None, "the cookie is deleted");
    assert!(!is_signed_in(&copied, &servers[0]), "a copy of the cookie is worth nothing");
    comes_to_refuse(&copied, &servers[1]);
    comes_to_refuse(&copied, &Server::start(&folder, &["--store", STORE]));
    let late =
        copied.post(&servers[0].url("/cart"), &[("product", "tag"), ("change", "more"), ("back", "cart")]);
    assert_eq!((late.status, late.header("set-cookie")), (409, ""), "a late write revives nothing");
}

#[test]
fn a7_4_3_devices_without_a_list_are_signed_out_together() {
    let folder = folder_with_keys();
    let servers = [0, 1].map(|_| Server::start(&folder, &["--store", STORE]));
    let (here, phone, stranger) = (Visitor::new(), Visitor::with(SAFARI_ON_IPHONE), Visitor::new());
    sign_in(&here, &servers[0], "ada", "umbrella");
    sign_in(&phone, &servers[1], "ada", "umbrella");
    sign_in(&stranger, &servers[1], "grace", "bowler");

    let page = here.get(&servers[0].url("/devices"));
    assert!(page.has("keeps no list of") && page.has("Sign out everywhere else"), "{}", page.body);
    assert!(!page.has("<li class=\"device"), "and none is made up");
    let single = here.post(&servers[0].url("/devices/sign-out"), &[("session", "0123456789abcdef")]);
    assert_eq!(single.status, 404, "what can't be done isn't offered");

    here.post(&servers[0].url("/devices/sign-out-others"), &[]).leads_to("/devices");
    assert!(here.get(&servers[0].url("/devices")).has("Signed out everywhere else."));
    for server in &servers {
        comes_to_refuse(&phone, server);
        assert!(is_signed_in(&here, server) && is_signed_in(&stranger, server));
    }

    sign_in(&phone, &servers[1], "ada", "umbrella");
    let copied = here.copy();
    here.post(&servers[0].url("/devices/sign-out-everywhere"), &[]).leads_to("/signed-out");
    assert_eq!(here.token(), None, "the cookie is deleted");
    for server in &servers {
        comes_to_refuse(&phone, server);
        comes_to_refuse(&copied, server);
        assert!(is_signed_in(&stranger, server));
    }
}

#[test]
fn a_shop_that_could_sign_nobody_out_does_not_start() {
    let folder = folder_with_keys();
    let arguments = ["--listen", "127.0.0.1:0", "--store", "sealed:?keys=cloakroom.keys&revocations=none"];
    let output = folder.cloakroom(&arguments).output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(told.contains("signing out would end nothing") && told.contains("`revocations=`"), "{told}");
}

#[test]
fn a16_2_5_the_log_holds_no_sealed_cookie() {
    let folder = folder_with_keys();
    let server = Server::start(&folder, &["--log", "trace", "--store", STORE]);
    let visitor = Visitor::new();
    sign_in(&visitor, &server, "ada", "umbrella");
    let token = visitor.token().expect("signed in");
    visitor.post(&server.url("/logout"), &[]).leads_to("/signed-out");
    server.kill();
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    let keys = fs::read_to_string(folder.path().join("cloakroom.keys")).expect("a ring");
    let key = keys.split_whitespace().last().expect("a key");
    assert!(log.contains("session.id="), "it logs at trace: {log}");
    for secret in [&token[..], &token[22..60], key, "umbrella"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}
