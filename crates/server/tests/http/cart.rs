//! The cart: what it keeps, whoever else is filling it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
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
    const PRESSES: usize = 8;
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let visitor = Visitor::new();
    change(&visitor, &server, "gloves", "more").leads_to("/cart");
    let form = [("user", "ada"), ("password", "umbrella"), ("next", "/cart")];
    visitor.post(&server.url("/login"), &form).leads_to("/cart");

    let request = format!(
        "POST /checkout HTTP/1.1\r\nHost: {}\r\nSec-Fetch-Site: same-origin\r\nCookie: session={}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        server.address,
        visitor.token().expect("signed in")
    );
    let replies = at_once(&server, request.as_bytes(), PRESSES);
    let bought = replies.iter().filter(|reply| reply.contains("\r\nlocation: /receipt\r\n")).count();
    assert_eq!(bought, 1, "{replies:?}");
    for other in replies.iter().filter(|reply| !reply.contains("\r\nlocation: /receipt\r\n")) {
        let told = other.starts_with("HTTP/1.1 409 ") || other.contains("\r\nlocation: /cart\r\n");
        assert!(told, "{other}");
    }
    let receipt = visitor.get(&server.url("/receipt"));
    assert!(receipt.has("Thank you, Ada") && receipt.has("1 × Hand in Hand"), "{}", receipt.body);
    assert!(visitor.get(&server.url("/cart")).has("Nothing in the cart yet"));
}

/// Sends the same request over several connections, all but its last byte first, so that they arrive together.
fn at_once(server: &Server, request: &[u8], count: usize) -> Vec<String> {
    let (last, head) = request.split_last().expect("a request");
    let connect = |_| {
        let mut stream = TcpStream::connect(&server.address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        stream.write_all(head).expect("it reads");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..count).map(connect).collect();
    for stream in &mut streams {
        stream.write_all(&[*last]).expect("it reads");
    }
    let read = |mut stream: TcpStream| {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it answers");
        reply
    };
    streams.into_iter().map(read).collect()
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
