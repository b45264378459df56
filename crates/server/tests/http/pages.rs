//! What is served to whom, and under which headers.

use crate::server::{Folder, Server};
use crate::visitor::Visitor;

const PAGES: [&str; 6] = ["/", "/shop", "/shop/umbrella", "/cart", "/login", "/signed-out"];

#[test]
fn the_landing_page_depends_on_no_session() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let reply = Visitor::new().get(&server.url("/"));
    assert_eq!(reply.status, 200);
    assert!(reply.has("HTTP forgets.") && reply.has("href=\"/shop\""), "{}", reply.body);
    assert_eq!((reply.header("vary"), reply.header("set-cookie")), ("", ""));
}

#[test]
fn a7_6_2_looking_around_sets_no_cookie() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    for path in PAGES {
        let reply = visitor.get(&server.url(path));
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("set-cookie"), "", "{path}");
    }
    visitor.get(&server.url("/devices")).leads_to("/login?next=/devices");
    let wrong = visitor.post(&server.url("/login"), &[("user", "ada"), ("password", "bowler")]);
    assert_eq!((wrong.status, wrong.header("set-cookie")), (422, ""));
    assert!(wrong.has("don’t belong together"), "{}", wrong.body);
}

#[test]
fn the_shop_shows_every_product_and_each_has_a_page() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    let shop = visitor.get(&server.url("/shop"));
    let slugs: Vec<&str> =
        shop.body.split("href=\"/shop/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(slugs.len(), 2 * 8, "art and name of eight products lead to their pages");
    for slug in slugs {
        let page = visitor.get(&server.url(&format!("/shop/{slug}")));
        assert_eq!(page.status, 200);
        assert!(page.has(&format!("name=\"product\" value=\"{slug}\"")), "{}", page.body);
    }
    assert_eq!(visitor.get(&server.url("/shop/top-hat")).status, 404);
}

#[test]
fn every_answer_has_the_strict_headers() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    let get = |path: &str| visitor.get(&server.url(path));
    let refused = visitor.post_with(&server.url("/cart"), &[], &[("sec-fetch-site", "cross-site")]);
    let redirect =
        visitor.post(&server.url("/cart"), &[("product", "scarf"), ("change", "more"), ("back", "cart")]);
    for reply in [get("/"), get("/shop"), get("/healthz"), get("/nothing"), get("/logout"), refused, redirect]
    {
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"),
            "{policy}"
        );
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("referrer-policy"), "same-origin");
    }
}

#[test]
fn cs_cache_what_shows_a_session_is_stored_nowhere() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    visitor.post(&server.url("/login"), &[("user", "ada"), ("password", "umbrella")]).leads_to("/shop");
    for path in ["/shop", "/shop/umbrella", "/cart", "/login", "/devices"] {
        let reply = visitor.get(&server.url(path));
        assert!(reply.has("Ada"), "{path}: {}", reply.body);
        assert_eq!((reply.header("cache-control"), reply.header("vary")), ("no-store", "cookie"), "{path}");
    }
}

#[test]
fn assets_are_kept_for_a_year_under_their_own_hash() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    let page = visitor.get(&server.url("/"));
    let paths: Vec<&str> =
        page.body.split("href=\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(paths.len(), 2, "a stylesheet and an icon");
    for path in paths {
        let asset = visitor.get(&server.url(&format!("/assets/{path}")));
        assert_eq!(asset.status, 200);
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(asset.header("vary"), "");
    }
    assert_eq!(visitor.get(&server.url("/assets/cloakroom.0123456789abcdef.css")).status, 404);
}

#[test]
fn pages_need_no_script_and_nothing_from_elsewhere() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    for path in PAGES {
        let reply = Visitor::new().get(&server.url(path));
        for absent in ["<script", "onclick", "style=", "src=\"http", "href=\"http", "//fonts"] {
            assert!(!reply.has(absent), "{path} has {absent}");
        }
    }
}

#[test]
fn errors_have_the_same_look() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    let missing = visitor.get(&server.url("/nothing"));
    assert_eq!(missing.status, 404);
    assert!(missing.has("Nothing on this hanger"), "{}", missing.body);
    let unfilled = visitor.post(&server.url("/cart"), &[("product", "scarf")]);
    assert_eq!(unfilled.status, 422);
    assert!(unfilled.has("That form makes no sense here"), "{}", unfilled.body);
    let anonymous = visitor.post(&server.url("/checkout"), &[]);
    assert_eq!(anonymous.status, 401);
    assert!(anonymous.has("Please sign in") && !anonymous.header("www-authenticate").is_empty());
    // A program that asks for no page gets none.
    let program = visitor.get_with(&server.url("/logout"), &[("accept", "application/json")]);
    assert_eq!((program.status, program.header("allow")), (405, "POST"));
}

#[test]
fn health_is_told_without_a_session() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let reply = Visitor::new().get(&server.url("/healthz"));
    assert_eq!((reply.status, reply.body.as_str(), reply.header("vary")), (200, "ok\n", ""));
}
