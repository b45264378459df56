//! The way to the engine: one connection that all calls share, and that is dialed again when it is of no use.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    address::{Address, Endpoint},
    failure::Failure,
    scripts::{Call, Lua},
    wire::{Dialed, Wire},
};

/// Calls that are under way at most; beyond that, callers wait for their turn.
const CALLS_MAX: u32 = 2_048;

/// How often a call is tried that the engine refuses for the moment. It ends at its deadline in any case.
const TRIES_MAX: u32 = 12;

/// Pauses between tries, and between dials: doubled each time, up to the second of the two, and then a random part of it.
const TRY_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
const DIAL_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection on which nothing was answered for so long, though something was asked, is given up: its server may be gone
/// without having closed it.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// In a cluster the other nodes go on answering; so a call that waited for this long is enough to look at it anew.
const NODE_SILENCE_MAX: Duration = Duration::from_millis(250);

/// What happened to the way to the engine since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections that were made in place of one that was lost, or that nothing came from any more.
    pub reconnections: u64,
    /// How often another server had become the master. Each time, changes that hadn't reached it were lost: those of the
    /// last moments before.
    pub failovers: u64,
}

/// Shared by all that call.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: Address,
    status: watch::Sender<Status>,
    room: Semaphore,
    opened: Instant,
    /// When the first of the questions was asked that nothing was answered since; in milliseconds since `opened`, zero if
    /// there is none.
    silent_since_ms: AtomicU64,
    reconnections: AtomicU64,
    failovers: AtomicU64,
    master: Mutex<Option<Endpoint>>,
}

#[derive(Default)]
struct Status {
    /// Which connection it is, counted from the first.
    generation: u64,
    wire: Option<Wire>,
    is_dialing: bool,
    since: Option<Instant>,
    /// Why there is no connection.
    failure: Option<Failure>,
    is_closed: bool,
}

/// What the engine answered.
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// The call was made before, and that answer was lost: this one may be to what the first one left.
    pub(crate) lost: Option<Failure>,
}

impl Link {
    pub(crate) async fn open(address: Address) -> Result<Self, Failure> {
        let dialed = Dialed::to(&address).await?;
        let link = Self(Arc::new(Inner {
            address,
            status: watch::Sender::new(Status::default()),
            room: Semaphore::new(CALLS_MAX as usize),
            opened: Instant::now(),
            silent_since_ms: AtomicU64::new(0),
            reconnections: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            master: Mutex::new(None),
        }));
        link.0.connected(dialed);
        Ok(link)
    }

    pub(crate) fn address(&self) -> &Address {
        &self.0.address
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen {
            reconnections: self.0.reconnections.load(Ordering::Relaxed),
            failovers: self.0.failovers.load(Ordering::Relaxed),
        }
    }

    /// Whether sessions and the index may lie on different servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.0.status.borrow().wire.as_ref().is_some_and(Wire::is_cluster)
            || matches!(self.0.address.servers, crate::address::Servers::Cluster(_))
    }

    /// Runs a script: by its hash, and by its text on a server that doesn't know it, such as one that was restarted.
    pub(crate) async fn script(&self, lua: &Lua, call: &Call<'_>) -> Result<Answer, Failure> {
        match self.call(&lua.by_hash(call)).await {
            Err(failure) if failure.is_no_script() => self.call(&lua.by_text(call)).await,
            answer => answer,
        }
    }

    /// Asks the engine. What it refuses for the moment is asked again, until the deadline; what was lost with its
    /// connection, once more.
    pub(crate) async fn call(&self, command: &Cmd) -> Result<Answer, Failure> {
        let time = self.0.address.timeout;
        let deadline = Instant::now() + time;
        let late = |_| Failure::Late(time);
        let _room =
            timeout_at(deadline, self.0.room.acquire()).await.map_err(late)?.map_err(|_| Failure::Closed)?;
        let mut lost = None;
        for attempt in 1.. {
            let (generation, mut wire) = timeout_at(deadline, self.0.wire()).await.map_err(late)??;
            let waiting = Waiting::on(&self.0, generation, wire.is_cluster());
            let sent = timeout_at(deadline, wire.send(command)).await.map_err(late)?;
            waiting.answered();
            let failure = match sent {
                Ok(value) => return Ok(Answer { value, lost }),
                Err(error) => Failure::from(error),
            };
            if failure.is_lost() && lost.is_none() {
                self.0.renew(generation, false);
                lost = Some(failure);
                continue;
            }
            if failure.is_lost() || failure.is_read_only() {
                self.0.renew(generation, false);
            }
            if !failure.is_momentary() || attempt == TRIES_MAX {
                return Err(lost.unwrap_or(failure));
            }
            let pause = sleep(pause(TRY_PAUSES, attempt));
            timeout_at(deadline, pause).await.map_err(|_| failure)?;
        }
        Err(Failure::Late(time))
    }

    /// Asks this node of a cluster, or any; or the one server there is. For diagnosis: it is asked once.
    pub(crate) async fn ask(&self, command: &Cmd, node: Option<&Endpoint>) -> Result<Value, Failure> {
        let time = self.0.address.timeout;
        let (_, mut wire) = self.0.wire().await?;
        let asked = timeout(time, wire.send_to(command, node)).await;
        Ok(asked.map_err(|_| Failure::Late(time))??)
    }

    /// Lets calls that are under way finish, as long as they may take, and no others begin.
    pub(crate) async fn close(&self) {
        let all = timeout(self.0.address.timeout, self.0.room.acquire_many(CALLS_MAX)).await;
        self.0.room.close();
        drop(all);
        self.0.status.send_modify(|status| {
            status.is_closed = true;
            status.wire = None;
        });
    }
}

impl Inner {
    /// The connection, once there is one. While there is none to be had, this fails at once rather than let every request
    /// wait for its deadline.
    async fn wire(&self) -> Result<(u64, Wire), Failure> {
        let ready = |status: &Status| {
            if status.is_closed {
                return Some(Err(Failure::Closed));
            }
            match (&status.wire, &status.failure) {
                (Some(wire), _) => Some(Ok((status.generation, wire.clone()))),
                (None, Some(failure)) => Some(Err(failure.clone())),
                (None, None) => None,
            }
        };
        if let Some(now) = ready(&self.status.borrow()) {
            return now;
        }
        let mut status = self.status.subscribe();
        let status = status.wait_for(|status| ready(status).is_some()).await;
        status.ok().and_then(|status| ready(&status)).unwrap_or(Err(Failure::Closed))
    }

    /// Dials anew in place of this connection, in the background, unless that was done already. The old one is used until
    /// then if `keeps_old`.
    fn renew(self: &Arc<Self>, generation: u64, keeps_old: bool) {
        let is_begun = self.status.send_if_modified(|status| {
            if status.generation != generation || status.is_closed {
                return false;
            }
            let is_first = !status.is_dialing;
            (status.is_dialing, status.failure) = (true, None);
            if !keeps_old {
                status.wire = None;
            }
            is_first
        });
        if is_begun {
            tokio::spawn(dial(Arc::downgrade(self)));
        }
    }

    fn connected(&self, dialed: Dialed) {
        let is_first = self.status.borrow().generation == 0;
        if !is_first {
            self.reconnections.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(master) = dialed.master {
            let before = self.master.lock().unwrap_or_else(PoisonError::into_inner).replace(master.clone());
            if before.is_some_and(|before| before != master) {
                self.failovers.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%master, "a failover: another server is the master; its last changes may be lost");
            }
        }
        self.silent_since_ms.store(0, Ordering::Relaxed);
        self.status.send_modify(|status| {
            let generation = status.generation + 1;
            let is_closed = status.is_closed;
            let wire = (!is_closed).then_some(dialed.wire);
            *status =
                Status { generation, wire, is_closed, since: Some(Instant::now()), ..Status::default() };
        });
    }

    fn elapsed_ms(&self) -> u64 {
        // Zero has a meaning of its own.
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// Dials until there is a connection, or nobody needs one any more.
async fn dial(link: Weak<Inner>) {
    for attempt in 1.. {
        let Some(inner) = link.upgrade() else { return };
        if inner.status.borrow().is_closed {
            return;
        }
        match Dialed::to(&inner.address).await {
            Ok(dialed) => return inner.connected(dialed),
            Err(failure) => {
                tracing::debug!(?failure, "no connection yet");
                inner.status.send_modify(|status| status.failure = Some(failure));
            }
        }
        drop(inner);
        sleep(pause(DIAL_PAUSES, attempt)).await;
    }
}

/// Between half of it and all of it, so that many clients don't come at once.
fn pause((least, most): (Duration, Duration), attempt: u32) -> Duration {
    let whole = least.saturating_mul(1 << attempt.min(16)).min(most);
    // Without randomness the pause is only less well spread.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    whole / 2 + whole.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// A question that was asked. Dropped before it is answered, because its time is up or its caller has gone, it sees to it
/// that a connection from which nothing comes is given up.
struct Waiting<'a> {
    link: &'a Arc<Inner>,
    generation: u64,
    is_cluster: bool,
    begun: Instant,
    is_answered: bool,
}

impl<'a> Waiting<'a> {
    fn on(link: &'a Arc<Inner>, generation: u64, is_cluster: bool) -> Self {
        if link.silent_since_ms.load(Ordering::Relaxed) == 0 {
            link.silent_since_ms.store(link.elapsed_ms(), Ordering::Relaxed);
        }
        Self { link, generation, is_cluster, begun: Instant::now(), is_answered: false }
    }

    fn answered(mut self) {
        self.is_answered = true;
        self.link.silent_since_ms.store(0, Ordering::Relaxed);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if self.is_cluster {
            let since = self.link.status.borrow().since;
            let is_old = since.is_none_or(|since| since.elapsed() >= SILENCE_MAX);
            if is_old && self.begun.elapsed() >= NODE_SILENCE_MAX {
                self.link.renew(self.generation, true);
            }
            return;
        }
        let since_ms = self.link.silent_since_ms.load(Ordering::Relaxed);
        let silent = Duration::from_millis(self.link.elapsed_ms().saturating_sub(since_ms));
        if since_ms != 0 && silent >= SILENCE_MAX {
            self.link.renew(self.generation, false);
        }
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status")
            .field("generation", &self.generation)
            .field("is_connected", &self.wire.is_some())
            .finish_non_exhaustive()
    }
}
