//! News of changes to records that are watched: PUBLISH, and SUBSCRIBE on a connection of its own.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use cloakroom::{
    SessionId,
    store::{Watch, Watchers},
};
use futures_util::{Stream, StreamExt as _};
use redis::{Client, ConnectionInfo, Msg, RedisResult};
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{address::Servers, link::Link, wire::DIAL_MAX};

/// Behind the prefix of all keys.
const CHANNEL: &str = "changed";

const PAUSE: Duration = Duration::from_secs(1);

/// One process's share in the news.
pub(crate) struct News {
    link: Link,
    channel: String,
    watchers: Watchers,
    listening: OnceLock<AbortHandle>,
}

impl News {
    pub(crate) fn new(link: Link, prefix: &str) -> Arc<Self> {
        let channel = format!("{prefix}{CHANNEL}");
        Arc::new(Self { link, channel, watchers: Watchers::default(), listening: OnceLock::new() })
    }

    /// Watches a record. From the first one on, a connection listens.
    pub(crate) fn watch(self: &Arc<Self>, id: SessionId) -> Option<Watch> {
        let runtime = Handle::try_current().ok()?;
        let watch = self.watchers.watch(id);
        self.listening.get_or_init(|| runtime.spawn(listen(Arc::downgrade(self))).abort_handle());
        Some(watch)
    }

    /// Tells everybody of a change that was stored, if it is to a record that is watched.
    pub(crate) fn tell(&self, id: SessionId) {
        if self.listening.get().is_none() || !self.watchers.is_watched(id) {
            return;
        }
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channel).arg(id.as_bytes());
        let link = self.link.clone();
        // Whoever isn't told asks by and by.
        tokio::spawn(async move { drop(link.call(&publish).await) });
    }

    pub(crate) fn close(&self) {
        if let Some(listening) = self.listening.get() {
            listening.abort();
        }
        self.watchers.set_live(false);
    }

    fn hear(&self, told: &[u8]) {
        if let Ok(id) = told.try_into() {
            self.watchers.tell(SessionId::from_bytes(id));
        }
    }

    /// Servers at which everything is heard: any node of a cluster hears what is told to another one.
    fn servers(&self) -> RedisResult<Vec<ConnectionInfo>> {
        let address = self.link.address();
        match &address.servers {
            Servers::One(endpoint) => Ok(vec![address.connection_info(endpoint)?]),
            Servers::Socket(path) => Ok(vec![address.socket_info(path)?]),
            Servers::Sentinel { .. } | Servers::Cluster(_) => {
                self.link.masters().iter().map(|master| address.connection_info(master)).collect()
            }
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.close();
    }
}

/// Listens until the store is closed or dropped.
async fn listen(news: Weak<News>) {
    loop {
        let Some((servers, channel)) = news.upgrade().map(|news| (news.servers(), news.channel.clone()))
        else {
            return;
        };
        for server in servers.into_iter().flatten() {
            if let Ok(Ok(mut told)) = timeout(DIAL_MAX, subscribe(server, &channel)).await {
                let Some(ours) = news.upgrade() else { return };
                ours.watchers.set_live(true);
                drop(ours);
                while let Some(message) = told.next().await {
                    let Some(ours) = news.upgrade() else { return };
                    ours.hear(message.get_payload_bytes());
                }
                let Some(ours) = news.upgrade() else { return };
                ours.watchers.set_live(false);
                break;
            }
        }
        sleep(PAUSE).await;
    }
}

async fn subscribe(server: ConnectionInfo, channel: &str) -> RedisResult<impl Stream<Item = Msg>> {
    let mut listener = Client::open(server)?.get_async_pubsub().await?;
    listener.subscribe(channel).await?;
    Ok(listener.into_on_message())
}
