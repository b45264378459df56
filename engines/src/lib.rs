//! Real storage engines for tests: each a process of its own, on a free port of this machine, with its files in a
//! temporary folder. They end with the process that started them, however that ends.
//!
//! Tests that only talk to an engine share one, by [`shared`]; tests that hang or kill it start their own.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that can't start its engine has failed")]

mod breakable;
mod certificates;
mod dynamodb;
mod folder;
mod memcached;
mod monitor;
mod mysql;
mod pgbouncer;
mod port;
mod postgres;
mod process;
mod proxy;
mod redis;
mod shared;

pub use breakable::{Breakable, FailsOver};
pub use certificates::Certificates;
pub use dynamodb::DynamoDb;
pub use folder::Folder;
pub use memcached::Memcached;
pub use monitor::Monitor;
pub use mysql::{MariaDb, MariaDbServer, MySql, MySqlServer, Sql, SqlFlavour};
pub use pgbouncer::PgBouncer;
pub use port::{free_port, free_ports};
pub use postgres::Postgres;
pub use process::{Process, Start, find, program};
pub use proxy::Proxy;
pub use redis::{
    Cluster, Flavour, Node, Redis, RedisCluster, RedisSentinel, RedisServer, Single, Valkey, ValkeyServer,
};
pub use shared::{Engine, Running, Shared, shared};
