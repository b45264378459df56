//! The threads that read. With a write-ahead log they neither wait for the writer nor hold it up.

use std::{
    collections::VecDeque,
    io, mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle, Thread},
};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::job::Job;

/// Reads that wait at most; beyond that, callers wait to be accepted.
const QUEUE_MAX: usize = 1_024;

/// How to reach the threads. When this is dropped, they finish what was accepted and end.
pub(crate) struct Readers(Arc<Queue>);

/// Starts a thread for each connection.
pub(crate) fn start(
    connections: Vec<Connection>,
    path: PathBuf,
) -> io::Result<(Readers, Vec<JoinHandle<()>>)> {
    let queue = Arc::new(Queue { state: Mutex::default(), room: Semaphore::new(QUEUE_MAX) });
    let readers = Readers(Arc::clone(&queue));
    let start_one = |db: Connection| {
        let (queue, path) = (Arc::clone(&queue), path.clone());
        thread::Builder::new().name("sqlite-reader".into()).spawn(move || {
            while let Some(mut job) = queue.pop() {
                if !job.is_abandoned() {
                    let outcome = job.run(&db);
                    job.answer(outcome.map_err(|failure| failure.into_error(&path)));
                }
            }
        })
    };
    let threads = connections.into_iter().map(start_one).collect::<io::Result<_>>()?;
    Ok((readers, threads))
}

impl Readers {
    /// Hands a job to one of the threads; `None` once they have been told to end.
    pub(crate) async fn send(&self, job: Box<dyn Job>) -> Option<()> {
        self.0.room.acquire().await.ok()?.forget();
        self.0.push(job)
    }

    /// Lets the threads finish what was accepted, and end.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

/// A queue that wakes one thread a job, and the one that went idle last: it is the likeliest to find its caches warm.
/// Threads that take turns at one receiver wake twice as often, and the runtime's blocking pool is slower still.
struct Queue {
    state: Mutex<State>,
    /// As many permits as jobs may still be accepted.
    room: Semaphore,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    idle: Vec<Thread>,
    is_closed: bool,
}

impl Queue {
    fn push(&self, job: Box<dyn Job>) -> Option<()> {
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        state.jobs.push_back(job);
        let idle = state.idle.pop();
        drop(state);
        if let Some(thread) = idle {
            thread.unpark();
        }
        Some(())
    }

    /// Waits for a job; `None` when the queue is closed and empty.
    fn pop(&self) -> Option<Box<dyn Job>> {
        let this = thread::current();
        loop {
            let mut state = self.lock();
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                self.room.add_permits(1);
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            // It is still there after a wake-up that nobody sent.
            state.idle.retain(|thread| thread.id() != this.id());
            state.idle.push(this.clone());
            drop(state);
            thread::park();
        }
    }

    fn close(&self) {
        self.room.close();
        let mut state = self.lock();
        state.is_closed = true;
        mem::take(&mut state.idle).iter().for_each(Thread::unpark);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
