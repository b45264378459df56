//! Masters that die, and replicas that take their place.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cloakroom::{
    Record,
    store::{Store as _, Written},
};
use cloakroom_redis::RedisStore;
use engines::{Engine as _, RedisCluster, RedisSentinel};

use crate::fixture::{T0, anonymous, changed, create, id, is_alive, prefix, run, session, with_prefix};

/// What a failover takes that was measured without the store, and what the store may add.
const SENTINEL_MAX: Duration = Duration::from_millis(2_500 + 3_000);
const CLUSTER_MAX: Duration = Duration::from_millis(4_500 + 3_000);

async fn open(url: &str) -> RedisStore {
    RedisStore::open(&format!("{}&timeout_ms=500", with_prefix(url, &prefix()))).await.unwrap()
}

/// Creates a session in each of these shards until that works in all of them.
async fn writable_everywhere(store: &RedisStore, first: u64, within: Duration) -> Duration {
    let begun = Instant::now();
    let mut n = first;
    for shard in 0..=u8::MAX {
        loop {
            n += 1;
            let mut bytes = *id(n).as_bytes();
            bytes[0] = shard;
            let record = Record { id: cloakroom::SessionId::from_bytes(bytes), ..anonymous(n) };
            match store.create(Arc::new(record), T0).await {
                Ok(written) => break assert_eq!(written, Written::Stored),
                Err(error) => assert!(error.is_unavailable(), "{error:?}"),
            }
            assert!(begun.elapsed() < within, "shard {shard} isn't back after {:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    begun.elapsed()
}

#[test]
fn sentinel_a_dead_master_is_replaced() {
    run(async {
        let mut servers = RedisSentinel::start();
        let store = open(&servers.url()).await;
        let record = session(1, "ada");
        create(&store, &record).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        servers.nodes[0].process.kill();
        let took = writable_everywhere(&store, 1_000, SENTINEL_MAX).await;
        println!("sentinel: writable {took:?} after the master was killed");
        assert_eq!(servers.masters(), [1]);
        assert!(is_alive(&store, &record).await, "it had reached the replica");
        assert_eq!(store.seen().failovers, 1);
    });
}

/// The old master's connection stays open, and nothing comes from it. When it goes on, it is made a replica, and nothing
/// is read from it.
#[test]
fn sentinel_a_hung_master_is_left_for_the_new_one() {
    run(async {
        let servers = RedisSentinel::start();
        let store = open(&servers.url()).await;
        let record = session(1, "ada");
        create(&store, &record).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        servers.nodes[0].process.hang();
        let took = writable_everywhere(&store, 1_000, SENTINEL_MAX).await;
        println!("sentinel: writable {took:?} after the master hung");
        let next = changed(&record);
        assert_eq!(store.replace(Arc::new(next.clone()), record.version, T0).await.unwrap(), Written::Stored);
        servers.nodes[0].process.resume();
        let begun = Instant::now();
        while servers.masters() != [1] {
            assert!(begun.elapsed() < Duration::from_secs(30), "the old master wasn't made a replica");
            assert!(is_alive(&store, &next).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(is_alive(&store, &next).await);
        assert_eq!(store.seen().failovers, 1);
    });
}

/// An orderly failover, with nobody dead: the old master says READONLY, or closes the connection.
#[test]
fn sentinel_an_orderly_failover_loses_no_call_for_long() {
    run(async {
        let servers = RedisSentinel::start();
        let store = open(&servers.url()).await;
        create(&store, &session(1, "ada")).await;
        let sentinel = redis::Client::open(format!("redis://127.0.0.1:{}", servers.sentinels[0])).unwrap();
        let mut sentinel = sentinel.get_multiplexed_async_connection().await.unwrap();
        let mut failover = redis::cmd("SENTINEL");
        failover.arg("FAILOVER").arg(RedisSentinel::MASTER).exec_async(&mut sentinel).await.unwrap();
        let begun = Instant::now();
        let mut n = 1_000;
        while servers.masters() != [1] || store.seen().failovers == 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "no failover: {:?}", servers.masters());
            n += 1;
            let _ = store.create(Arc::new(anonymous(n)), T0).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        writable_everywhere(&store, 100_000, Duration::from_secs(3)).await;
    });
}

/// The bug: failovers of a cluster weren't counted, for only sentinels tell who the master is. The mend: after trouble the
/// cluster is asked who its masters are, and they are compared.
#[test]
fn cluster_a_dead_master_is_replaced_while_writing() {
    run(async {
        let mut cluster = RedisCluster::start();
        let store = Arc::new(open(&cluster.url()).await);
        writable_everywhere(&store, 0, Duration::from_secs(3)).await;
        cluster.nodes[0].process.kill();
        let took = writable_everywhere(&store, 10_000, CLUSTER_MAX).await;
        println!("cluster: writable {took:?} after a master was killed");
        let record = session(1_000_000, "ada");
        create(&store, &record).await;
        // Its return changes nothing.
        cluster.nodes[0].restart();
        writable_everywhere(&store, 20_000, CLUSTER_MAX).await;
        assert!(is_alive(&store, &record).await);
        // It is noticed at the next look.
        let begun = Instant::now();
        while store.seen().failovers == 0 {
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", store.seen());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(store.seen().failovers, 1);
    });
}

/// The bug: the client gave up a call in the same millisecond as the store did, and that it gave up passed for an answer:
/// nobody looked for the new master. And a look was a whole new connection, which waited for the hung master as well. The
/// mend: a call that was given up is a sign of silence, whoever gave it up; all nodes are asked at once, every half a
/// second, and then only those are connected to that answer.
#[test]
fn cluster_a_hung_master_is_left_for_the_new_one() {
    run(async {
        let cluster = RedisCluster::start();
        let store = open(&cluster.url()).await;
        writable_everywhere(&store, 0, Duration::from_secs(3)).await;
        cluster.nodes[1].process.hang();
        let took = writable_everywhere(&store, 10_000, CLUSTER_MAX).await;
        println!("cluster: writable {took:?} after a master hung");
        assert_eq!(store.seen().failovers, 1, "{:?}", store.seen());
        cluster.nodes[1].process.resume();
        writable_everywhere(&store, 20_000, CLUSTER_MAX).await;
    });
}

/// One of the nodes in the URL is enough.
#[test]
fn cluster_five_of_six_nodes_may_be_unknown_at_the_start() {
    run(async {
        let cluster = RedisCluster::start();
        let dead = engines::free_ports(5).into_iter().map(|port| format!("127.0.0.1:{port}"));
        let nodes: Vec<_> = dead.chain([format!("127.0.0.1:{}", cluster.nodes[4].port)]).collect();
        let store = open(&format!("redis+cluster://{}", nodes.join(","))).await;
        writable_everywhere(&store, 0, Duration::from_secs(3)).await;
    });
}
