//! Running things at once.

use std::{future::Future, panic, pin::Pin, sync::Arc};

use tokio::{
    sync::Barrier,
    task::{JoinError, JoinHandle},
};

/// Runs every future in a task of its own, all of them let go at once. The answers, in order.
///
/// Boxed, so that it borrows nothing of the iterator and can itself be run beside something else.
pub(crate) fn all<F>(futures: impl IntoIterator<Item = F>) -> BoxFuture<Vec<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let futures: Vec<_> = futures.into_iter().collect();
    Box::pin(async move {
        let barrier = Arc::new(Barrier::new(futures.len()));
        let tasks: Vec<_> = futures
            .into_iter()
            .map(|future| {
                let barrier = Arc::clone(&barrier);
                tokio::spawn(async move {
                    barrier.wait().await;
                    future.await
                })
            })
            .collect();
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            answers.push(joined(task).await);
        }
        answers
    })
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Lets others go first, a number of times: so that over many rounds things meet at different points.
pub(crate) async fn waited(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// Runs two futures in tasks of their own, let go at once.
pub(crate) async fn both<A, B>(a: A, b: B) -> (A::Output, B::Output)
where
    A: Future<Output: Send> + Send + 'static,
    B: Future<Output: Send> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(2));
    let first = {
        let barrier = Arc::clone(&barrier);
        tokio::spawn(async move {
            barrier.wait().await;
            a.await
        })
    };
    let second = tokio::spawn(async move {
        barrier.wait().await;
        b.await
    });
    (joined(first).await, joined(second).await)
}

/// What a task answers. If it panicked, so does this.
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> T {
    unwrapped(task.await)
}

/// The same, of a task that has ended.
pub(crate) fn unwrapped<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(message) => panic::resume_unwind(message),
        Err(error) => panic!("a task of the test was cancelled: {error}"),
    })
}
