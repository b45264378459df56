//! One test for each case.

use std::{future::Future, pin::Pin, time::Duration};

use crate::Harness;

/// Makes one `#[test]` of each case: `suite!(harness)`, with what the store declares behind it. See the
/// [crate's documentation](crate).
#[macro_export]
macro_rules! suite {
    ($harness:expr $(, $($declared:tt)*)?) => {
        $crate::__declare! { [$harness] index sweep volatile; $($($declared)*)? }
    };
}

/// Reads what the store declares, then names the groups of cases that apply.
#[doc(hidden)]
#[macro_export]
macro_rules! __declare {
    ([$harness:expr] $index:ident $sweep:ident $kept:ident; without: index $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] no_index $sweep $kept; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident; without: sweep $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] $index no_sweep $kept; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident; durable $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] $index $sweep durable; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident;) => {
        $crate::__cases! { store => __tests [$harness] }
        $crate::__cases! { $index => __tests [$harness] }
        $crate::__cases! { $sweep => __tests [$harness] }
        $crate::__cases! { $kept $index => __tests [$harness] }
    };
}

/// Every case, by group. Handed on to another macro, which makes tests or a list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    (store => $then:ident $with:tt) => {
        $crate::$then! { $with
            create::a_created_session_is_found,
        }
    };
    (index => $then:ident $with:tt) => {
        $crate::$then! { $with
        }
    };
    (no_index => $then:ident $with:tt) => {
        $crate::$then! { $with
            index::a_store_declared_without_an_index_has_none,
        }
    };
    (sweep => $then:ident $with:tt) => {
        $crate::$then! { $with
        }
    };
    (no_sweep => $then:ident $with:tt) => {
        $crate::$then! { $with
        }
    };
    (volatile $index:ident => $then:ident $with:tt) => {};
    (durable no_index => $then:ident $with:tt) => {
        $crate::$then! { $with
        }
    };
    (durable index => $then:ident $with:tt) => {
        $crate::__cases! { durable no_index => $then $with }
        $crate::$then! { $with
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$harness:expr] $($module:ident::$case:ident,)*) => {
        $(
            #[::core::prelude::v1::test]
            fn $case() {
                $crate::run(async { $crate::cases::$module::$case($harness).await });
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ([$list:ident] $($module:ident::$case:ident,)*) => {
        $(
            $list.push($crate::Case {
                name: stringify!($case),
                run: |harness| Box::pin($crate::cases::$module::$case(harness)),
            });
        )*
    };
}

/// One case of the suite, for runners other than [`suite!`].
pub struct Case<H> {
    /// Its function in [`cases`](crate::cases), without the module.
    pub name: &'static str,
    /// Runs it to its end. It panics if the store breaks the contract.
    pub run: fn(H) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<H: Harness> Case<H> {
    /// Every case there is, also those that only apply to durable stores and to those without an index or a sweep.
    #[must_use]
    #[allow(clippy::vec_init_then_push, reason = "the list comes from a macro, group by group")]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        crate::__cases! { store => __list [all] }
        crate::__cases! { index => __list [all] }
        crate::__cases! { no_index => __list [all] }
        crate::__cases! { sweep => __list [all] }
        crate::__cases! { no_sweep => __list [all] }
        crate::__cases! { durable index => __list [all] }
        all
    }
}

/// How long a case may take. A healthy one takes a small part of it; one that takes longer hangs.
const CASE_MAX: Duration = Duration::from_secs(120);

/// Runs a case as [`suite!`] does: on a Tokio runtime of its own, with several threads.
///
/// # Panics
/// If the case panics, or hangs for two minutes.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("no Tokio runtime: {error}"));
    let outcome = runtime.block_on(async { tokio::time::timeout(CASE_MAX, case).await });
    // A store that hangs may also hang its blocking tasks: they mustn't keep the failure from being reported.
    runtime.shutdown_background();
    assert!(outcome.is_ok(), "the case hung: a call never answered within {} s", CASE_MAX.as_secs());
}
