//! The demo in a real browser: what only a browser can tell, such as what its cookie jar keeps.

#![allow(clippy::expect_used, reason = "a test that can't go on says why by panicking")]
#![allow(clippy::print_stdout, reason = "a test that was left out has to say so")]

#[path = "support/server.rs"]
mod server;
#[path = "support/webdriver.rs"]
mod webdriver;

use server::{Folder, Server};
use webdriver::Browser;

fn add_to_cart(browser: &Browser, product: &str) {
    browser.press(&format!("#{product} button"));
}

fn cart_count(browser: &Browser) -> String {
    browser.find(".count").text().lines().next().unwrap_or_default().to_owned()
}

fn sign_in(browser: &Browser, server: &Server, user: &str, password: &str) {
    browser.open(&server.url("/login?next=/devices"));
    browser.find("#user").type_in(user);
    browser.find("#password").type_in(password);
    browser.press(".panel button");
    assert_eq!(browser.path(), "/devices");
}

#[test]
fn a_visit_from_two_tabs_to_the_last_goodbye() {
    let Some(browser) = Browser::start("a_visit_from_two_tabs_to_the_last_goodbye") else { return };
    let folder = Folder::new();
    visit(&browser, &Server::start(&folder, &[]));
}

/// The same with sessions in their cookies; and devices that can't be listed are signed out together.
#[cfg(feature = "sealed")]
#[test]
fn a_visit_with_sealed_cookies() {
    let Some(browser) = Browser::start("a_visit_with_sealed_cookies") else { return };
    let elsewhere = Browser::start("a_visit_with_sealed_cookies").expect("the first has started");
    let folder = Folder::new();
    assert!(folder.cloakroom(&["keys", "new"]).status().expect("it runs").success());
    let store = "sealed:?keys=cloakroom.keys&revocations=sqlite:revoked.db";
    let server = Server::start(&folder, &["--store", store]);
    visit(&browser, &server);
    sign_in(&elsewhere, &server, "ada", "umbrella");
    browser.open(&server.url("/devices"));
    assert!(browser.text().contains("There is no list of them."), "{}", browser.text());
    browser.press(".everywhere button");
    assert!(browser.text().contains("Signed out everywhere else."), "{}", browser.text());
    elsewhere.open(&server.url("/devices"));
    assert_eq!(elsewhere.path(), "/login?next=/devices");
    browser.press(".everywhere .second");
    assert_eq!(browser.path(), "/signed-out");
    assert!(browser.cookies().is_empty());
}

fn visit(browser: &Browser, server: &Server) {
    browser.open(&server.url("/"));
    browser.press(".hero .button");
    assert_eq!(browser.path(), "/shop");
    assert!(browser.cookies().is_empty(), "looking around sets no cookie");

    // Both tabs have loaded the page before either adds anything.
    let one = browser.tab();
    let two = browser.new_tab();
    browser.open(&server.url("/shop"));
    add_to_cart(browser, "umbrella");
    assert_eq!(browser.path(), "/shop#umbrella");
    assert!(browser.text().contains("Curtain Call is in your cart."));
    browser.go_to_tab(&one);
    add_to_cart(browser, "scarf");
    browser.go_to_tab(&two);
    add_to_cart(browser, "scarf");
    assert_eq!(cart_count(browser), "3");

    browser.open(&server.url("/cart"));
    let cart = browser.text();
    assert!(cart.contains("Curtain Call") && cart.contains("Encore") && cart.contains("€157.50"), "{cart}");
    browser.press(".summary .button");
    assert_eq!(browser.path(), "/login?next=/cart");
    browser.press(".account button");
    assert_eq!(browser.path(), "/cart");
    assert!(browser.text().contains("Welcome, Ada. You have a new ticket."));
    browser.press(".summary button");
    assert_eq!(browser.path(), "/receipt");
    assert!(browser.text().contains("2 × Encore"));
}

#[test]
fn a7_5_2_devices_see_and_sign_out_each_other() {
    let Some(here) = Browser::start("a7_5_2_devices_see_and_sign_out_each_other") else { return };
    let elsewhere =
        Browser::start("a7_5_2_devices_see_and_sign_out_each_other").expect("the first has started");
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    sign_in(&here, &server, "ada", "umbrella");
    sign_in(&elsewhere, &server, "ada", "umbrella");

    here.open(&server.url("/devices"));
    let listed = here.text();
    assert_eq!(listed.matches("Chrome on Linux").count(), 2, "{listed}");
    assert_eq!(listed.matches("This device").count(), 1, "{listed}");
    here.press(".device form button");
    assert!(here.text().contains("Signed out that device."));
    elsewhere.open(&server.url("/devices"));
    assert_eq!(elsewhere.path(), "/login?next=/devices");

    sign_in(&elsewhere, &server, "ada", "umbrella");
    here.open(&server.url("/devices"));
    here.press(".everywhere button");
    assert!(here.text().contains("Signed out one other device."));
    elsewhere.open(&server.url("/devices"));
    assert_eq!(elsewhere.path(), "/login?next=/devices");
}

#[test]
fn a3_3_4_scripts_cannot_read_the_cookie() {
    let Some(browser) = Browser::start("a3_3_4_scripts_cannot_read_the_cookie") else { return };
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    sign_in(&browser, &server, "grace", "bowler");
    let cookies = browser.cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!((&cookies[0]["name"], &cookies[0]["httpOnly"]), (&"session".into(), &true.into()));
    let token = cookies[0]["value"].as_str().expect("a token");
    assert_eq!(browser.evaluate("document.cookie"), "");
    let (page, secret) = (browser.source(), &token[22..]);
    assert!(!page.contains(secret), "the token is in the header and nowhere else");
    assert_eq!(browser.evaluate("JSON.stringify({ ...localStorage, ...sessionStorage })"), "{}");
}

#[test]
fn c_delete_nothing_of_the_session_is_left_after_signing_out() {
    let Some(browser) = Browser::start("c_delete_nothing_of_the_session_is_left_after_signing_out") else {
        return;
    };
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    sign_in(&browser, &server, "ada", "umbrella");
    assert_eq!(browser.cookies().len(), 1);
    assert!(browser.text().contains("Where Ada is signed in."));

    browser.press(".sign-out button");
    assert_eq!(browser.path(), "/signed-out");
    assert!(browser.cookies().is_empty(), "{:?}", browser.cookies());
}

/// The back button brought "Your devices" back from Chromium's back/forward cache, `no-store` and all, when that page
/// was the one that signing in had led to: such a page outlives the first change of a cookie. Clearing the cache from
/// a picture on the page that follows the logout is the mend.
#[test]
fn cs_clear_the_back_button_finds_no_private_page_after_signing_out() {
    let Some(browser) = Browser::start("cs_clear_the_back_button_finds_no_private_page") else { return };
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    for visit_another_page_between in [false, true] {
        sign_in(&browser, &server, "ada", "umbrella");
        if visit_another_page_between {
            browser.open(&server.url("/devices"));
        }
        browser.press(".sign-out button");
        assert_eq!(browser.path(), "/signed-out");
        browser.back();
        assert_eq!(browser.path(), "/login?next=/devices", "the page is asked for anew");
        assert!(!browser.text().contains("Where Ada is signed in."));
        assert!(browser.cookies().is_empty(), "{:?}", browser.cookies());
    }
}

#[test]
fn the_pages_load_their_style_and_nothing_is_blocked() {
    let Some(browser) = Browser::start("the_pages_load_their_style_and_nothing_is_blocked") else { return };
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    for path in ["/", "/shop", "/cart", "/login", "/nothing"] {
        browser.open(&server.url(path));
        let display = browser.evaluate("getComputedStyle(document.body).display");
        assert_eq!(display, "flex", "{path} has its style");
        let wide =
            browser.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth");
        assert_eq!(wide, false, "{path} fits the window");
        let scripts = browser.evaluate("document.scripts.length");
        assert_eq!(scripts, 0, "{path} has no script");
    }
}
