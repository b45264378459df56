//! When a connection is replaced, and by what.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::future;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    address::{Endpoint, Servers},
    cluster::Nodes,
    failure::Failure,
    link::Inner,
    wire::{Dialed, Wire},
};

/// Pauses between dials, and between looks at a cluster: doubled each time, up to the second of the two, and then a random
/// part of it.
const DIAL_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
const LOOK_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// A connection on which nothing was answered for so long, though something was asked, is looked at: its server may be gone
/// without having closed it.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// In a cluster the other nodes go on answering; so a call that waited for this long is enough.
const NODE_SILENCE_MAX: Duration = Duration::from_millis(250);

/// How long a connection that is looked at may take to answer.
const SIGN_OF_LIFE_MAX: Duration = Duration::from_millis(250);

/// What came of a look at a connection.
enum Renewal {
    /// There is another one.
    By(Dialed),
    /// It answers: there was no need.
    Kept,
    /// A master of the cluster is silent, and no other node has taken its place yet.
    NotYet,
}

/// Looks at the connection, and dials until there is one that is of use, or nobody needs one any more.
pub(crate) async fn run(link: Weak<Inner>) {
    for attempt in 1.. {
        let Some(inner) = link.upgrade() else { return };
        if inner.status.borrow().is_closed {
            return;
        }
        let pauses = match inner.renewal().await {
            Ok(Renewal::By(dialed)) => return inner.connected(dialed),
            Ok(Renewal::Kept) => {
                sleep(LOOK_PAUSES.0).await;
                if inner.is_kept() {
                    return;
                }
                continue;
            }
            Ok(Renewal::NotYet) => LOOK_PAUSES,
            Err(failure) => {
                tracing::debug!(?failure, "no connection yet");
                inner.status.send_modify(|status| status.failure = Some(failure));
                DIAL_PAUSES
            }
        };
        drop(inner);
        sleep(pause(pauses, attempt)).await;
    }
}

impl Inner {
    async fn renewal(&self) -> Result<Renewal, Failure> {
        let old = self.status.borrow().wire.clone();
        let Servers::Cluster(urls) = &self.address.servers else {
            if let Some(mut wire) = old {
                if answers(&mut wire, None).await {
                    return Ok(Renewal::Kept);
                }
                self.status.send_modify(|status| status.wire = None);
            }
            return Dialed::to(&self.address).await.map(Renewal::By);
        };
        let (masters, known) = self.known();
        let nodes = Nodes::ask(&self.address, &urls.iter().cloned().chain(known).collect()).await?;
        if let Some(wire) = old.filter(|_| nodes.masters == masters) {
            if !nodes.masters.is_subset(&nodes.awake) {
                return Ok(Renewal::NotYet);
            }
            if all_answer(&wire, &masters).await {
                return Ok(Renewal::Kept);
            }
        }
        Dialed::to_cluster(&self.address, nodes).await.map(Renewal::By)
    }

    /// False: it was given up meanwhile.
    fn is_kept(&self) -> bool {
        self.silent_since_ms.store(0, Ordering::Relaxed);
        let mut is_kept = false;
        self.status.send_modify(|status| {
            is_kept = status.wire.is_some();
            status.is_dialing = !is_kept;
        });
        is_kept
    }
}

async fn all_answer(wire: &Wire, nodes: &BTreeSet<Endpoint>) -> bool {
    let answers = nodes.iter().map(async |node| answers(&mut wire.clone(), Some(node)).await);
    future::join_all(answers).await.into_iter().all(|answers| answers)
}

async fn answers(wire: &mut Wire, node: Option<&Endpoint>) -> bool {
    let ping = redis::cmd("PING");
    matches!(timeout(SIGN_OF_LIFE_MAX, wire.send_to(&ping, node)).await, Ok(Ok(_)))
}

/// Between half of it and all of it, so that many clients don't come at once.
pub(crate) fn pause((least, most): (Duration, Duration), attempt: u32) -> Duration {
    let whole = least.saturating_mul(1 << attempt.min(16)).min(most);
    // Without randomness the pause is only less well spread.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    whole / 2 + whole.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// A question that was asked. Dropped before it is answered, because its time is up or its caller has gone, it sees to it
/// that a connection is looked at from which nothing comes.
pub(crate) struct Waiting<'a> {
    link: &'a Arc<Inner>,
    generation: u64,
    is_cluster: bool,
    begun: Instant,
    is_answered: bool,
}

impl<'a> Waiting<'a> {
    pub(crate) fn on(link: &'a Arc<Inner>, generation: u64, is_cluster: bool) -> Self {
        if link.silent_since_ms.load(Ordering::Relaxed) == 0 {
            link.silent_since_ms.store(link.elapsed_ms(), Ordering::Relaxed);
        }
        Self { link, generation, is_cluster, begun: Instant::now(), is_answered: false }
    }

    pub(crate) fn answered(mut self) {
        self.is_answered = true;
        self.link.silent_since_ms.store(0, Ordering::Relaxed);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let since_ms = self.link.silent_since_ms.load(Ordering::Relaxed);
        let silent = Duration::from_millis(self.link.elapsed_ms().saturating_sub(since_ms));
        let is_silent = if self.is_cluster {
            self.begun.elapsed() >= NODE_SILENCE_MAX
        } else {
            since_ms != 0 && silent >= SILENCE_MAX
        };
        if is_silent {
            self.link.renew(self.generation, true);
        }
    }
}
