//! URLs that can't work are refused at the start, with the reason and without the password.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use cloakroom::Error;
use cloakroom_redis::RedisStore;
use engines::{Breakable as _, Engine as _, Redis, RedisCluster, RedisSentinel, free_port, shared};

use crate::fixture::{create, prefix, run, session, with_prefix};

async fn refused(url: &str, why: &str) {
    let error = RedisStore::open(url).await.err().unwrap_or_else(|| panic!("{url} was opened"));
    let told = format!("{error} {error:?}");
    assert!(error.is_invalid() && told.contains(why), "{url}: {told}");
    assert!(!told.contains("hush"), "the password is told: {told}");
}

#[test]
fn credentials_are_checked_and_never_told() {
    run(async {
        let redis = Redis::with(&["--requirepass", "hush-hush"]);
        let port = redis.address().port();
        refused(&format!("redis://127.0.0.1:{port}"), "asks for a password").await;
        refused(&format!("redis://:hush@127.0.0.1:{port}"), "refuses the user's name or password").await;
        refused(&format!("redis://ann:hush-hush@127.0.0.1:{port}"), "refuses the user's name or password")
            .await;
        refused(&format!("redis://:hush-hush@127.0.0.1:{port}/99"), "no database of that number").await;
        let url = with_prefix(&format!("redis://:hush-hush@127.0.0.1:{port}/2"), &prefix());
        let store = RedisStore::open(&url).await.unwrap();
        create(&store, &session(1, "ada")).await;
        assert!(!format!("{store:?}").contains("hush"));
    });
}

#[test]
fn a_password_where_none_is_set_is_refused() {
    run(async {
        let url = shared::<Redis>().replace("redis://", "redis://:hush@");
        refused(&url, "no password set").await;
    });
}

#[test]
fn engines_of_another_kind_are_refused() {
    run(async {
        let (single, cluster) = (shared::<Redis>(), shared::<RedisCluster>());
        refused(&single.replace("redis://", "redis+cluster://"), "is no cluster").await;
        let node = cluster.split(',').next().unwrap().replace("redis+cluster://", "redis://");
        refused(&node, "redis+cluster://").await;
        refused(&format!("{node}/1"), "is a cluster").await;
        refused(&format!("{}/mymaster", single.replace("redis://", "redis+sentinel://")), "no sentinel")
            .await;
    });
}

#[test]
fn replicas_and_unknown_masters_are_refused() {
    run(async {
        let servers = RedisSentinel::start();
        refused(&format!("redis://127.0.0.1:{}", servers.nodes[1].port), "is a replica").await;
        let url = servers.url().replace("/mymaster", "/another");
        refused(&url, "isn't known to the sentinels").await;
        let store = RedisStore::open(&with_prefix(&servers.url(), &prefix())).await.unwrap();
        create(&store, &session(1, "ada")).await;
    });
}

#[test]
fn a_server_that_is_away_is_told_from_a_wrong_url() {
    run(async {
        let port = free_port();
        for url in [
            format!("redis://127.0.0.1:{port}"),
            format!("redis+cluster://127.0.0.1:{port}"),
            format!("redis+sentinel://127.0.0.1:{port}/mymaster"),
            "unix:///no/such/socket".to_owned(),
        ] {
            let error = RedisStore::open(&url).await.err().unwrap();
            assert!(Error::is_unavailable(&error), "{url}: {error:?}");
        }
    });
}

#[test]
fn a_unix_socket_works() {
    run(async {
        let folder = engines::Folder::new("socket");
        let socket = folder.path().join("redis.sock");
        let _redis = Redis::with(&["--unixsocket", &socket.display().to_string()]);
        for scheme in ["unix", "redis+unix"] {
            let url = with_prefix(&format!("{scheme}://{}", socket.display()), &prefix());
            create(&RedisStore::open(&url).await.unwrap(), &session(1, "ada")).await;
        }
    });
}

/// Its scripts couldn't run there: that is said at the start, and not at the first login.
#[test]
fn a_server_that_is_too_old_is_refused() {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || answer_as_an_old_server(&stream));
            }
        });
        refused(&format!("redis://{address}"), "6.2.14").await;
    });
}

fn answer_as_an_old_server(mut stream: &std::net::TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let count: usize = line.trim()[1..].parse().unwrap();
        let mut name = String::new();
        for _ in 0..count {
            line.clear();
            reader.read_line(&mut line)?;
            let mut word = vec![0; line.trim()[1..].parse::<usize>().unwrap() + 2];
            reader.read_exact(&mut word)?;
            if name.is_empty() {
                name = String::from_utf8_lossy(&word).trim().to_uppercase();
            }
        }
        line.clear();
        let info = "redis_version:6.2.14\r\nrole:master\r\ncluster_enabled:0\r\n";
        match &*name {
            "INFO" => stream.write_all(format!("${}\r\n{info}\r\n", info.len()).as_bytes())?,
            _ => stream.write_all(b"+OK\r\n")?,
        }
    }
    Ok(())
}
