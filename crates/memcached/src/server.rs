//! One server: a few connections, each shared by any number of callers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloakroom::Error;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    connection,
    key::Key,
    meta::{If, Request, Response},
    url::{Address, Settings},
};

/// A server of the ring.
pub(crate) struct Server {
    pub(crate) known: Arc<Known>,
    connections: Box<[Connection]>,
    next: AtomicUsize,
}

/// The way to a connection, and whether it stands.
struct Connection {
    jobs: mpsc::Sender<Job>,
    is_up: Arc<AtomicBool>,
}

/// What is known of a server, to its connections and its callers alike.
pub(crate) struct Known {
    pub(crate) address: Address,
    /// What every key begins with.
    pub(crate) prefix: String,
    /// How often a connection was made. A server that was restarted begins to count its changes anew, so what was
    /// remembered under an earlier number of connections is forgotten.
    pub(crate) connected: AtomicU64,
    /// The largest item it takes.
    pub(crate) item_bytes_max: AtomicUsize,
    /// Where the name led last. All connections go there, for as long as it is one of the places that the name leads to.
    pub(crate) place: Mutex<Option<SocketAddr>>,
}

/// A question on its way to a connection, and where its answer is awaited.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Result<Response, Failure>>,
}

/// Why a server gave no answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// It can never work with this server as it is.
    pub(crate) is_final: bool,
}

/// Questions that wait for one connection; who comes later waits for room.
const WAITING_MAX: usize = 128;

/// What an item needs beside its value: a key of 250 bytes at most, a head, and what Memcached loses at the end of a page.
const ITEM_OVERHEAD_BYTES: usize = 250 + 1_024;

impl Server {
    /// Begins to connect in the background, for as long as this lives and `ended` isn't told to.
    pub(crate) fn start(
        address: Address,
        settings: &Settings,
        closing: &watch::Receiver<bool>,
        ended: &Arc<watch::Sender<()>>,
    ) -> Self {
        let known = Arc::new(Known {
            address,
            prefix: settings.prefix.clone(),
            connected: AtomicU64::new(0),
            item_bytes_max: AtomicUsize::new(ITEM_BYTES_MAX),
            place: Mutex::new(None),
        });
        let start = |_| {
            let (sender, jobs) = mpsc::channel(WAITING_MAX);
            let (known, closing, ended) = (Arc::clone(&known), closing.clone(), Arc::clone(ended));
            let is_up = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&is_up);
            tokio::spawn(async move {
                connection::run(&known, jobs, closing, &told).await;
                drop(ended);
            });
            Connection { jobs: sender, is_up }
        };
        let connections = (0..settings.connections).map(start).collect();
        Self { known, connections, next: AtomicUsize::new(0) }
    }

    /// What is under a key.
    pub(crate) fn get(&self, key: Key) -> impl Future<Output = Result<Response, Error>> {
        self.call(Request::Get(key))
    }

    /// Puts a value under a key. Memcached throws away what it has when a new value is too large, so that is refused
    /// here.
    pub(crate) async fn set(
        &self,
        key: Key,
        value: Vec<u8>,
        ttl: i32,
        condition: If,
    ) -> Result<Response, Error> {
        let item_bytes_max = self.known.item_bytes_max.load(Ordering::Relaxed);
        if value.len() + ITEM_OVERHEAD_BYTES > item_bytes_max {
            return Err(Error::too_large(format!(
                "the session takes {} bytes, and Memcached at {} keeps items of {item_bytes_max} with what it adds: \
                 keep less in the session, or start Memcached with a larger -I",
                value.len(),
                self.known.address,
            )));
        }
        self.call(Request::Set { key, value, ttl, condition }).await
    }

    /// Asks, at once if there is room, and waits for the answer. A caller that goes away before is left out: the
    /// connection reads the answer and drops it, so nobody else ever sees it.
    ///
    /// What is waited with doesn't hold the question: a read waits with two of these, and its size has a price.
    pub(crate) fn call(&self, request: Request) -> impl Future<Output = Result<Response, Error>> {
        let (answer, answered) = oneshot::channel();
        let jobs = &self.next_connection().jobs;
        let unsent = jobs.try_send(Job { request, answer }).err();
        let sent = unsent.map(|unsent| Box::pin(jobs.send(unsent.into_inner())));
        async move {
            if let Some(sent) = sent {
                sent.await.map_err(|_| self.closed())?;
            }
            match answered.await.map_err(|_| self.closed())? {
                Ok(Response::Refused(why)) => Err(self.failed(&why)),
                Ok(response) => Ok(response),
                Err(failure) if failure.is_final => {
                    Err(Error::invalid(format!("Memcached at {} {}", self.known.address, failure.why)))
                }
                Err(failure) => Err(self.failed(&failure.why)),
            }
        }
    }

    fn closed(&self) -> Error {
        self.failed("the store is closed")
    }

    /// They take turns; one that doesn't stand is passed over, unless none does.
    fn next_connection(&self) -> &Connection {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let nth = |n: usize| &self.connections[turn.wrapping_add(n) % self.connections.len()];
        let up = (0..self.connections.len()).map(nth).find(|one| one.is_up.load(Ordering::Relaxed));
        up.unwrap_or_else(|| nth(0))
    }

    /// An answer that this server should never give.
    pub(crate) fn strange(&self, response: &Response) -> Error {
        let what = match response {
            Response::Value(..) => "a value",
            Response::Done(_) => "that it is done",
            Response::Missing => "that there is nothing",
            Response::NotStored => "that it didn't store",
            Response::Exists => "that there is another",
            Response::Refused(_) | Response::Text(_) => "something else",
        };
        self.failed(&format!("it answered {what}, which is no answer to what it was asked"))
    }

    pub(crate) fn failed(&self, why: &str) -> Error {
        Error::unavailable(format!("Memcached at {} failed", self.known.address), why.to_owned())
    }

    /// How often a connection was made so far.
    pub(crate) fn connected(&self) -> u64 {
        self.known.connected.load(Ordering::SeqCst)
    }
}

/// Memcached's own default, until the server has told its setting.
const ITEM_BYTES_MAX: usize = 1024 * 1024;

impl Failure {
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: false }
    }

    pub(crate) fn last(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: true }
    }

    pub(crate) fn late(what: &str, limit: Duration) -> Self {
        Self::passing(format!("it didn't {what} within {} ms", limit.as_millis()))
    }
}
