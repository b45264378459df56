//! What tests do to an engine.

use std::{net::SocketAddr, time::Duration};

use crate::{Engine, RedisCluster, RedisSentinel};

/// An engine that can be hung, killed, and looked at through a [`Proxy`](crate::Proxy).
pub trait Breakable: Engine {
    /// Whether it has its data again after it was killed and started again.
    const KEEPS: bool;

    /// Starts one that keeps its data as it would in production.
    fn start_durable() -> Self {
        Self::start()
    }

    /// Where it listens; of several servers, the first.
    fn address(&self) -> SocketAddr;

    /// Its URL, for who comes by another way.
    fn url_at(&self, address: SocketAddr) -> String;

    /// Stops it where it stands.
    fn hang(&self);

    /// Lets it go on.
    fn resume(&self);

    /// Kills it without a chance to tidy up.
    fn kill(&mut self);

    /// Starts it again with what it left, at the same address.
    fn restart(&mut self);
}

/// An engine in which another server takes the place of a master that died.
pub trait FailsOver: Engine {
    /// How long that takes at most, measured without a store.
    const TAKES: Duration;

    /// Kills a master without a chance to tidy up.
    fn kill_master(&mut self);
}

impl FailsOver for RedisCluster {
    const TAKES: Duration = Duration::from_millis(4_500);

    fn kill_master(&mut self) {
        self.nodes[0].process.kill();
    }
}

impl FailsOver for RedisSentinel {
    const TAKES: Duration = Duration::from_millis(2_500);

    fn kill_master(&mut self) {
        self.nodes[0].process.kill();
    }
}
