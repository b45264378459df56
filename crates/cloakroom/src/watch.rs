//! News of a record's changes, for who holds a copy of it.

use cloakroom_core::SessionId;
use parking_lot::Mutex;
use tokio::sync::watch;

/// News of changes to one record, from [`Store::watch`](crate::store::Store::watch).
///
/// They come soon and may come for nothing. They may also be lost, with the connection they come over or the process
/// that was to send them: whoever must know asks the store now and then as well, and more often while this
/// [isn't live](Watch::is_live).
#[derive(Debug)]
pub struct Watch(watch::Receiver<News>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    changes: u64,
    is_live: bool,
}

impl Watch {
    /// Waits for a change, or for news to begin or cease to come. Once the store is closed, this waits for ever.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether news come at all at present.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.0.borrow().is_live
    }
}

/// Who watches what, for stores.
///
/// ```
/// use cloakroom::{SessionId, store::Watchers};
///
/// # async fn demo() {
/// let (watchers, id) = (Watchers::default(), SessionId::from_bytes([7; 16]));
/// let mut watch = watchers.watch(id);
/// watchers.set_live(true);
/// watchers.tell(id);
/// watch.changed().await;
/// assert!(watch.is_live());
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(demo());
/// ```
#[derive(Debug, Default)]
pub struct Watchers(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    is_live: bool,
    /// One for each list that this process follows: a few.
    records: Vec<(SessionId, watch::Sender<News>)>,
}

impl Watchers {
    /// Watches a record.
    #[must_use]
    pub fn watch(&self, id: SessionId) -> Watch {
        let mut watched = self.0.lock();
        watched.records.retain(|(_, sender)| sender.receiver_count() > 0);
        let (sender, receiver) = watch::channel(News { changes: 0, is_live: watched.is_live });
        watched.records.push((id, sender));
        Watch(receiver)
    }

    /// Whether anybody watches this record.
    #[must_use]
    pub fn is_watched(&self, id: SessionId) -> bool {
        self.0.lock().records.iter().any(|(watched, _)| *watched == id)
    }

    /// Tells of a change to this record.
    pub fn tell(&self, id: SessionId) {
        for (_, sender) in self.0.lock().records.iter().filter(|(watched, _)| *watched == id) {
            sender.send_modify(|news| news.changes = news.changes.wrapping_add(1));
        }
    }

    /// Notes that news begin or cease to come.
    pub fn set_live(&self, is_live: bool) {
        let mut watched = self.0.lock();
        watched.is_live = is_live;
        for (_, sender) in &watched.records {
            sender.send_modify(|news| news.is_live = is_live);
        }
    }
}
