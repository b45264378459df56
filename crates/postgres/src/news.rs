//! News of changes to records that are watched: LISTEN and NOTIFY, on a connection of their own.

use std::{
    future::poll_fn,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use cloakroom::{
    SessionId,
    store::{Watch, Watchers},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    sync::Notify,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Connection};

use crate::connect::Connector;

/// In every database that Cloakroom keeps sessions in.
const CHANNEL: &str = "cloakroom_changed";

/// What a listener tells itself, to find out whether anything is told: a pooler takes LISTEN, and hears nothing.
const TRIAL: &str = "trial";
const TRIAL_MAX: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_secs(1);

/// One process's share in the news.
pub(crate) struct News {
    connector: Arc<Connector>,
    watchers: Watchers,
    /// Present while news come.
    client: Mutex<Option<Arc<Client>>>,
    tried: Notify,
    listening: OnceLock<AbortHandle>,
}

impl News {
    pub(crate) fn new(connector: Arc<Connector>) -> Arc<Self> {
        Arc::new(Self {
            connector,
            watchers: Watchers::default(),
            client: Mutex::default(),
            tried: Notify::new(),
            listening: OnceLock::new(),
        })
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
        if let Some(client) = self.client.lock().clone() {
            // An id's text has letters, digits, dashes and underscores. Whoever isn't told asks by and by.
            tokio::spawn(async move {
                let _ = client.batch_execute(&format!("NOTIFY {CHANNEL}, '{id}'")).await;
            });
        }
    }

    fn hear(&self, told: &str) {
        match told.parse() {
            Ok(id) => self.watchers.tell(id),
            Err(_) if told == TRIAL => self.tried.notify_one(),
            Err(_) => {}
        }
    }

    pub(crate) fn close(&self) {
        if let Some(listening) = self.listening.get() {
            listening.abort();
        }
        *self.client.lock() = None;
        self.watchers.set_live(false);
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
        let Some(connector) = news.upgrade().map(|news| Arc::clone(&news.connector)) else { return };
        if let Ok((client, driver)) = connector.listener(news.clone()).await {
            let client = Arc::new(client);
            if is_heard(&client, &news).await {
                let Some(ours) = news.upgrade() else { return };
                *ours.client.lock() = Some(client);
                ours.watchers.set_live(true);
                drop(ours);
                let _ = driver.await;
            }
            let Some(ours) = news.upgrade() else { return };
            *ours.client.lock() = None;
            ours.watchers.set_live(false);
        }
        sleep(PAUSE).await;
    }
}

/// Whether what is told on this channel is heard on this connection.
async fn is_heard(client: &Client, news: &Weak<News>) -> bool {
    let Some(news) = news.upgrade() else { return false };
    let trial = format!("LISTEN {CHANNEL}; NOTIFY {CHANNEL}, '{TRIAL}'");
    let heard = async {
        client.batch_execute(&trial).await.ok()?;
        news.tried.notified().await;
        Some(())
    };
    let is_heard = timeout(TRIAL_MAX, heard).await.is_ok_and(|heard| heard.is_some());
    if !is_heard {
        tracing::debug!(target: "cloakroom", "PostgreSQL tells nothing here: revocations are asked for instead");
    }
    is_heard
}

/// Drives a connection to its end, and hears what is told over it.
pub(crate) async fn drive<S, T>(mut connection: Connection<S, T>, news: Weak<News>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(told) = message
            && told.channel() == CHANNEL
            && let Some(news) = news.upgrade()
        {
            news.hear(told.payload());
        }
    }
}
