//! Dropping a call, or holding it up, at each of its awaits.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use parking_lot::Mutex;

use crate::race;

/// Where a call is dropped: after so many polls, at once or when it has been woken for the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropPoint {
    pub(crate) polls: u64,
    pub(crate) is_woken: bool,
}

/// More awaits than any call has; a store that polls itself without end isn't followed further.
const POLLS_MAX: u64 = 64;

impl DropPoint {
    /// A number that tells this point from all others.
    pub(crate) fn number(self) -> u64 {
        2 * self.polls + u64::from(self.is_woken)
    }

    /// Calls, and drops the call here. Whether it had come to its end before.
    pub(crate) async fn applied_to<T>(self, call: impl Future<Output = T>) -> Option<T> {
        polled(pin!(call), self.polls, self.is_woken).await
    }
}

/// Polls so many times, each time when the call has been woken, and if asked for waits until it is woken once more.
async fn polled<F: Future>(mut call: Pin<&mut F>, polls: u64, is_woken: bool) -> Option<F::Output> {
    for poll in 1..=polls {
        let woken = Woken::new();
        let waker = Waker::from(Arc::clone(&woken));
        if let Poll::Ready(answer) = call.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(answer);
        }
        if poll < polls || is_woken {
            woken.wait().await;
        }
    }
    None
}

/// Holds a call up at each of its awaits, until it comes to its end before it is. `attempt` tells whether it did.
pub(crate) async fn held_up_at_every_await(mut attempt: impl AsyncFnMut(u64) -> bool) {
    for polls in 0..POLLS_MAX {
        if attempt(polls).await && polls > 0 {
            return;
        }
    }
}

/// Tries a call at every point where it can be dropped, beginning before its first poll, until it comes to its end.
/// `attempt` applies the point to the call, checks the store, and tells whether the call had come to its end.
pub(crate) async fn at_every_await(mut attempt: impl AsyncFnMut(DropPoint) -> bool) {
    for polls in 0..POLLS_MAX {
        let at_once = attempt(DropPoint { polls, is_woken: false }).await;
        if polls > 0 && at_once {
            return;
        }
        attempt(DropPoint { polls, is_woken: true }).await;
    }
}

/// Holds a call up after so many polls while another one runs, and then lets it go on. Both answers, and whether the
/// call had come to its end before it was held up.
pub(crate) async fn held_up<A, B>(polls: u64, call: A, other: B) -> (A::Output, B::Output, bool)
where
    A: Future,
    B: Future<Output: Send> + Send + 'static,
{
    let mut call = pin!(call);
    let early = polled(call.as_mut(), polls, false).await;
    let is_done = early.is_some();
    let mut other = tokio::spawn(other);
    // A store may well make the other call wait for this one; then the two don't meet here.
    let met = tokio::time::timeout(Duration::from_millis(100), &mut other).await;
    let answer = match early {
        Some(answer) => answer,
        None => call.await,
    };
    let other = match met {
        Ok(other) => race::unwrapped(other),
        Err(_) => race::joined(other).await,
    };
    (answer, other, is_done)
}

/// Tells when a call wants to be polled again.
struct Woken {
    is_woken: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Woken {
    fn new() -> Arc<Self> {
        Arc::new(Self { is_woken: AtomicBool::new(false), waiting: Mutex::new(None) })
    }

    async fn wait(&self) {
        let woken = poll_fn(|context| {
            *self.waiting.lock() = Some(context.waker().clone());
            if self.is_woken.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        });
        let patience = Duration::from_secs(30);
        let outcome = tokio::time::timeout(patience, woken).await;
        assert!(outcome.is_ok(), "a pending call wasn't woken in {} s", patience.as_secs());
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if let Some(waker) = self.waiting.lock().take() {
            waker.wake();
        }
    }
}
