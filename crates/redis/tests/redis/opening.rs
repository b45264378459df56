//! URLs that can't work are refused at the start, with the reason and without the password.

use cloakroom::Error;
use cloakroom_redis::RedisStore;
use engines::{Breakable as _, Engine as _, Redis, RedisCluster, RedisSentinel, free_port, shared};

use crate::{
    fake,
    fixture::{create, prefix, run, session, with_prefix},
};

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
        let (listener, address) = fake::listener();
        fake::serve(listener, |words| {
            Some(if words[0] == "INFO" { fake::info("6.2.14", false) } else { "+OK\r\n".to_owned() })
        });
        refused(&format!("redis://{address}"), "6.2.14").await;
    });
}

/// A server whose AUTH was renamed repeats what it doesn't know, and with it the password.
#[test]
fn a_password_that_the_server_repeats_is_not_told() {
    run(async {
        let (listener, address) = fake::listener();
        fake::serve(listener, |words| {
            Some(match &*words[0] {
                "AUTH" => {
                    format!("-ERR unknown command 'AUTH', with args beginning with: '{}' \r\n", words[1])
                }
                "INFO" => fake::info("7.2.0", false),
                _ => "+OK\r\n".to_owned(),
            })
        });
        refused(&format!("redis://:hush@{address}"), "password").await;
        refused(&format!("redis://ann:hush@{address}"), "password").await;
    });
}
