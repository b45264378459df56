//! One node's copy of the revocation list: kept up to date in the background, asked without waiting.

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
    store::{Answer, Store},
};
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Mutex as Turn, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::{
    list::{Entry, List, Presented},
    log::{Head, Log},
};

/// How a node keeps its copy of the revocation list.
#[derive(Clone, Copy, Debug)]
pub struct Revocations {
    /// How often the list is asked for what was added; 25 milliseconds by default. A revocation takes effect on every
    /// node within this time and the store's own.
    pub poll_period: Duration,
    /// How long a node may be out of touch with the list before it answers 503; 2 seconds by default.
    pub stale_after: Duration,
    /// How many revocations are held, 100,000 by default, about 150 bytes each. When there are more, every session
    /// that began before the later half of them is ended: too many, never too few.
    pub entries_max: usize,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            poll_period: Duration::from_millis(25),
            stale_after: Duration::from_secs(2),
            entries_max: 100_000,
        }
    }
}

/// The list, and the store it is in.
pub(crate) struct Node {
    log: Log,
    clock: Box<dyn Clock>,
    settings: Revocations,
    list: RwLock<List>,
    /// When the list was last known to be up to date, in milliseconds.
    contact_ms: AtomicU64,
    is_current: AtomicBool,
    seen: Turn<Seen>,
    waiting: Mutex<Vec<Waiting>>,
    writing: Turn<()>,
}

/// How much of the log is in memory.
#[derive(Clone, Debug, Default)]
struct Seen {
    list: u64,
    number: u32,
    entries: usize,
    /// What each archived segment's last entry is about, oldest first: when it was noted, and until when it counts.
    archived: Vec<(u32, Timestamp, Timestamp)>,
}

/// Something to be revoked.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Session { id: SessionId, least: Option<u32>, from: Timestamp, until: Timestamp },
    Subject { subject: Subject, except: Option<SessionId>, at: Timestamp, until: Timestamp },
}

struct Waiting {
    wish: Wish,
    done: oneshot::Sender<bool>,
}

/// How often an append is tried anew after another node's.
const ATTEMPTS_MAX: u32 = 64;

impl Node {
    /// Loads the list, or begins it, and keeps it up to date from then on.
    pub(crate) async fn start(
        log: Log,
        settings: Revocations,
        clock: Box<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let node = Arc::new(Self {
            log,
            clock,
            settings,
            list: RwLock::default(),
            contact_ms: AtomicU64::new(0),
            is_current: AtomicBool::new(false),
            seen: Turn::default(),
            waiting: Mutex::default(),
            writing: Turn::default(),
        });
        let late = |_| Error::unavailable("the revocation list's store doesn't answer", "it took too long");
        timeout(settings.stale_after, node.poll()).await.map_err(late)??;
        tokio::spawn(keep_current(Arc::downgrade(&node)));
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
        self.list.read().honour(session, now)
    }

    pub(crate) fn last_revocation(&self, subject: &Subject) -> Option<(Timestamp, Option<SessionId>)> {
        self.list.read().last_revocation(subject)
    }

    /// The stamp of a session that begins.
    pub(crate) fn stamp(&self, subject: Option<&Subject>) -> Stamp {
        let list = self.list.read();
        Stamp { generation: 0, epoch: subject.map_or(0, |subject| list.epoch(subject)), list: list.id }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.log.store()
    }

    pub(crate) fn close(&self) -> Answer<'_, ()> {
        self.log.close()
    }

    /// Notes a revocation in the store, and holds it from then on. Those that wait at the same time are noted together.
    pub(crate) async fn revoke(&self, wish: Wish) -> Result<(), Error> {
        let (done, mut answer) = oneshot::channel();
        self.waiting.lock().push(Waiting { wish, done });
        let _turn = self.writing.lock().await;
        match answer.try_recv() {
            Ok(true) => return Ok(()),
            Ok(false) => {
                return Err(Error::unavailable(
                    "the revocation couldn't be noted",
                    "one noted together with it failed",
                ));
            }
            Err(_) => {}
        }
        let together = std::mem::take(&mut *self.waiting.lock());
        let result = self.write(&together).await;
        for waiting in together {
            // Whoever has gone doesn't ask.
            let _ = waiting.done.send(result.is_ok());
        }
        result
    }

    async fn write(&self, together: &[Waiting]) -> Result<(), Error> {
        for attempt in 0..ATTEMPTS_MAX {
            let now = self.clock.now();
            let head = match self.log.head(now).await? {
                Some(head) => head,
                None => self.log.begin(now).await?,
            };
            // What an entry says depends on the entries before it.
            self.catch_up(&head, now).await?;
            let entries = self.entries(together, now)?;
            let first = self.first(now).await;
            if let Some(head) = self.log.append(&head, &entries, first, now).await? {
                return self.catch_up(&head, now).await;
            }
            let bound_us = 500_u64 << attempt.min(6);
            sleep(Duration::from_micros(self.log.random()? % bound_us)).await;
        }
        Err(Error::unavailable(
            "the revocation list is changed by too many nodes at once",
            format!("{ATTEMPTS_MAX} attempts met others"),
        ))
    }

    fn entries(&self, together: &[Waiting], now: Timestamp) -> Result<Vec<Entry>, Error> {
        let list = self.list.read();
        let mut entries = Vec::with_capacity(together.len() + 1);
        if list.len() + together.len() > self.settings.entries_max {
            tracing::warn!(target: "cloakroom", "the revocation list is full: older sessions are ended to make room");
            entries.push(list.coarser(now));
        }
        for Waiting { wish, .. } in together {
            entries.push(match wish {
                Wish::Session { id, least, from, until } => Entry::Session {
                    id: *id.as_bytes(),
                    least: *least,
                    from: from.as_millis(),
                    at: now.as_millis(),
                    until: until.as_millis(),
                },
                Wish::Subject { subject, except, at, until } => Entry::Subject {
                    name: subject.to_string(),
                    epoch: self.log.random()?.max(1),
                    except: except.map(|id| list.except(subject, id)),
                    at: at.as_millis(),
                    until: until.as_millis(),
                },
            });
        }
        Ok(entries)
    }

    /// The first archived segment that has an entry of any account.
    async fn first(&self, now: Timestamp) -> u32 {
        let mut seen = self.seen.lock().await;
        let list = self.list.read();
        seen.archived.retain(|(_, at, until)| *until > now && list.counts(*at));
        seen.archived.first().map_or(seen.number, |(number, ..)| *number)
    }

    /// Asks for what was added.
    async fn poll(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let head = match self.log.head(now).await? {
            Some(head) => head,
            None => self.log.begin(now).await?,
        };
        self.catch_up(&head, now).await?;
        self.contact_ms.store(now.as_millis(), Ordering::Release);
        self.is_current.store(true, Ordering::Release);
        self.log.keep(&head, now).await
    }

    /// Takes in what a head adds to what was seen, in the log's order. An older head than was seen adds nothing.
    async fn catch_up(&self, head: &Head, now: Timestamp) -> Result<(), Error> {
        let segment = &head.segment;
        let mut seen = self.seen.lock().await;
        if seen.list != segment.list {
            let list = self.list.read().id;
            if list != 0 {
                tracing::error!(target: "cloakroom", "the revocation list was lost: every sealed session has ended");
            }
            return self.load(&mut seen, head, now).await;
        }
        if segment.number > seen.number {
            for number in seen.number..segment.number {
                let skip = if number == seen.number { seen.entries } else { 0 };
                self.take_archived(&mut seen, number, skip, now).await?;
            }
            (seen.number, seen.entries) = (segment.number, 0);
        }
        if segment.number == seen.number && segment.entries.len() > seen.entries {
            let mut list = self.list.write();
            list.apply_from(&segment.entries, seen.entries, segment.number);
            list.expire(now);
            seen.entries = segment.entries.len();
        }
        Ok(())
    }

    async fn take_archived(
        &self,
        seen: &mut Seen,
        number: u32,
        skip: usize,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(segment) = self.log.archived(seen.list, number, now).await? else { return Ok(()) };
        let mut list = self.list.write();
        list.apply_from(&segment.entries, skip, number);
        seen.note(&segment.entries, number);
        Ok(())
    }

    /// Loads a whole list in the place of another, or of none.
    async fn load(&self, seen: &mut Seen, head: &Head, now: Timestamp) -> Result<(), Error> {
        let segment = &head.segment;
        let mut list = List::new(segment.list);
        let mut loaded = Seen { list: segment.list, number: segment.number, ..Seen::default() };
        for number in segment.first..segment.number {
            if let Some(archived) = self.log.archived(segment.list, number, now).await? {
                list.apply_from(&archived.entries, 0, number);
                loaded.note(&archived.entries, number);
            }
        }
        list.apply_from(&segment.entries, 0, segment.number);
        loaded.entries = segment.entries.len();
        list.expire(now);
        *self.list.write() = list;
        *seen = loaded;
        Ok(())
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

impl Seen {
    fn note(&mut self, entries: &[Entry], number: u32) {
        let at = entries.iter().map(Entry::at).max().unwrap_or(Timestamp::ZERO);
        let until = entries.iter().map(Entry::until).max().unwrap_or(Timestamp::ZERO);
        self.archived.retain(|(known, ..)| *known != number);
        self.archived.push((number, at, until));
    }
}

/// Polls until the node is dropped. A failure costs nothing at once: the list is current for as long as it is stated.
async fn keep_current(node: Weak<Node>) {
    let mut current_to = None;
    loop {
        let Some(node) = node.upgrade() else { return };
        let (asked, stale_after) = (Instant::now(), node.settings.stale_after);
        let current_to_now = *current_to.get_or_insert(asked + stale_after);
        let patience = current_to_now.saturating_duration_since(asked);
        // Once it is stale, there is nothing left to be early for.
        let patience = if patience.is_zero() { stale_after } else { patience };
        match timeout(patience, node.poll()).await {
            Ok(Ok(())) => current_to = Some(asked + stale_after),
            Ok(Err(error)) => {
                tracing::warn!(target: "cloakroom", "the revocation list couldn't be read: {error:?}");
            }
            Err(_) => tracing::warn!(target: "cloakroom", "the revocation list's store doesn't answer"),
        }
        if current_to.is_none_or(|current_to| Instant::now() >= current_to) {
            node.lose_touch();
        }
        let pause = node.settings.poll_period;
        drop(node);
        sleep(pause).await;
    }
}
