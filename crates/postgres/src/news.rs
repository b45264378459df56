//! News of changes to records that are watched: LISTEN and NOTIFY, on a connection of their own.

use std::{
    future::poll_fn,
    hash::{BuildHasher as _, Hasher as _, RandomState},
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
    sync::oneshot,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Connection};

use crate::connect::Connector;

/// In every database that Cloakroom keeps sessions in.
const CHANNEL: &str = "cloakroom_changed";

/// How long a listener waits for a word that it has told itself, to find out whether anything is told.
const TRIAL_MAX: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_secs(1);
/// Where nothing is told, nothing will be before somebody changes something: the pause is doubled up to this.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// One process's share in the news.
pub(crate) struct News {
    connector: Arc<Connector>,
    watchers: Watchers,
    /// Present while news come.
    client: Mutex<Option<Arc<Client>>>,
    trial: Mutex<Option<Trial>>,
    listening: OnceLock<AbortHandle>,
}

/// A word that nobody else tells, and who waits for it.
struct Trial {
    word: String,
    heard: oneshot::Sender<()>,
}

impl News {
    pub(crate) fn new(connector: Arc<Connector>) -> Arc<Self> {
        Arc::new(Self {
            connector,
            watchers: Watchers::default(),
            client: Mutex::default(),
            trial: Mutex::default(),
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
            Err(_) => {
                if let Some(trial) = self.trial.lock().take_if(|trial| trial.word == told) {
                    let _ = trial.heard.send(());
                }
            }
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
    let mut pause = PAUSE;
    loop {
        let Some(connector) = news.upgrade().map(|news| Arc::clone(&news.connector)) else { return };
        if let Ok((client, driver)) = connector.listener(news.clone()).await {
            let client = Arc::new(client);
            if is_heard(&client, &connector, &news).await {
                pause = PAUSE;
                let Some(ours) = news.upgrade() else { return };
                *ours.client.lock() = Some(client);
                ours.watchers.set_live(true);
                drop(ours);
                let _ = driver.await;
            } else {
                pause = (pause * 2).min(PAUSE_MAX);
            }
            let Some(ours) = news.upgrade() else { return };
            *ours.client.lock() = None;
            ours.watchers.set_live(false);
        }
        sleep(pause).await;
    }
}

/// Whether what others tell on this channel is heard on this connection.
///
/// A pooler that hands out servers for a transaction each takes LISTEN, and passes on what is told within this connection's
/// own questions, and nothing later. So the word is told by another connection, while this one is at rest.
async fn is_heard(client: &Client, connector: &Connector, news: &Weak<News>) -> bool {
    // With a blank in it, it is no session's id.
    let word = format!("trial {:x}", RandomState::new().build_hasher().finish());
    let tell = format!("NOTIFY {CHANNEL}, '{word}'");
    let (heard, hearing) = oneshot::channel();
    let Some(ours) = news.upgrade() else { return false };
    *ours.trial.lock() = Some(Trial { word, heard });
    drop(ours);
    let trial = async {
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await.ok()?;
        let (other, _) = connector.client().await.ok()?;
        other.batch_execute(&tell).await.ok()?;
        hearing.await.ok()
    };
    let is_heard = timeout(TRIAL_MAX, trial).await.is_ok_and(|heard| heard.is_some());
    if !is_heard {
        tracing::debug!(target: "cloakroom", "PostgreSQL tells nothing here: revocations are asked for instead");
        // A pooler's server would tell its next user. This may reach another server: then it does no harm.
        let unlisten = format!("UNLISTEN {CHANNEL}");
        let _ = timeout(TRIAL_MAX, client.batch_execute(&unlisten)).await;
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
