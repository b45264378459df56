//! Loads. Those that are called for at one moment are one `MGET`, except in a cluster, where a session's keys lie where its
//! shard does.

use cloakroom::{
    Error, SessionId,
    store::{Batches, Fetch},
};
use redis::Value;

use crate::{failure::Failure, keys::Keys, link::Link};

/// Batches under way at a time: as many as keep a server busy that is a millisecond away.
const BATCHES_MAX: usize = 16;

/// Sessions in one `MGET` at most: the engine does nothing else meanwhile.
const TOGETHER_MAX: usize = 64;

/// What the engine has under a session's key, and under that of its shard's watermark.
pub(crate) type Found = [Value; 2];

pub(crate) struct Loads(Batches<Load>);

struct Load {
    link: Link,
    keys: Keys,
}

impl Loads {
    pub(crate) fn new(link: Link, keys: Keys) -> Self {
        Self(Batches::new(Load { link, keys }, BATCHES_MAX, TOGETHER_MAX))
    }

    pub(crate) async fn find(&self, id: SessionId) -> Result<Found, Error> {
        let load = self.0.fetch();
        if load.link.is_cluster() { load.one(id).await } else { self.0.get(id).await }
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
        self.ask(ids).await.map_err(|failure| failure.into_error(self.link.address()))
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
        let mut values = values.into_iter();
        let pairs = std::iter::from_fn(|| Some([values.next()?, values.next()?]));
        Ok(pairs.collect())
    }
}
