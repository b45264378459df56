//! One node: its copy of the revocation list, kept up to date in the background and asked without waiting, and what it
//! adds to the list itself.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cloakroom::{
    Error, SessionId, Subject, Timestamp,
    carrier::{Honour, Stamp},
    clock::Clock,
    store::{Answer, Store, Watch},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::{
    draft::{Noted, Wish},
    list::Presented,
    log::{Log, random},
    replica::Replica,
    settings::ListSettings,
};

/// The list, and the store it is in.
pub(crate) struct Node {
    replica: Replica,
    clock: Box<dyn Clock>,
    settings: ListSettings,
    /// When the list was last known to be up to date, in milliseconds.
    contact_ms: AtomicU64,
    is_current: AtomicBool,
    wishes: mpsc::Sender<Waiting>,
}

struct Waiting {
    wish: Wish,
    done: oneshot::Sender<Result<Noted, Arc<Error>>>,
}

/// How often an append is tried anew after another node's.
const ATTEMPTS_MAX: u32 = 64;

/// How many revocations wait to be noted; more wait for a place.
const WAITING_MAX: usize = 4_096;

/// After that a store that doesn't answer is given up on. Callers have deadlines of their own.
const NOTING_TIMEOUT: Duration = Duration::from_secs(10);

/// A long list on a slow store takes a while to load.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Node {
    /// Loads the list, or begins it, and keeps it up to date from then on.
    pub(crate) async fn start(
        store: Box<dyn Store>,
        settings: ListSettings,
        clock: Box<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        settings.check()?;
        let (wishes, waiting) = mpsc::channel(WAITING_MAX);
        let node = Arc::new(Self {
            replica: Replica::new(Log::new(store, &settings)),
            clock,
            settings,
            contact_ms: AtomicU64::new(0),
            is_current: AtomicBool::new(false),
            wishes,
        });
        let late = |_| Error::unavailable("the revocation list's store doesn't answer", "it took too long");
        timeout(START_TIMEOUT, node.refresh()).await.map_err(late)??;
        tokio::spawn(keep_current(Arc::downgrade(&node)));
        tokio::spawn(keep_noting(Arc::downgrade(&node), waiting));
        Ok(node)
    }

    /// Whether the list is known to be up to date, give or take what the settings allow.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Error> {
        let contact = Timestamp::from_millis(self.contact_ms.load(Ordering::Acquire));
        // The flag is for clocks that are set back, the time for a process that was stopped for a while.
        if self.is_current.load(Ordering::Acquire) && now.since(contact) <= self.settings.stale_after {
            return Ok(());
        }
        Err(Error::unavailable(
            "the revocation list is out of date, so no sealed session can be honoured",
            format!("its store was last reached at {contact:?}"),
        ))
    }

    pub(crate) fn honour(&self, session: &Presented<'_>, now: Timestamp) -> Honour {
        self.replica.list.read().honour(session, now)
    }

    pub(crate) fn last_revocation(&self, subject: &Subject) -> Option<(Timestamp, Option<SessionId>)> {
        self.replica.list.read().last_revocation(subject)
    }

    pub(crate) fn set_grace(&self, grace: Duration) {
        self.replica.list.write().set_grace(grace);
    }

    /// The stamp of a session that begins.
    pub(crate) fn stamp(&self, subject: Option<&Subject>) -> Stamp {
        let list = self.replica.list.read();
        let epoch = subject.and_then(|subject| list.epoch(subject)).unwrap_or(0);
        Stamp { epoch, list: list.id, entries: list.taken(), ..Stamp::default() }
    }

    /// The stamp as it is sealed now: it says how much of the list is known not to speak against it.
    pub(crate) fn dated(&self, stamp: Stamp) -> Stamp {
        let list = self.replica.list.read();
        let taken = if stamp.list == list.id { list.taken() } else { 0 };
        Stamp { entries: stamp.entries.max(taken), ..stamp }
    }

    pub(crate) fn settings(&self) -> &ListSettings {
        &self.settings
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.replica.log.store()
    }

    pub(crate) fn close(&self) -> Answer<'_, ()> {
        self.replica.log.close()
    }

    /// Asks for what was added.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(head) = self.replica.catch_up(now).await? else { return Ok(()) };
        self.contact_ms.store(now.as_millis(), Ordering::Release);
        self.is_current.store(true, Ordering::Release);
        if let Err(error) = self.replica.log.keep(&head, now).await {
            // It has a year left to be kept in.
            tracing::debug!(target: "cloakroom", "the revocation list can't be written to: {error:?}");
        }
        Ok(())
    }

    /// Notes a revocation in the store, and holds it from then on. Once it waits it is noted, whoever gives up waiting.
    pub(crate) async fn revoke(&self, wish: Wish) -> Result<Noted, Error> {
        let gone = |_| {
            Error::unavailable("the revocation can't be noted", "the runtime that notes them was shut down")
        };
        let (done, answer) = oneshot::channel();
        self.wishes.send(Waiting { wish, done }).await.map_err(|_| gone(()))?;
        answer
            .await
            .map_err(|_| gone(()))?
            .map_err(|error| Error::unavailable("the revocation couldn't be noted", format!("{error:?}")))
    }

    /// Notes what waits, together.
    async fn note(&self, batch: &[Waiting]) -> Result<Vec<Noted>, Error> {
        let wishes: Vec<_> = batch.iter().map(|waiting| &waiting.wish).collect();
        for attempt in 0..ATTEMPTS_MAX {
            let now = self.clock.now();
            if let Some(noted) = self.replica.append(&wishes, self.settings.entries_max, now).await? {
                return Ok(noted);
            }
            let bound_us = 500_u64 << attempt.min(6);
            sleep(Duration::from_micros(random()? % bound_us)).await;
        }
        Err(Error::unavailable(
            "the revocation list is changed by too many nodes at once",
            format!("{ATTEMPTS_MAX} attempts met others"),
        ))
    }

    fn lose_touch(&self) {
        if self.is_current.swap(false, Ordering::AcqRel) {
            tracing::error!(
                target: "cloakroom",
                "the revocation list's store is out of reach: no sealed session is honoured until it is back"
            );
        }
    }
}

/// Notes revocations until the node is dropped. It owns what it notes: no caller can cancel what others wait for.
async fn keep_noting(node: Weak<Node>, mut waiting: mpsc::Receiver<Waiting>) {
    let segment_entries = node.upgrade().map_or(1, |node| node.replica.log.segment_entries());
    // A wish has two entries at most.
    let batch_max = (segment_entries / 2).max(1);
    let mut batch = Vec::with_capacity(batch_max);
    while waiting.recv_many(&mut batch, batch_max).await > 0 {
        let Some(node) = node.upgrade() else { return };
        let late = |_| Error::unavailable("the revocation list's store doesn't answer", "it took too long");
        let result = timeout(NOTING_TIMEOUT, node.note(&batch)).await.map_err(late).flatten();
        let result = result.map_err(Arc::new);
        for (number, Waiting { done, .. }) in batch.drain(..).enumerate() {
            // Whoever has gone doesn't ask.
            let _ = done.send(result.as_ref().map(|noted| noted[number]).map_err(Arc::clone));
        }
    }
}

/// Follows the list until the node is dropped: told of changes where the store can tell, by asking otherwise. A failure costs nothing at once: the list is current for as long as it is stated.
async fn keep_current(node: Weak<Node>) {
    let mut watch = node.upgrade().and_then(|node| node.replica.log.watch());
    let (mut current_to, mut failures) = (None, 0_u32);
    loop {
        let Some(node) = node.upgrade() else { return };
        let (asked, ListSettings { poll_period, stale_after, .. }) = (Instant::now(), node.settings.clone());
        let current_to_now = *current_to.get_or_insert(asked + stale_after);
        let patience = current_to_now.saturating_duration_since(asked);
        // Once it is stale, there is nothing left to be early for.
        let patience = if patience.is_zero() { stale_after } else { patience };
        let failure = match timeout(patience, node.refresh()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:?}")),
            Err(_) => Some("its store doesn't answer".to_owned()),
        };
        if let Some(failure) = failure {
            if failures == 0 {
                tracing::warn!(target: "cloakroom", "the revocation list couldn't be read: {failure}");
            }
            failures = failures.saturating_add(1);
        } else {
            (current_to, failures) = (Some(asked + stale_after), 0);
        }
        if current_to.is_none_or(|current_to| Instant::now() >= current_to) {
            node.lose_touch();
        }
        drop(node);
        let is_told = failures == 0 && watch.as_ref().is_some_and(Watch::is_live);
        // A store that tells of changes is asked as a check. One in trouble isn't asked as often.
        let pause = if is_told { stale_after / 8 } else { poll_period * (1 << failures.min(6)) };
        let pause = sleep(pause.min(stale_after / 4).max(poll_period));
        match &mut watch {
            Some(watch) => {
                tokio::select! {
                    () = pause => {}
                    () = watch.changed() => {}
                }
            }
            None => pause.await,
        }
    }
}
