//! The cart: what it keeps, whoever else is filling it.

use std::thread;

use crate::server::{Folder, Server};
use crate::visitor::{Reply, Visitor};

fn change(visitor: &Visitor, server: &Server, product: &str, change: &str) -> Reply {
    visitor.post(&server.url("/cart"), &[("product", product), ("change", change), ("back", "cart")])
}

fn has_items(visitor: &Visitor, server: &Server, count: u32) -> bool {
    visitor.get(&server.url("/shop")).has(&format!("<span class=\"count\">{count}<"))
}

#[test]
fn things_go_in_and_out() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:"]);
    let visitor = Visitor::new();
    let added =
        visitor.post(&server.url("/cart"), &[("product", "umbrella"), ("change", "more"), ("back", "shop")]);
    added.leads_to("/shop#umbrella");
    let told = visitor.get(&server.url("/shop"));
    assert!(told.has("Curtain Call is in your cart."), "{}", told.body);
    assert!(!visitor.get(&server.url("/shop")).has("Curtain Call is in your cart."), "it is said once");

    change(&visitor, &server, "umbrella", "more").leads_to("/cart");
    change(&visitor, &server, "tag", "more").leads_to("/cart");
    assert!(visitor.get(&server.url("/cart")).has("€131.50"));
    change(&visitor, &server, "umbrella", "fewer").leads_to("/cart");
    change(&visitor, &server, "tag", "remove").leads_to("/cart");
    let cart = visitor.get(&server.url("/cart"));
    assert!(cart.has("€59.50") && cart.has("Number 27 is out of your cart."), "{}", cart.body);
    assert!(has_items(&visitor, &server, 1));
    assert_eq!(change(&visitor, &server, "top-hat", "more").status, 404);
    assert!(has_items(&visitor, &server, 1));
}

#[test]
fn two_tabs_fill_one_cart_at_once() {
    const TABS: usize = 8;
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let visitor = Visitor::new();
    change(&visitor, &server, "scarf", "more").leads_to("/cart");
    // Each tab adds a product of its own, and one that all of them add.
    let products = ["overcoat", "raincoat", "bowler", "beanie", "umbrella", "gloves", "tag", "scarf"];
    thread::scope(|scope| {
        for product in products.into_iter().take(TABS) {
            let (visitor, server) = (&visitor, &server);
            scope.spawn(move || {
                change(visitor, server, product, "more").leads_to("/cart");
                change(visitor, server, "scarf", "more").leads_to("/cart");
            });
        }
    });
    // One scarf before, one as a product of its own, and eight that would make ten: a line holds nine.
    let cart = visitor.get(&server.url("/cart"));
    for product in products {
        assert!(cart.has(&format!("name=\"product\" value=\"{product}\"")), "{product} is missing");
    }
    assert!(has_items(&visitor, &server, 7 + 9));
}

#[test]
fn a_cart_is_bought_once() {
    const PRESSES: usize = 6;
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let visitor = Visitor::new();
    change(&visitor, &server, "gloves", "more").leads_to("/cart");
    visitor
        .post(&server.url("/login"), &[("user", "ada"), ("password", "umbrella"), ("next", "/cart")])
        .leads_to("/cart");
    let replies: Vec<Reply> = thread::scope(|scope| {
        let presses: Vec<_> =
            (0..PRESSES).map(|_| scope.spawn(|| visitor.post(&server.url("/checkout"), &[]))).collect();
        presses.into_iter().map(|press| press.join().expect("it was answered")).collect()
    });
    let bought = replies.iter().filter(|reply| reply.header("location") == "/receipt").count();
    assert_eq!(bought, 1);
    for other in replies.iter().filter(|reply| reply.header("location") != "/receipt") {
        assert!(
            other.status == 409 || other.header("location") == "/cart",
            "{} {}",
            other.status,
            other.body
        );
    }
    let receipt = visitor.get(&server.url("/receipt"));
    assert!(receipt.has("Thank you, Ada") && receipt.has("1 × Hand in Hand"), "{}", receipt.body);
    assert!(visitor.get(&server.url("/cart")).has("Nothing in the cart yet"));
}

#[test]
fn a_cart_survives_kill_9() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let visitor = Visitor::new();
    change(&visitor, &server, "beanie", "more").leads_to("/cart");
    visitor.post(&server.url("/login"), &[("user", "grace"), ("password", "bowler")]).leads_to("/shop");
    change(&visitor, &server, "beanie", "more").leads_to("/cart");
    server.kill();

    let server = Server::start(&folder, &[]);
    let cart = visitor.get(&server.url("/cart"));
    assert!(cart.has("Snowed In") && cart.has("€68.00") && cart.has("Grace"), "{}", cart.body);
}
