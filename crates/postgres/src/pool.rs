//! Connections: so many and no more, and shared by calls.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use cloakroom::Error;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    connect::{CONNECT_MAX, Connector},
    failure::{Failure, Refusal},
    line::{Line, Taken},
};

/// Connections to one database. The clones are handles on them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    calls_max: u32,
}

/// Reads share few connections, which keep their order: a read waits for no disk. Writes wait for one, so each has a
/// connection to itself while there are enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    Read,
    Write,
}

struct Shared {
    connector: Arc<Connector>,
    /// One permit for each call that may be under way, answered to or not.
    permits: Semaphore,
    reads: Group,
    /// None: there is one connection.
    writes: Option<Group>,
}

struct Group {
    lines: Mutex<Vec<Arc<Line>>>,
    lines_max: usize,
    /// Calls on each line before another is opened.
    depth: usize,
    /// One permit for each line, for calls that don't share theirs.
    turns: Arc<Semaphore>,
    /// Held while a connection is opened: one at a time.
    opening: Arc<tokio::sync::Mutex<Failed>>,
}

/// The last attempt to connect, if it failed, and how many did so in a row.
#[derive(Default)]
struct Failed {
    last: Option<(Instant, Refusal)>,
    times: u32,
}

/// How long a call may go on before its connection is given up, and how long once nobody waits for it any more. Behind
/// what acknowledges bytes for a server that is gone, as poolers do, there is no other way to tell.
const CALL_MAX: Duration = Duration::from_secs(8);
const ABANDONED_MAX: Duration = Duration::from_secs(2);

/// Calls under way, for each connection: enough to keep all busy, and a bound on what piles up while a server hangs.
const CALLS_PER_LINE: usize = 32;
const READS_PER_LINE: usize = 8;

/// After a failed attempt to connect, others wait between half of this and all of it, doubled with each failure.
const PAUSE_MIN_MS: u64 = 20;
const PAUSE_MAX_MS: u64 = 1_000;

impl Pool {
    pub(crate) fn new(connector: Arc<Connector>, connections: usize) -> Self {
        let reads = connections.div_ceil(4);
        let writes = connections - reads;
        let calls_max = connections * CALLS_PER_LINE;
        let shared = Shared {
            connector,
            permits: Semaphore::new(calls_max),
            reads: Group::new(reads, READS_PER_LINE),
            writes: (writes > 0).then(|| Group::new(writes, 1)),
        };
        Self { shared: Arc::new(shared), calls_max: u32::try_from(calls_max).unwrap_or(u32::MAX) }
    }

    /// Connects for the first time, and finds out whether statements can be prepared.
    pub(crate) async fn open(&self) -> Result<(), Failure> {
        let line = self.shared.line(Use::Read).await?;
        Ok(self.shared.connector.examine(line.line()).await?)
    }

    /// How many connections reads share at most.
    pub(crate) fn readers(&self) -> usize {
        self.shared.reads.lines_max
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.shared.connector
    }

    /// Does this on a connection. Once begun, it goes on when nobody waits any more, so that what was sent is known to be
    /// answered, or its connection given up, before its place is free; until then, whoever stops waiting leaves no trace.
    pub(crate) async fn call<T, F>(
        &self,
        usage: Use,
        work: impl FnOnce(Arc<Line>) -> F + Send,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        shared.permits.acquire().await.map_err(|_| closed())?.forget();
        let permit = Permit(Arc::clone(&shared));
        let turn = shared.turn(usage).await?;
        let taken = shared.line(usage).await?;
        let line = Arc::clone(taken.line());
        let work = work(Arc::clone(&line));
        let future = Box::pin(async move {
            // The line is given back first, whatever happens: who has the turn next finds it free.
            let (_permit, turn, taken) = (permit, turn, taken);
            let result = timeout(CALL_MAX, work).await.unwrap_or_else(|_| Err(Refusal::late().into()));
            // Behind a pooler the next call could follow a failure too soon.
            let is_spoilt = |failure: &Failure| failure.is_fatal() || turn.is_some() && failure.is_refusal();
            if result.as_ref().is_err_and(is_spoilt) {
                taken.line().give_up();
            }
            drop(taken);
            result
        });
        Finishing { future: Some(future), line }.await.map_err(Error::from)
    }

    /// Waits for the calls under way, and closes the connections.
    pub(crate) async fn close(&self) {
        if let Ok(all) = self.shared.permits.acquire_many(self.calls_max).await {
            all.forget();
        }
        self.shared.permits.close();
        for group in self.shared.groups() {
            group.lines.lock().clear();
        }
    }
}

fn closed() -> Error {
    Error::unavailable("the PostgreSQL store is closed", "it was called after `close`")
}

/// A place among the calls under way.
struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.add_permits(1);
    }
}

/// A call that was sent. Dropped before its end, it goes on in a task of its own, for a while.
struct Finishing<F: Future<Output: Send> + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    line: Arc<Line>,
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finishing<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let poll = future.as_mut().poll(context);
        if poll.is_ready() {
            self.future = None;
        }
        poll
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finishing<F> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        let call = Abandoned { future, line: Arc::clone(&self.line), is_done: false };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { timeout(ABANDONED_MAX, call).await });
        }
    }
}

/// A call that nobody waits for. If it isn't done in its time, or its runtime is shut down, its line is given up before
/// its place on it is free.
struct Abandoned<F: Future> {
    future: Pin<Box<F>>,
    line: Arc<Line>,
    is_done: bool,
}

impl<F: Future> Future for Abandoned<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let poll = self.future.as_mut().poll(context);
        self.is_done = poll.is_ready();
        poll.map(drop)
    }
}

impl<F: Future> Drop for Abandoned<F> {
    fn drop(&mut self) {
        if !self.is_done {
            self.line.give_up();
        }
    }
}

impl Shared {
    fn groups(&self) -> impl Iterator<Item = &Group> {
        [&self.reads].into_iter().chain(&self.writes)
    }

    fn group(&self, usage: Use) -> &Group {
        match (usage, &self.writes) {
            (Use::Write, Some(writes)) => writes,
            _ => &self.reads,
        }
    }

    /// A call's turn, where calls have a line each.
    async fn turn(&self, usage: Use) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if self.connector.means().can_pipeline() {
            return Ok(None);
        }
        Arc::clone(&self.group(usage).turns).acquire_owned().await.map(Some).map_err(|_| closed())
    }

    async fn line(self: &Arc<Self>, usage: Use) -> Result<Taken, Failure> {
        let asked = Instant::now();
        loop {
            let group = self.group(usage);
            if let Some(taken) = self.take(usage) {
                return Ok(taken);
            }
            let failed = Arc::clone(&group.opening).lock_owned().await;
            if let Some(taken) = self.take(usage) {
                return Ok(taken);
            }
            // An attempt that failed while this call waited is an answer to it, too.
            match &failed.last {
                Some((at, refusal)) if *at > asked => return Err(refusal.clone().into()),
                _ => {}
            }
            let opening = tokio::spawn(Arc::clone(self).open(usage, failed));
            opening.await.unwrap_or_else(|_| Err(Refusal::stopped()))?;
        }
    }

    /// The line with the fewest calls, if there is one: with none, where calls have a line each and there are to be more
    /// lines. If it has many, another one is opened for those to come.
    fn take(self: &Arc<Self>, usage: Use) -> Option<Taken> {
        let (group, shares) = (self.group(usage), self.connector.means().can_pipeline());
        let (taken, lines) = {
            let mut lines = group.lines.lock();
            lines.retain(|line| line.is_usable());
            let least = lines.iter().min_by_key(|line| line.waiting());
            let may_be_shared = shares || lines.len() >= group.lines_max;
            (least.filter(|line| may_be_shared || line.waiting() == 0).map(Taken::of), lines.len())
        };
        let is_busy = taken.as_ref().is_some_and(|taken| taken.line().waiting() > group.depth);
        if is_busy
            && lines < group.lines_max
            && let Ok(failed) = Arc::clone(&group.opening).try_lock_owned()
        {
            tokio::spawn(Arc::clone(self).open(usage, failed));
        }
        taken
    }

    async fn open(self: Arc<Self>, usage: Use, mut failed: OwnedMutexGuard<Failed>) -> Result<(), Refusal> {
        if let Some((at, _)) = failed.last {
            let pause_ms = (PAUSE_MIN_MS << failed.times.min(10)).min(PAUSE_MAX_MS);
            // Spread over processes by the nanoseconds of when they come.
            let spread_ms = u64::from(at.elapsed().subsec_nanos()) % (pause_ms / 2 + 1);
            sleep_until(at + Duration::from_millis(pause_ms / 2 + spread_ms)).await;
        }
        let connected = timeout(CONNECT_MAX, self.connector.connect()).await;
        match connected.unwrap_or_else(|_| Err(Refusal::late())) {
            Ok(line) => {
                *failed = Failed::default();
                if self.permits.is_closed() {
                    return Err(Refusal::stopped());
                }
                self.group(usage).lines.lock().push(Arc::new(line));
                Ok(())
            }
            Err(refusal) => {
                failed.last = Some((Instant::now(), refusal.clone()));
                failed.times += 1;
                Err(refusal)
            }
        }
    }
}

impl Group {
    fn new(lines_max: usize, depth: usize) -> Self {
        let turns = Arc::new(Semaphore::new(lines_max));
        Self { lines: Mutex::default(), lines_max, depth, turns, opening: Arc::default() }
    }
}
