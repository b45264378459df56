//! The accept loop: bounded connections, bounded waits, and a stop that lets requests in flight finish.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Beyond this many, new connections wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// Counts for the first request's head and for the wait between two requests.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Holds a request's head; also how much of a body is read ahead.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// After accept failed (too many open files, mostly), so that the loop doesn't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that were open at the stop.
pub(crate) struct Remaining(GracefulShutdown);

/// Serves until `stop` completes, then closes the listener. Connections that are still open go on: see
/// [`Remaining::finish`].
pub(crate) async fn serve(listener: TcpListener, app: Router, stop: impl Future<Output = ()>) -> Remaining {
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = &mut stop => return Remaining(connections),
        };
        match accepted {
            Ok((stream, slot)) => spawn_connection(stream, slot, app.clone(), &connections),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Remaining {
    /// Closes idle connections at once and the others after their answer; waits for these as long as `grace`, or
    /// until `hurry` completes. Answers how many were left.
    pub(crate) async fn finish(self, grace: Duration, hurry: impl Future<Output = ()>) -> usize {
        let count = self.0.count();
        let finished = tokio::select! {
            ended = tokio::time::timeout(grace, self.0.shutdown()) => ended.is_ok(),
            () = hurry => false,
        };
        if finished { 0 } else { count }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

fn spawn_connection(
    stream: TcpStream,
    slot: OwnedSemaphorePermit,
    app: Router,
    connections: &GracefulShutdown,
) {
    // Answers are small and written whole; waiting to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    // HTTP/1 only: this is what a proxy speaks to the server behind it, and browsers speak no HTTP/2 without TLS.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(slot);
    });
}
