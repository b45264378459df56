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
use redis::{ConnectionInfo, Msg, RedisResult};
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    address::{Address, Servers},
    link::Link,
    renewal::pause,
    wire::DIAL_MAX,
};

/// Behind the prefix of all keys.
const CHANNEL: &str = "changed";

/// Between attempts to listen: doubled each time, up to the second of the two, and then a random part of it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// After so long a silence a listener says something itself: a connection may be forgotten by what lies between.
const TRIAL_PERIOD: Duration = Duration::from_secs(10);

/// One process's share in the news.
pub(crate) struct News {
    link: Link,
    channel: String,
    /// What this process says to find out whether it is heard: a user may not be allowed to publish.
    trial: Vec<u8>,
    watchers: Watchers,
    listening: OnceLock<AbortHandle>,
}

impl News {
    pub(crate) fn new(link: Link, prefix: &str) -> Arc<Self> {
        let channel = format!("{prefix}{CHANNEL}");
        // No id is as long. Two processes that say the same take one for the other, which does little harm.
        let trial = format!("trial {:x}", getrandom::u64().unwrap_or_default()).into_bytes();
        let watchers = Watchers::default();
        Arc::new(Self { link, channel, trial, watchers, listening: OnceLock::new() })
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
        if self.listening.get().is_some() && self.watchers.is_watched(id) {
            self.publish(id.as_bytes());
        }
    }

    fn publish(&self, message: &[u8]) {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channel).arg(message);
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
    let mut failures = 0;
    loop {
        let Some(ours) = news.upgrade() else { return };
        let (address, channel) = (ours.link.address().clone(), ours.channel.clone());
        let servers = ours.servers().unwrap_or_default();
        drop(ours);
        let mut was_heard = false;
        for server in servers {
            if let Ok(Ok(told)) = timeout(DIAL_MAX, subscribe(&address, server, &channel)).await {
                was_heard = hear_all(&news, told).await;
                break;
            }
        }
        failures = if was_heard { 0 } else { failures + 1 };
        if failures == 1 {
            tracing::debug!(target: "cloakroom", "Redis tells nothing here: revocations are asked for instead");
        }
        sleep(pause(PAUSES, failures)).await;
    }
}

/// Hears what is told until nothing is any more, not even what this process says itself. Answers whether anything was.
async fn hear_all(news: &Weak<News>, mut told: impl Stream<Item = Msg> + Unpin) -> bool {
    let mut was_heard = false;
    loop {
        let is_heard = timeout(DIAL_MAX, hear_own(news, &mut told)).await.unwrap_or_default();
        let Some(ours) = news.upgrade() else { return was_heard };
        ours.watchers.set_live(is_heard);
        drop(ours);
        if !is_heard {
            return was_heard;
        }
        was_heard = true;
        // Silence may be that of a connection which isn't one any more.
        while let Ok(Some(message)) = timeout(TRIAL_PERIOD, told.next()).await {
            let Some(ours) = news.upgrade() else { return was_heard };
            ours.hear(message.get_payload_bytes());
        }
    }
}

/// Says something, and waits until it is heard.
async fn hear_own(news: &Weak<News>, told: &mut (impl Stream<Item = Msg> + Unpin)) -> bool {
    let Some(ours) = news.upgrade() else { return false };
    ours.publish(&ours.trial);
    drop(ours);
    while let Some(message) = told.next().await {
        let Some(ours) = news.upgrade() else { return false };
        let message = message.get_payload_bytes();
        if *message == ours.trial {
            return true;
        }
        ours.hear(message);
    }
    false
}

async fn subscribe(
    address: &Address,
    server: ConnectionInfo,
    channel: &str,
) -> RedisResult<impl Stream<Item = Msg> + Unpin> {
    let mut listener = address.client(server)?.get_async_pubsub().await?;
    listener.subscribe(channel).await?;
    Ok(listener.into_on_message())
}
