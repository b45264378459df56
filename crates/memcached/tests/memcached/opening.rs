//! What is refused at the start.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
};

use cloakroom::{Sessions, store::Store as _};
use cloakroom_memcached::MemcachedStore;
use engines::{Engine as _, Memcached, free_port};

use crate::fixture::{create, open, ring_url, session};

#[tokio::test]
async fn a_url_that_cannot_work_is_refused_and_repeats_no_password() {
    for url in [
        "memcached://",
        "memcached://user:secret@localhost",
        "memcached://localhost/0",
        "memcached://localhost?password=secret",
        "memcached://localhost?connections=0",
        "memcached://a,a",
    ] {
        let error = MemcachedStore::open(url).await.unwrap_err();
        assert!(error.is_invalid() && !format!("{error} {error:?}").contains("secret"), "{url}: {error:?}");
        assert!(MemcachedStore::check(url).unwrap_err().is_invalid());
    }
    MemcachedStore::check("memcached://localhost:11211,other?prefix=x:&connections=4").unwrap();
}

#[tokio::test]
async fn without_any_server_it_is_unavailable_and_one_of_several_is_enough() {
    let url = format!("memcached://127.0.0.1:{}", free_port());
    let error = MemcachedStore::open(&url).await.unwrap_err();
    assert!(error.is_unavailable() && format!("{error:?}").contains("127.0.0.1"), "{error:?}");
    let server = Memcached::start();
    let url = format!("{},127.0.0.1:{}", ring_url(&[&server]), free_port());
    MemcachedStore::open(&url).await.unwrap();
}

/// Compare-and-swap is what everything rests on.
#[tokio::test]
async fn a_server_without_compare_and_swap_is_refused_with_what_to_change() {
    let server = Memcached::with(&["-C"]);
    let error = MemcachedStore::open(&server.url()).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("-C"), "{error}");
    let fit = Memcached::start();
    let error = MemcachedStore::open(&ring_url(&[&fit, &server])).await.unwrap_err();
    assert!(error.is_invalid(), "one of several: {error}");
}

/// A server that speaks as Memcached 1.4 did.
fn old_server(version: &'static str, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    let answer = if line == "version" { version } else { answer };
                    let _ = (&stream).write_all(format!("{answer}\r\n").as_bytes());
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_is_too_old_or_wants_a_password_is_refused_with_the_reason() {
    for (version, answer, reason) in [
        ("VERSION 1.4.39", "ERROR", "1.6 or newer"),
        ("CLIENT_ERROR unauthenticated", "CLIENT_ERROR unauthenticated", "user and password"),
    ] {
        let error =
            MemcachedStore::open(&format!("memcached://{}", old_server(version, answer))).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn what_it_cannot_do_is_refused_when_it_is_asked_for() {
    let server = Memcached::start();
    let store = open(&server).await;
    assert_eq!(format!("{store:?}"), format!("MemcachedStore {{ servers: [\"{}\"], .. }}", server.address()));
    let sessions = Sessions::builder(store).build().unwrap();
    let error = sessions.subjects().unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("memcached"), "{error}");
    sessions.revocations().unwrap();
}

/// Applications that share a server see nothing of each other.
#[tokio::test]
async fn prefixes_keep_applications_apart() {
    let server = Memcached::start();
    let shop = MemcachedStore::open(&format!("{}?prefix=shop:", server.url())).await.unwrap();
    let blog = MemcachedStore::open(&format!("{}?prefix=blog:", server.url())).await.unwrap();
    let record = session(1);
    create(&shop, &record).await;
    assert_eq!(crate::fixture::found(&blog, record.id).await, None);
    create(&blog, &record).await;
}

/// After a close, calls fail at once, and the connections are gone.
#[tokio::test]
async fn a_close_lets_go_of_the_connections() {
    let server = Memcached::start();
    let store = open(&server).await;
    create(&store, &session(1)).await;
    store.close().await.unwrap();
    assert!(store.load(session(1).id, crate::fixture::T0).await.unwrap_err().is_unavailable());
    store.close().await.unwrap();
}
