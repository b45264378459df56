//! Stopping in order.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::server::{Folder, Server};
use crate::visitor::Visitor;

const BODY: &str = "product=umbrella&change=more&back=cart";

/// A request whose handler is running: it has asked for the body, half of which is still to come.
fn begin_slow_request(server: &Server) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(&server.address).expect("it listens");
    let mut stream = BufReader::new(stream);
    let head = format!(
        "POST /cart HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {1}\r\nExpect: 100-continue\r\n\r\n",
        server.address,
        BODY.len()
    );
    stream.get_mut().write_all(head.as_bytes()).expect("it reads");
    let mut line = String::new();
    stream.read_line(&mut line).expect("it answers");
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    stream.read_line(&mut line).expect("the blank line follows");
    stream.get_mut().write_all(&BODY.as_bytes()[..10]).expect("it reads");
    stream
}

fn wait_until_refused(server: &Server) {
    for _ in 0..1_000 {
        if TcpStream::connect(&server.address).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("it still accepts connections");
}

#[test]
fn sigterm_lets_requests_in_flight_finish() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    // A connection that is open and idle keeps nobody waiting.
    let idle = TcpStream::connect(&server.address).expect("it listens");
    let mut slow = begin_slow_request(&server);
    server.ask_to_stop();
    wait_until_refused(&server);

    slow.get_mut().write_all(&BODY.as_bytes()[10..]).expect("it still reads");
    let mut reply = String::new();
    slow.read_to_string(&mut reply).expect("it answers, and closes the connection");
    assert!(reply.starts_with("HTTP/1.1 303 "), "{reply}");
    assert!(server.wait().success());
    drop(idle);

    let cookie = reply.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair");
    let server = Server::start(&folder, &[]);
    let cart = Visitor::new().get_with(&server.url("/cart"), &[("cookie", cookie)]);
    assert!(cart.has("Curtain Call"), "what was answered was kept: {}", cart.body);
}

#[test]
fn a_request_that_never_ends_does_not_hold_up_the_stop() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:", "--shutdown-grace-s", "0"]);
    let slow = begin_slow_request(&server);
    server.ask_to_stop();
    assert!(server.wait().success());
    drop(slow);
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("stopped without waiting for the connections that were left"), "{log}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--store", "memory:", "--shutdown-grace-s", "3600"]);
    let slow = begin_slow_request(&server);
    server.ask_to_stop();
    wait_until_refused(&server);
    server.ask_to_stop();
    assert!(server.wait().success());
    drop(slow);
}
