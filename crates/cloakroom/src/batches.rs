//! Reads that are called for at one moment, made together. For stores.

use std::{
    future::{Future, poll_fn},
    sync::{Arc, OnceLock},
    task::Poll,
};

use parking_lot::Mutex;
use tokio::{
    runtime::{self, Handle},
    sync::{Semaphore, oneshot},
    task::AbortHandle,
};

use crate::Error;

/// How a store reads several things at once, such as the records of several sessions.
pub trait Fetch: Send + Sync + 'static {
    /// What is asked for.
    type Key: Copy + Send + Sync + 'static;
    /// What there is.
    type Found: Send + 'static;

    /// Reads one.
    fn one(&self, key: Self::Key) -> impl Future<Output = Result<Self::Found, Error>> + Send;

    /// Reads several in one round trip: as many answers as keys, in their order. Keys may occur twice.
    fn several(&self, keys: &[Self::Key]) -> impl Future<Output = Result<Vec<Self::Found>, Error>> + Send;
}

/// Reads that are called for at one moment, made together: under load, the engine, its client and the timers are bothered
/// once for many.
///
/// A read still sees what was stored when it was called for, for a batch is sent after its last member joined. Alone it
/// goes at once. Each can be dropped at any await and takes nobody along; of a batch that was sent and whose members have
/// all gone, the call is dropped. Each runtime has its own batches, so that none waits for the task of another; their number
/// is bounded for all together.
///
/// ```
/// use std::sync::Arc;
///
/// use cloakroom::{Error, store::{Batches, Fetch}};
///
/// struct Squares;
///
/// impl Fetch for Squares {
///     type Key = u64;
///     type Found = u64;
///
///     async fn one(&self, key: u64) -> Result<u64, Error> {
///         Ok(key * key)
///     }
///
///     async fn several(&self, keys: &[u64]) -> Result<Vec<u64>, Error> {
///         Ok(keys.iter().map(|key| key * key).collect())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let squares = Batches::new(Squares, 16, 64);
/// assert_eq!(squares.get(7).await?, 49);
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
pub struct Batches<F: Fetch>(Arc<Shared<F>>);

struct Shared<F: Fetch> {
    fetch: F,
    /// What those join who come now: one for each runtime at most.
    open: Mutex<Vec<Open<F>>>,
    turns: Semaphore,
    together_max: usize,
}

struct Open<F: Fetch> {
    runtime: runtime::Id,
    batch: Arc<Batch<F>>,
    run: Arc<Run>,
}

struct Batch<F: Fetch>(Mutex<Vec<Wanted<F>>>);

struct Wanted<F: Fetch> {
    key: F::Key,
    caller: oneshot::Sender<Result<F::Found, Error>>,
}

/// A batch's task. All who wait for it hold it: it ends when they have gone.
#[derive(Default)]
struct Run(OnceLock<AbortHandle>);

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

impl<F: Fetch> Batches<F> {
    /// At most `batches_max` are under way at a time; those who come meanwhile are together in the next one. In each there
    /// are at most `together_max`.
    pub fn new(fetch: F, batches_max: usize, together_max: usize) -> Self {
        let turns = Semaphore::new(batches_max.clamp(1, Semaphore::MAX_PERMITS));
        let (open, together_max) = (Mutex::new(Vec::new()), together_max.max(1));
        Self(Arc::new(Shared { fetch, open, turns, together_max }))
    }

    /// How it reads.
    pub fn fetch(&self) -> &F {
        &self.0.fetch
    }

    /// Reads what has this key.
    ///
    /// # Errors
    /// Those of [`Fetch`].
    pub async fn get(&self, key: F::Key) -> Result<F::Found, Error> {
        let Ok(runtime) = Handle::try_current() else { return self.0.fetch.one(key).await };
        let (caller, answer) = oneshot::channel();
        let _run = self.0.join(Wanted { key, caller }, &runtime);
        match answer.await {
            Ok(found) => found,
            // The batch panicked, came back incomplete, or its runtime was shut down.
            Err(_) => {
                let _turn = self.0.turns.acquire().await;
                self.0.fetch.one(key).await
            }
        }
    }
}

impl<F: Fetch> Shared<F> {
    /// Into the open batch; the first one begins it.
    fn join(self: &Arc<Self>, wanted: Wanted<F>, runtime: &Handle) -> Arc<Run> {
        let (batch, run, _full) = {
            let mut open = self.open.lock();
            let place = open.iter().position(|open| open.runtime == runtime.id());
            if let Some(Open { batch, run, .. }) = place.map(|place| &open[place]) {
                let mut members = batch.0.lock();
                if members.len() >= self.together_max {
                    members.retain(|member| !member.caller.is_closed());
                }
                if members.len() < self.together_max {
                    members.push(wanted);
                    return Arc::clone(run);
                }
            }
            let full = place.map(|place| open.swap_remove(place));
            let (batch, run) = (Arc::new(Batch(Mutex::new(vec![wanted]))), Arc::default());
            open.push(Open { runtime: runtime.id(), batch: Arc::clone(&batch), run: Arc::clone(&run) });
            // Dropped without the lock, which the end of its task may need.
            (batch, run, full)
        };
        let task = Task { shared: Arc::clone(self), batch };
        let task = runtime.spawn(async move { task.run().await });
        // Nobody else sets it.
        let _ = run.0.set(task.abort_handle());
        run
    }

    /// Nobody joins this batch any more.
    fn shut(&self, batch: &Arc<Batch<F>>) -> Vec<Wanted<F>> {
        let shut = {
            let mut open = self.open.lock();
            let place = open.iter().position(|open| Arc::ptr_eq(&open.batch, batch));
            place.map(|place| open.swap_remove(place))
        };
        drop(shut);
        std::mem::take(&mut *batch.0.lock())
    }

    async fn answer(&self, mut wanted: Vec<Wanted<F>>) {
        // To a caller who has gone nothing is said.
        if let [_] = &wanted[..]
            && let Some(Wanted { key, caller }) = wanted.pop()
        {
            let _ = caller.send(self.fetch.one(key).await);
            return;
        }
        if wanted.is_empty() {
            return;
        }
        let keys: Vec<_> = wanted.iter().map(|wanted| wanted.key).collect();
        match self.fetch.several(&keys).await {
            // Where answers are missing, it can't be told whose: all ask alone.
            Ok(found) if found.len() != wanted.len() => {}
            Ok(found) => {
                for (wanted, found) in wanted.into_iter().zip(found) {
                    let _ = wanted.caller.send(Ok(found));
                }
            }
            Err(error) => {
                for wanted in wanted {
                    let _ = wanted.caller.send(Err(error.clone()));
                }
            }
        }
    }
}

struct Task<F: Fetch> {
    shared: Arc<Shared<F>>,
    batch: Arc<Batch<F>>,
}

impl<F: Fetch> Task<F> {
    async fn run(self) {
        let Ok(_turn) = self.shared.turns.acquire().await else { return };
        others_first().await;
        let mut wanted = self.shared.shut(&self.batch);
        wanted.retain(|wanted| !wanted.caller.is_closed());
        self.shared.answer(wanted).await;
    }
}

/// Lets those run once who are ready to: they may have something to add to what is about to be sent, such as another read.
///
/// (The runtime's own `yield_now` would let through those, too, who become ready meanwhile, for some sixty turns.)
///
/// ```
/// # async fn example(mut waiting: tokio::sync::mpsc::Receiver<u64>) {
/// while let Some(first) = waiting.recv().await {
///     let mut together = vec![first];
///     cloakroom::store::others_first().await;
///     while let Ok(other) = waiting.try_recv() {
///         together.push(other);
///     }
///     // All of them go out in one packet.
/// }
/// # }
/// ```
pub async fn others_first() {
    let mut is_first = true;
    poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// If it is dropped with its runtime before it begins, who joined it and is polled on another one reads alone.
impl<F: Fetch> Drop for Task<F> {
    fn drop(&mut self) {
        drop(self.shared.shut(&self.batch));
    }
}
