//! Reads that are called for at one moment: how they are gathered, and what becomes of them when something goes wrong.

use std::{
    collections::HashSet,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use cloakroom::{
    Error,
    store::{Batches, Fetch},
};
use parking_lot::Mutex;
use tokio::{
    runtime::{self, Runtime},
    sync::Semaphore,
    task::yield_now,
};

/// Answers with twice the key, and notes what it was asked for.
#[derive(Default)]
struct Doubles {
    asked: Arc<Mutex<Vec<Vec<u64>>>>,
    /// One permit for each batch that may be answered, if it isn't to be at once.
    gate: Option<Arc<Semaphore>>,
    under_way: Arc<AtomicUsize>,
    /// Keys that aren't answered to.
    forgets: HashSet<u64>,
    fails: bool,
    panics: bool,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fetch for Doubles {
    type Key = u64;
    type Found = u64;

    async fn one(&self, key: u64) -> Result<u64, Error> {
        self.answer(&[key]).await?;
        Ok(2 * key)
    }

    async fn several(&self, keys: &[u64]) -> Result<Vec<u64>, Error> {
        self.answer(keys).await?;
        assert!(!self.panics, "as it was told to");
        Ok(keys.iter().filter(|key| !self.forgets.contains(key)).map(|key| 2 * key).collect())
    }
}

impl Doubles {
    async fn answer(&self, keys: &[u64]) -> Result<(), Error> {
        self.asked.lock().push(keys.to_vec());
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay(Arc::clone(&self.under_way));
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        if self.fails {
            Err(Error::unavailable("the engine is away", "its socket is closed"))
        } else {
            Ok(())
        }
    }
}

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().build().unwrap()
}

/// It can be waited for on any thread.
type Read<'a> = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>>;

/// Called for, and not waited for.
fn begun(batches: &Batches<Doubles>, keys: impl IntoIterator<Item = u64>) -> Vec<Read<'_>> {
    let mut reads: Vec<_> = keys.into_iter().map(|key| Box::pin(batches.get(key)) as Read<'_>).collect();
    for read in &mut reads {
        assert!(is_waiting(read.as_mut()));
    }
    reads
}

fn is_waiting(read: Pin<&mut dyn Future<Output = Result<u64, Error>>>) -> bool {
    matches!(read.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

async fn others_run() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[test]
fn reads_of_one_moment_are_made_together_up_to_the_most() {
    runtime().block_on(async {
        let doubles = Doubles::default();
        let asked = Arc::clone(&doubles.asked);
        let batches = Batches::new(doubles, 4, 3);
        for (key, read) in begun(&batches, 0..7).into_iter().enumerate() {
            assert_eq!(read.await.unwrap(), 2 * key as u64);
        }
        // In which order the tasks of one moment run is the runtime's affair.
        asked.lock().sort();
        assert_eq!(*asked.lock(), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    });
}

#[test]
fn who_comes_while_all_turns_are_taken_is_in_the_next_batch() {
    runtime().block_on(async {
        let gate = Arc::new(Semaphore::new(0));
        let doubles = Doubles { gate: Some(Arc::clone(&gate)), ..Doubles::default() };
        let asked = Arc::clone(&doubles.asked);
        let batches = Batches::new(doubles, 1, 64);
        let first = begun(&batches, [1]);
        others_run().await;
        let (second, third) = (begun(&batches, [2]), begun(&batches, [3]));
        others_run().await;
        let fourth = begun(&batches, [4]);
        assert_eq!(*asked.lock(), [[1]], "one at a time");
        gate.add_permits(2);
        for (key, read) in (1..).zip([first, second, third, fourth].into_iter().flatten()) {
            assert_eq!(read.await.unwrap(), 2 * key);
        }
        assert_eq!(*asked.lock(), [vec![1], vec![2, 3, 4]]);
    });
}

#[test]
fn each_is_told_of_the_failure_they_share() {
    runtime().block_on(async {
        let batches = Batches::new(Doubles { fails: true, ..Doubles::default() }, 1, 64);
        for read in begun(&batches, 0..3) {
            let error = read.await.unwrap_err();
            assert!(error.is_unavailable() && format!("{error:?}").contains("socket"), "{error:?}");
        }
    });
}

/// A store that answers to fewer than it was asked for gives nobody another's answer, and keeps nobody waiting.
#[test]
fn where_an_answer_is_missing_all_ask_alone() {
    runtime().block_on(async {
        let doubles = Doubles { forgets: HashSet::from([1]), ..Doubles::default() };
        let asked = Arc::clone(&doubles.asked);
        let batches = Batches::new(doubles, 1, 64);
        for (key, read) in begun(&batches, 0..3).into_iter().enumerate() {
            assert_eq!(read.await.unwrap(), 2 * key as u64);
        }
        assert_eq!(*asked.lock(), [vec![0, 1, 2], vec![0], vec![1], vec![2]]);
    });
}

#[test]
fn where_a_batch_panics_all_ask_alone() {
    runtime().block_on(async {
        let batches = Batches::new(Doubles { panics: true, ..Doubles::default() }, 1, 64);
        for (key, read) in begun(&batches, 0..3).into_iter().enumerate() {
            assert_eq!(read.await.unwrap(), 2 * key as u64);
        }
    });
}

/// From many threads, with some who go: nobody is forgotten, and nobody gets another's answer.
#[test]
fn nobody_is_forgotten_or_given_anothers_answer() {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let batches = Arc::new(Batches::new(Doubles::default(), 3, 5));
    let reads = (0..20_000).map(|key| {
        let batches = Arc::clone(&batches);
        runtime.spawn(async move {
            let mut read = Box::pin(batches.get(key));
            if key % 7 == 0 && is_waiting(read.as_mut()) {
                return;
            }
            assert_eq!(read.await.unwrap(), 2 * key);
        })
    });
    let reads: Vec<_> = reads.collect();
    runtime.block_on(async {
        for read in reads {
            read.await.unwrap();
        }
    });
}

/// The dead take no places from the living.
#[test]
fn who_has_gone_leaves_room() {
    runtime().block_on(async {
        let doubles = Doubles::default();
        let asked = Arc::clone(&doubles.asked);
        let batches = Batches::new(doubles, 1, 3);
        drop(begun(&batches, 0..3));
        for read in begun(&batches, 3..6) {
            read.await.unwrap();
        }
        assert_eq!(*asked.lock(), [[3, 4, 5]]);
    });
}

#[test]
fn who_goes_takes_nobody_along_and_the_last_one_the_read() {
    runtime().block_on(async {
        let doubles = Doubles { gate: Some(Arc::new(Semaphore::new(0))), ..Doubles::default() };
        let (gate, under_way) = (doubles.gate.clone().unwrap(), Arc::clone(&doubles.under_way));
        let batches = Batches::new(doubles, 1, 64);
        let mut reads = begun(&batches, 0..3);
        others_run().await;
        assert_eq!(under_way.load(Ordering::SeqCst), 1);
        // The one that began it, and the last one.
        drop(reads.remove(0));
        drop(reads.pop());
        others_run().await;
        assert_eq!(under_way.load(Ordering::SeqCst), 1, "somebody waits for it");
        assert!(is_waiting(reads[0].as_mut()));
        reads.clear();
        others_run().await;
        assert_eq!(under_way.load(Ordering::SeqCst), 0, "nobody waits for it");
        gate.add_permits(1);
        assert_eq!(batches.get(7).await.unwrap(), 14, "its turn is free again");
    });
}

#[test]
fn who_goes_before_it_was_sent_is_not_asked_for() {
    runtime().block_on(async {
        let doubles = Doubles::default();
        let asked = Arc::clone(&doubles.asked);
        let batches = Batches::new(doubles, 1, 64);
        let mut reads = begun(&batches, 0..3);
        drop(reads.remove(1));
        for read in reads {
            read.await.unwrap();
        }
        assert_eq!(*asked.lock(), [[0, 2]]);
    });
}

/// A batch's task runs on the runtime of whoever began it. Nobody is to wait for one that isn't theirs, which may be busy, or
/// go.
#[test]
fn another_runtime_holds_nobody_up() {
    for is_begun in [false, true] {
        let (stays, goes) = (runtime(), runtime());
        let doubles = Doubles { gate: Some(Arc::new(Semaphore::new(0))), ..Doubles::default() };
        let gate = doubles.gate.clone().unwrap();
        let batches = Batches::new(doubles, 2, 64);
        let first = goes.block_on(async { begun(&batches, [1]) });
        if is_begun {
            goes.block_on(others_run());
        }
        gate.add_permits(3);
        stays.block_on(async {
            assert_eq!(batches.get(2).await.unwrap(), 4, "the first one's task stands still")
        });
        goes.shutdown_background();
        stays.block_on(async {
            for read in first {
                assert_eq!(read.await.unwrap(), 2, "it was carried to another runtime");
            }
            assert_eq!(batches.get(3).await.unwrap(), 6, "the next one begins anew");
        });
    }
}

/// As where a test polls by hand.
#[test]
fn without_a_runtime_each_reads_alone() {
    let batches = Batches::new(Doubles::default(), 1, 64);
    let mut read = pin!(batches.get(4));
    let answer = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Ok(8))));
}
