//! Connections: so many and no more, and each used by one call until its answer was read.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use cloakroom::Error;
use mysql_async::{Conn, Opts, prelude::Queryable as _};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::failure::Failure;

/// Connections to one server. The clones are handles on them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    connections: u32,
}

struct Shared {
    options: Opts,
    /// One permit for each connection that may be in use.
    permits: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<Kept>,
    /// Rises when a connection breaks: those made before it are likely to be broken too, and aren't used again.
    generation: u64,
    /// When the last attempt to connect failed, and how often that happened in a row.
    failed: Option<(Instant, u32)>,
}

/// A connection between two calls.
struct Kept {
    connection: Conn,
    made: Instant,
    since: Instant,
}

/// A connection in use.
struct Used {
    connection: Conn,
    made: Instant,
    generation: u64,
    /// It was used before, so that it may have been closed since.
    is_pooled: bool,
}

/// How long a call may go on before its connection is given up, and how long once nobody waits for it any more.
const CALL_MAX: Duration = Duration::from_secs(8);
const ABANDONED_MAX: Duration = Duration::from_secs(2);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Servers, and what lies before them, close connections that nobody uses, and say nothing: these are closed first.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A server that was made a replica goes on answering readings. Connections this old are made anew, to where the name leads
/// by then; and one to a replica isn't made.
const AGE_MAX: Duration = Duration::from_secs(60);

/// After a failed attempt to connect, others wait between half of this and all of it, doubled with each failure.
const PAUSE_MIN_MS: u64 = 20;
const PAUSE_MAX_MS: u64 = 1_000;

/// What a call does with its connection.
pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Tells that nobody waits for a call any more: its other half was dropped.
type Gone = watch::Receiver<()>;

impl Pool {
    pub(crate) fn new(options: Opts, connections: u32) -> Self {
        let permits = Arc::new(Semaphore::new(connections as usize));
        Self { shared: Arc::new(Shared { options, permits, idle: Mutex::default() }), connections }
    }

    /// How many there are at most.
    pub(crate) fn connections(&self) -> usize {
        self.connections as usize
    }

    /// Makes a change. Whoever stops waiting doesn't stop it: it goes on in a task of its own, so that its answer is read
    /// by nobody else.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Conn) -> Work<'a, T> + Send + 'static,
    ) -> Result<T, Error> {
        let call = |shared: Arc<Shared>, mut gone| async move {
            let used = shared.connection().await?;
            shared.call(used, CALL_MAX, &mut gone, work).await
        };
        self.spawned(call).await.map_err(Error::from)
    }

    /// Reads: once more on a new connection, if that one broke which had been used before.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl for<'a> Fn(&'a mut Conn) -> Work<'a, T> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let call = |shared: Arc<Shared>, mut gone| async move {
            let used = shared.connection().await?;
            let is_pooled = used.is_pooled;
            match shared.call(used, CALL_MAX, &mut gone, &work).await {
                Err(failure) if failure.is_broken() && is_pooled => {
                    let used = shared.connection().await?;
                    shared.call(used, CALL_MAX, &mut gone, &work).await
                }
                result => result,
            }
        };
        self.spawned(call).await.map_err(Error::from)
    }

    /// Does what a program begins with, which may take this long.
    pub(crate) async fn prepare<T: Send + 'static>(
        &self,
        max: Duration,
        work: impl for<'a> FnOnce(&'a mut Conn) -> Work<'a, T> + Send + 'static,
    ) -> Result<T, Error> {
        let call = |shared: Arc<Shared>, mut gone| async move {
            let used = shared.connection().await?;
            shared.call(used, max, &mut gone, work).await
        };
        self.spawned(call).await.map_err(Failure::into_opening_error)
    }

    async fn spawned<T, F>(&self, call: impl FnOnce(Arc<Shared>, Gone) -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let permit = Arc::clone(&self.shared.permits).acquire_owned().await.map_err(|_| closed())?;
        let (waiting, gone) = watch::channel(());
        let call = call(Arc::clone(&self.shared), gone);
        let task = tokio::spawn(async move {
            let result = call.await;
            drop(permit);
            result
        });
        let result = task.await;
        drop(waiting);
        result.unwrap_or_else(|stopped| Err(stopped_early(stopped)))
    }

    /// Waits for the calls under way, and closes the connections. Later calls fail.
    pub(crate) async fn close(&self) {
        let all = timeout(CALL_MAX, self.shared.permits.acquire_many(self.connections)).await;
        self.shared.permits.close();
        drop(all);
        let idle = std::mem::take(&mut self.shared.idle.lock().connections);
        for kept in idle {
            let _ = kept.connection.disconnect().await;
        }
    }
}

impl Shared {
    async fn call<T>(
        &self,
        mut used: Used,
        max: Duration,
        gone: &mut Gone,
        work: impl for<'a> FnOnce(&'a mut Conn) -> Work<'a, T> + Send,
    ) -> Result<T, Failure> {
        let abandoned = async {
            while gone.changed().await.is_ok() {}
            sleep(ABANDONED_MAX).await;
        };
        let result = tokio::select! {
            result = work(&mut used.connection) => result,
            () = abandoned => Err(Failure::Late),
            () = sleep(max) => Err(Failure::Late),
        };
        let Used { connection, made, generation, .. } = used;
        let mut idle = self.idle.lock();
        match &result {
            Err(failure) if failure.is_fatal() && idle.generation == generation => {
                idle.generation += 1;
                idle.connections.clear();
            }
            Err(failure) if failure.is_fatal() => {}
            _ if idle.generation == generation && !self.permits.is_closed() => {
                idle.connections.push(Kept { connection, made, since: Instant::now() });
            }
            _ => {}
        }
        result
    }

    async fn connection(&self) -> Result<Used, Failure> {
        let (kept, generation, failed) = {
            let mut idle = self.idle.lock();
            (idle.take(), idle.generation, idle.failed)
        };
        if let Some(Kept { connection, made, .. }) = kept {
            return Ok(Used { connection, made, generation, is_pooled: true });
        }
        if let Some((at, times)) = failed {
            let pause_ms = (PAUSE_MIN_MS << times.min(10)).min(PAUSE_MAX_MS);
            // Spread over the callers by the nanoseconds of when they come.
            let spread_ms = u64::from(at.elapsed().subsec_nanos()) % (pause_ms / 2 + 1);
            sleep_until(at + Duration::from_millis(pause_ms / 2 + spread_ms)).await;
        }
        let connected = timeout(CONNECT_MAX, connect(&self.options)).await.unwrap_or(Err(Failure::Late));
        let mut idle = self.idle.lock();
        match connected {
            Ok(connection) => {
                idle.failed = None;
                let (made, generation) = (Instant::now(), idle.generation);
                Ok(Used { connection, made, generation, is_pooled: false })
            }
            Err(failure) => {
                let times = idle.failed.map_or(0, |(_, times)| times + 1);
                idle.failed = Some((Instant::now(), times));
                Err(failure)
            }
        }
    }
}

impl Idle {
    /// The one that was used last, so that those that aren't needed grow old.
    fn take(&mut self) -> Option<Kept> {
        self.connections.retain(|kept| kept.since.elapsed() < IDLE_MAX && kept.made.elapsed() < AGE_MAX);
        self.connections.pop()
    }
}

/// Only to a server that takes changes: from a replica, ended sessions would seem alive.
async fn connect(options: &Opts) -> Result<Conn, Failure> {
    let mut connection = Conn::new(options.clone()).await?;
    let read_only: Option<(String, bool)> =
        connection.query_first("SELECT CAST(@@global.read_only AS CHAR), @@global.innodb_read_only").await?;
    match read_only {
        Some((word, false)) if matches!(&*word.to_uppercase(), "0" | "OFF") => Ok(connection),
        _ => Err(Failure::ReadOnly),
    }
}

fn closed() -> Failure {
    Error::unavailable("the MySQL store is closed", "it was called after `close`").into()
}

fn stopped_early(error: tokio::task::JoinError) -> Failure {
    Error::unavailable("the call to MySQL was stopped", error).into()
}
