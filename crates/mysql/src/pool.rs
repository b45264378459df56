//! Connections: so many and no more, and each used by one call until its answer was read.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use cloakroom::Error;
use mysql_async::{Conn, Opts};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::failure::Failure;

/// Connections to one server.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    options: Opts,
    /// One permit for each connection that may be in use.
    permits: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<Conn>,
    /// Rises when a connection breaks: those made before it are likely to be broken too, and aren't used again.
    generation: u64,
    /// When the last attempt to connect failed, and how often that happened in a row.
    failed: Option<(tokio::time::Instant, u32)>,
}

/// How long a call may go on that nobody waits for any more, before its connection is given up.
const CALL_MAX: Duration = Duration::from_secs(30);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// After a failed attempt to connect, others wait between half of this and all of it, doubled with each failure.
const PAUSE_MIN_MS: u64 = 20;
const PAUSE_MAX_MS: u64 = 1_000;

/// What a call does with its connection.
pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

impl Pool {
    pub(crate) fn new(options: Opts, connections: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections));
        Self { shared: Arc::new(Shared { options, permits, idle: Mutex::default() }) }
    }

    /// Does this on a connection. Whoever stops waiting doesn't stop it: it goes on in a task of its own, so that its
    /// answer is read by nobody else.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Conn) -> Work<'a, T> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.shared.permits).acquire_owned().await.map_err(|_| closed())?;
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            let result = timeout(CALL_MAX, shared.call(work)).await;
            release(permit);
            result.unwrap_or(Err(Failure::Late))
        });
        match task.await {
            Ok(result) => result.map_err(Error::from),
            Err(stopped) => Err(Error::unavailable("the call to MySQL was stopped", stopped)),
        }
    }

    /// Waits for the calls under way, and closes the connections.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.shared.permits.available_permits()).unwrap_or(u32::MAX);
        // Later calls fail from here on; those under way have their permits, and close what they used.
        let _ = self.shared.permits.acquire_many(all).await.map(|permits| permits.forget());
        self.shared.permits.close();
        let idle = std::mem::take(&mut self.shared.idle.lock().connections);
        for connection in idle {
            let _ = connection.disconnect().await;
        }
    }
}

fn release(permit: OwnedSemaphorePermit) {
    drop(permit);
}

impl Shared {
    async fn call<T>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Conn) -> Work<'a, T> + Send,
    ) -> Result<T, Failure> {
        let (mut connection, generation) = self.connection().await?;
        let result = work(&mut connection).await;
        let mut idle = self.idle.lock();
        match &result {
            Err(failure) if failure.is_fatal() && idle.generation == generation => {
                idle.generation += 1;
                idle.connections.clear();
            }
            Err(failure) if failure.is_fatal() => {}
            _ if idle.generation == generation && !self.permits.is_closed() => {
                idle.connections.push(connection);
            }
            _ => {}
        }
        result
    }

    async fn connection(&self) -> Result<(Conn, u64), Failure> {
        let (idle, generation, failed) = {
            let mut idle = self.idle.lock();
            (idle.connections.pop(), idle.generation, idle.failed)
        };
        if let Some(connection) = idle {
            return Ok((connection, generation));
        }
        if let Some((at, times)) = failed {
            let pause_ms = (PAUSE_MIN_MS << times.min(10)).min(PAUSE_MAX_MS);
            // Spread over the callers by the nanoseconds of when they come.
            let spread_ms = u64::from(at.elapsed().subsec_nanos()) % (pause_ms / 2 + 1);
            tokio::time::sleep_until(at + Duration::from_millis(pause_ms / 2 + spread_ms)).await;
        }
        let connected = timeout(CONNECT_MAX, Conn::new(self.options.clone())).await;
        let mut idle = self.idle.lock();
        match connected {
            Ok(Ok(connection)) => {
                idle.failed = None;
                Ok((connection, idle.generation))
            }
            failure => {
                let times = idle.failed.map_or(0, |(_, times)| times + 1);
                idle.failed = Some((tokio::time::Instant::now(), times));
                drop(idle);
                Err(match failure {
                    Ok(Err(error)) => error.into(),
                    _ => Failure::Late,
                })
            }
        }
    }
}

fn closed() -> Error {
    Error::unavailable("the MySQL store is closed", "it was called after `close`")
}
