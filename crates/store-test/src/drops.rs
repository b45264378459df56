//! Dropping a call at each of its awaits.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use parking_lot::Mutex;

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
        let mut call = pin!(call);
        for poll in 1..=self.polls {
            let woken = Woken::new();
            let waker = Waker::from(Arc::clone(&woken));
            if let Poll::Ready(answer) = call.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(answer);
            }
            if poll < self.polls || self.is_woken {
                woken.wait().await;
            }
        }
        None
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
