//! Loads. Those that are called for at one moment are one `MGET`, except in a cluster, where a session's keys lie where its
//! shard does.

use std::sync::atomic::{AtomicBool, Ordering};

use cloakroom::{
    Error, SessionId,
    store::{Batches, Fetch},
};
use redis::Value;
use tokio::time::timeout;

use crate::{failure::Failure, keys::Keys, link::Link};

/// Batches under way at a time: as many as keep a server busy that is a millisecond away.
const BATCHES_MAX: usize = 16;

/// Sessions in one `MGET` at most: the engine does nothing else meanwhile.
const TOGETHER_MAX: usize = 64;

/// What the engine has under a session's key, and under that of its shard's watermark.
pub(crate) type Found = [Option<Vec<u8>>; 2];

pub(crate) struct Loads(Batches<Load>);

struct Load {
    link: Link,
    keys: Keys,
    /// A server that was taken for one that is alone is part of a cluster: a proxy stands before it, or it doesn't tell.
    is_split: AtomicBool,
}

impl Loads {
    pub(crate) fn new(link: Link, keys: Keys) -> Self {
        let is_split = AtomicBool::new(link.is_cluster());
        Self(Batches::new(Load { link, keys, is_split }, BATCHES_MAX, TOGETHER_MAX))
    }

    pub(crate) async fn find(&self, id: SessionId) -> Result<Found, Error> {
        let load = self.0.fetch();
        if load.is_split.load(Ordering::Relaxed) {
            return load.one(id).await;
        }
        // With the time that it may have to wait for its turn.
        let (address, max) = (load.link.address(), load.link.address().timeout);
        let found = timeout(max, self.0.get(id)).await;
        found.unwrap_or_else(|_| Err(Failure::Late(max).into_error(address)))
    }
}

impl Fetch for Load {
    type Key = SessionId;
    type Found = Found;

    async fn one(&self, id: SessionId) -> Result<Found, Error> {
        let mut found = self.several(&[id]).await?;
        found.pop().ok_or_else(|| Failure::Strange.into_error(self.link.address()))
    }

    async fn several(&self, ids: &[SessionId]) -> Result<Vec<Found>, Error> {
        match self.ask(ids).await {
            // All ask alone, now and from now on.
            Err(failure) if failure.is_cross_slot() && ids.len() > 1 => {
                self.is_split.store(true, Ordering::Relaxed);
                Ok(Vec::new())
            }
            found => found.map_err(|failure| failure.into_error(self.link.address())),
        }
    }
}

impl Load {
    async fn ask(&self, ids: &[SessionId]) -> Result<Vec<Found>, Failure> {
        let mut command = redis::Cmd::with_capacity(1 + 2 * ids.len(), 64 * ids.len());
        command.arg("MGET");
        for &id in ids {
            command.arg(self.keys.session(id)).arg(self.keys.watermark(id));
        }
        let answer = self.link.call(&command).await?;
        let Value::Array(values) = answer.value else { return Err(Failure::Strange) };
        if values.len() != 2 * ids.len() {
            return Err(Failure::Strange);
        }
        let mut values = values.into_iter().map(|value| match value {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::Nil => Ok(None),
            _ => Err(Failure::Strange),
        });
        let pair =
            || Some(values.next()?.and_then(|value| Ok([value, values.next().ok_or(Failure::Strange)??])));
        std::iter::from_fn(pair).collect()
    }
}
