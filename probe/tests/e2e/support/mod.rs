//! What the tests share: a probe that runs, HTTP spoken by hand, and visitors with a cookie jar.

mod http;
mod probe;
mod visitor;

pub(crate) use http::{Connection, Reply};
pub(crate) use probe::{
    Folder, Probe, Store, on_every_store, on_every_store_but_cookies, on_every_store_with, refused,
};
pub(crate) use visitor::{COOKIE_NAME, View, Visitor};

use std::{sync::Barrier, thread};

/// Runs `work` on so many threads, which start at once: each prepares itself, then waits at the barrier.
pub(crate) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize, &Barrier) -> T + Sync) -> Vec<T> {
    let (start, work) = (&Barrier::new(count), &work);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index, start))).collect();
        threads.into_iter().map(|thread| thread.join().expect("its own panic tells")).collect()
    })
}
