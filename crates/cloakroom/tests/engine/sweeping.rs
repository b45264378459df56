//! Where and for how long expired sessions are removed in the background.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use cloakroom::{
    MemoryStore, Sessions,
    clock::ManualClock,
    event::{Event, EventKind, Subscriber},
};
use tokio::runtime::{Builder, Runtime};

use crate::browser::Browser;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A future of a store in memory is ready at once, with a runtime or without.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

async fn until_swept(store: &MemoryStore) {
    for _ in 0..5_000 {
        if store.sessions() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("nobody sweeps");
}

/// Panics when it is told of the first session that expired.
struct Clumsy(AtomicBool);

impl Subscriber for Clumsy {
    fn on_event(&self, event: &Event) {
        if event.kind == EventKind::Expired {
            assert!(self.0.swap(true, Ordering::SeqCst), "clumsy");
        }
    }
}

/// Bug: sessions whose first request came outside of a runtime, or on one that ended, were never swept again. Cause:
/// sweeping was started once, whatever became of it. Mend: it is started whenever it isn't under way and can be.
#[test]
fn sweeping_begins_anew_where_it_could_not_or_has_ended() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::default());
    let builder = Sessions::builder(Arc::clone(&store)).clock(clock.clone());
    let builder = builder.subscribe(Clumsy(AtomicBool::new(false)));
    let sessions = builder.sweep_every(Duration::from_millis(1)).build().unwrap();
    let expire = || clock.advance(Duration::from_secs(1_800));
    at_once(Browser::default().login(&sessions, "ada"));
    expire();
    for _ in 0..2 {
        let runtime = runtime();
        runtime.block_on(async {
            // The first time, somebody who is told of it panics.
            for _ in 0..2 {
                Browser::default().login(&sessions, "ada").await;
                expire();
                until_swept(&store).await;
            }
        });
    }
}
