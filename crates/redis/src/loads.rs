//! Loads that are called for at one moment are asked for together: one `MGET` for all of them. For each it is still one
//! round trip, and none waits for another's; but engine, client and timers are bothered once for many.
//!
//! In a cluster each load is asked for alone, for its keys lie where its shard does.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cloakroom::SessionId;
use futures_util::future;
use redis::Value;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, yield_now},
};

use crate::{failure::Failure, keys::Keys, link::Link};

/// Sessions in one `MGET` at most: the engine does nothing else meanwhile.
const TOGETHER_MAX: usize = 64;

/// What the engine has under a session's key, and under that of its shard's watermark.
pub(crate) type Found = [Value; 2];

pub(crate) struct Loads {
    link: Link,
    keys: Keys,
    /// What will be asked for next.
    next: Mutex<Option<Batch>>,
}

struct Batch {
    wanted: Vec<Wanted>,
    run: Arc<Run>,
}

struct Wanted {
    id: SessionId,
    caller: oneshot::Sender<Result<Found, Failure>>,
}

/// A batch's task. All who wait for it hold it: it ends when they have gone, as any call does whose caller has gone.
#[derive(Default)]
struct Run(OnceLock<AbortHandle>);

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

/// Sees to it that a batch doesn't stay the next one, whose task is dropped with its runtime before it begins.
struct Start(Option<Arc<Loads>>);

impl Start {
    /// What those wanted who joined until now. Who comes later begins another batch.
    fn begin(mut self) -> Option<(Arc<Loads>, Vec<Wanted>)> {
        let loads = self.0.take()?;
        let batch = loads.next().take();
        batch.map(|Batch { wanted, run: _ }| (loads, wanted))
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if let Some(loads) = self.0.take() {
            // Callers on other runtimes may have joined it: without an answer they ask for themselves.
            let batch = loads.next().take();
            drop(batch);
        }
    }
}

impl Loads {
    pub(crate) fn new(link: Link, keys: Keys) -> Arc<Self> {
        Arc::new(Self { link, keys, next: Mutex::default() })
    }

    pub(crate) async fn find(self: &Arc<Self>, id: SessionId) -> Result<Found, Failure> {
        let runtime = Handle::try_current().ok().filter(|_| !self.link.is_cluster());
        let Some(runtime) = runtime else { return self.find_alone(id).await };
        let (caller, answer) = oneshot::channel();
        let _run = self.join(Wanted { id, caller }, &runtime);
        match answer.await {
            Ok(found) => found,
            Err(_) => self.find_alone(id).await,
        }
    }

    async fn find_alone(&self, id: SessionId) -> Result<Found, Failure> {
        let mut found = self.ask(&[id]).await?;
        found.pop().ok_or(Failure::Strange)
    }

    /// Into the next batch; the first one begins it.
    fn join(self: &Arc<Self>, wanted: Wanted, runtime: &Handle) -> Arc<Run> {
        let run = {
            let mut next = self.next();
            if let Some(batch) = &mut *next {
                batch.wanted.push(wanted);
                return Arc::clone(&batch.run);
            }
            let batch = next.insert(Batch { wanted: vec![wanted], run: Arc::default() });
            Arc::clone(&batch.run)
        };
        let start = Start(Some(Arc::clone(self)));
        let task = runtime.spawn(async move {
            // Those who are ready to run are let through first: they may have loads to add.
            yield_now().await;
            if let Some((loads, wanted)) = start.begin() {
                loads.run(wanted).await;
            }
        });
        // Nobody else sets it.
        let _ = run.0.set(task.abort_handle());
        run
    }

    async fn run(&self, mut wanted: Vec<Wanted>) {
        wanted.retain(|wanted| !wanted.caller.is_closed());
        let mut parts = Vec::new();
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(TOGETHER_MAX));
            parts.push(std::mem::replace(&mut wanted, rest));
        }
        future::join_all(parts.into_iter().map(|part| self.answer(part))).await;
    }

    async fn answer(&self, wanted: Vec<Wanted>) {
        let ids: Vec<_> = wanted.iter().map(|wanted| wanted.id).collect();
        let found = self.ask(&ids).await;
        // Nobody is told who has gone.
        match found {
            Ok(found) => wanted.into_iter().zip(found).for_each(|(wanted, found)| {
                let _ = wanted.caller.send(Ok(found));
            }),
            Err(failure) => wanted.into_iter().for_each(|wanted| {
                let _ = wanted.caller.send(Err(failure.clone()));
            }),
        }
    }

    /// As many answers as there are ids, in their order.
    async fn ask(&self, ids: &[SessionId]) -> Result<Vec<Found>, Failure> {
        let mut command = redis::Cmd::with_capacity(1 + 2 * ids.len(), 64 * ids.len());
        command.arg("MGET");
        for &id in ids {
            command.arg(self.keys.session(id)).arg(self.keys.watermark(id));
        }
        let answer = self.link.call(&command).await?;
        let Value::Array(values) = answer.value else { return Err(Failure::Strange) };
        if values.len() != 2 * ids.len() {
            return Err(Failure::Strange);
        }
        let mut values = values.into_iter();
        let pairs = std::iter::from_fn(|| Some([values.next()?, values.next()?]));
        Ok(pairs.collect())
    }

    fn next(&self) -> MutexGuard<'_, Option<Batch>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
