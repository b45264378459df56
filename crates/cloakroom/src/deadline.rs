//! A bound on how long a store may take.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::Error;

/// Waits for a store's answer, at most until the deadline; then the call is dropped. An answer that is there at once
/// costs no timer.
pub(crate) async fn within<T>(
    deadline: Duration,
    store: &'static str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut answer = pin!(answer);
    let first = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
    match first {
        Poll::Ready(result) => result,
        // Boxed, or each request's future would carry a timer's room along for the few that wait.
        Poll::Pending => match Box::pin(tokio::time::timeout(deadline, answer)).await {
            Ok(result) => result,
            Err(_) => Err(Error::late(store, deadline)),
        },
    }
}
