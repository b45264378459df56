//! The way to the engine: one connection that all calls share, and that is dialed again when it is of no use.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    address::{Address, Endpoint, Servers},
    cluster::Nodes,
    failure::Failure,
    renewal::{self, Waiting, pause},
    scripts::{Call, Lua},
    wire::{Dialed, Wire},
};

/// Calls that are under way at most; beyond that, callers wait for their turn.
const CALLS_MAX: u32 = 2_048;

/// How often a call is tried that the engine refuses for the moment. It ends at its deadline in any case.
const TRIES_MAX: u32 = 12;

/// Pauses between tries: doubled each time, up to the second of the two, and then a random part of it.
const TRY_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

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
pub(crate) struct Inner {
    pub(crate) address: Address,
    pub(crate) status: watch::Sender<Status>,
    room: Semaphore,
    opened: Instant,
    /// When the first of the questions was asked that nothing was answered since; in milliseconds since `opened`, zero if
    /// there is none.
    pub(crate) silent_since_ms: AtomicU64,
    reconnections: AtomicU64,
    failovers: AtomicU64,
    /// As they were when the present connection was made.
    nodes: Mutex<Nodes>,
}

#[derive(Default)]
pub(crate) struct Status {
    /// Which connection it is, counted from the first.
    generation: u64,
    pub(crate) wire: Option<Wire>,
    pub(crate) is_dialing: bool,
    /// Why there is no connection.
    pub(crate) failure: Option<Failure>,
    pub(crate) is_closed: bool,
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
            nodes: Mutex::default(),
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
        matches!(self.0.address.servers, Servers::Cluster(_))
    }

    /// The masters, as far as they are known: of a cluster, or the one that the sentinels name.
    pub(crate) fn masters(&self) -> BTreeSet<Endpoint> {
        self.0.known().0
    }

    /// Runs a script: by its hash, and by its text on a server that doesn't know it, such as one that was restarted.
    pub(crate) async fn script(&self, lua: &Lua, call: &Call<'_>) -> Result<Answer, Failure> {
        let mut lost = None;
        let asked = match self.asked(&lua.by_hash(call), &mut lost).await {
            Err(failure) if failure.is_no_script() => self.asked(&lua.by_text(call), &mut lost).await,
            asked => asked,
        };
        Answer::of(asked, lost)
    }

    /// Asks the engine. What it refuses for the moment is asked again, until the deadline; what was lost with its
    /// connection, once more.
    pub(crate) async fn call(&self, command: &Cmd) -> Result<Answer, Failure> {
        let mut lost = None;
        let asked = self.asked(command, &mut lost).await;
        Answer::of(asked, lost)
    }

    /// Puts into `lost` why an earlier try may have been made, whose answer didn't come.
    async fn asked(&self, command: &Cmd, lost: &mut Option<Failure>) -> Result<Value, Failure> {
        let (time, is_cluster) = (self.0.address.timeout, self.is_cluster());
        let deadline = Instant::now() + time;
        let late = |_| Failure::Late(time);
        let _room =
            timeout_at(deadline, self.0.room.acquire()).await.map_err(late)?.map_err(|_| Failure::Closed)?;
        for attempt in 1..=TRIES_MAX {
            let (generation, mut wire) = timeout_at(deadline, self.0.wire()).await.map_err(late)??;
            let waiting = Waiting::on(&self.0, generation, is_cluster);
            let sent = timeout_at(deadline, wire.send(command)).await.map_err(late)?;
            // The client of a cluster has a limit of its own, which may come a moment before ours.
            match &sent.result {
                Err(error) if error.is_timeout() => drop(waiting),
                _ => waiting.answered(),
            }
            if sent.is_redirected {
                self.0.renew(generation, true);
            }
            let failure = match sent.result {
                Ok(value) => return Ok(value),
                Err(error) => Failure::from(error),
            };
            if failure.is_lost() || failure.is_read_only() || failure.is_changing_hands() {
                // Of a cluster the other nodes go on answering.
                self.0.renew(generation, is_cluster);
            }
            let is_first = lost.is_none();
            if failure.is_in_doubt() && is_first {
                *lost = Some(failure.clone());
            }
            if failure.is_lost() && is_first {
                continue;
            }
            if !failure.is_momentary() || attempt == TRIES_MAX {
                return Err(failure);
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

impl Answer {
    fn of(asked: Result<Value, Failure>, lost: Option<Failure>) -> Result<Self, Failure> {
        match asked {
            Ok(value) => Ok(Self { value, lost }),
            Err(failure) => Err(lost.unwrap_or(failure)),
        }
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

    /// Sees to it, in the background, that this connection is replaced if it is of no use any more. It is used until then if
    /// `keeps_old`: who calls for other reasons than that it broke may be wrong.
    pub(crate) fn renew(self: &Arc<Self>, generation: u64, keeps_old: bool) {
        // Outside of it there is nobody to dial, and nobody who calls.
        let Ok(runtime) = Handle::try_current() else { return };
        let is_begun = self.status.send_if_modified(|status| {
            if status.generation != generation || status.is_closed {
                return false;
            }
            let is_first = !status.is_dialing;
            if is_first {
                (status.is_dialing, status.failure) = (true, None);
            }
            if !keeps_old {
                status.wire = None;
            }
            is_first
        });
        if is_begun {
            runtime.spawn(renewal::run(Arc::downgrade(self)));
        }
    }

    pub(crate) fn connected(&self, dialed: Dialed) {
        let is_first = self.status.borrow().generation == 0;
        if !is_first {
            self.reconnections.fetch_add(1, Ordering::Relaxed);
        }
        let masters = dialed.nodes.masters.clone();
        let before = std::mem::replace(&mut *self.nodes(), dialed.nodes);
        let failovers = Nodes::failovers_since(&before.masters, &masters);
        if failovers > 0 {
            self.failovers.fetch_add(failovers as u64, Ordering::Relaxed);
            let masters: Vec<_> = masters.difference(&before.masters).map(Endpoint::to_string).collect();
            tracing::warn!(?masters, "a failover: others are masters now; the last changes may be lost");
        }
        self.silent_since_ms.store(0, Ordering::Relaxed);
        self.status.send_modify(|status| {
            let (generation, is_closed) = (status.generation + 1, status.is_closed);
            let wire = (!is_closed).then_some(dialed.wire);
            *status = Status { generation, wire, is_closed, ..Status::default() };
        });
    }

    /// The masters, and all nodes that are known, as they were when the present connection was made.
    pub(crate) fn known(&self) -> (BTreeSet<Endpoint>, BTreeSet<Endpoint>) {
        let nodes = self.nodes();
        (nodes.masters.clone(), nodes.all.clone())
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        // Zero has a meaning of its own.
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
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
