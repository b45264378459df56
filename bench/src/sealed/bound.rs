//! How soon a logout on one node is refused on another, with an engine for the revocation list.

use std::time::{Duration, Instant};

use cloakroom::{Sessions, Subject};
use engines::{Engine, Postgres, Redis};

use crate::{figures::Figures, sealed::sealed, table::Table};

const BOUND_MS: f64 = 100.0;

pub(super) fn run(tries: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "## From a logout to its refusal on another node\n\n{tries} logouts, each with an engine for the list.\n"
    );
    let mut table = Table::new(["ms, from the answer on one node", "p50", "p99", "most"]);
    let mut verdicts = Vec::new();
    let mut measure = |name: &str, url: &str| {
        let figures = runtime.block_on(lags(url, tries));
        let ms = |figure: f64| format!("{figure:.1}");
        table.row([name.to_owned(), ms(figures.median()), ms(figures.percentile(99.0)), ms(figures.max())]);
        verdicts.push((name.to_owned(), figures.percentile(99.0) < BOUND_MS));
    };
    {
        let engine = Redis::start();
        measure("Redis", &engine.url());
    }
    {
        let engine = Postgres::start();
        measure("PostgreSQL", &engine.url());
    }
    println!("{table}");
    for (name, holds) in verdicts {
        println!("- {}: {name}: p99 under {BOUND_MS} ms", if holds { "holds" } else { "MISSED" });
    }
    println!();
}

async fn lags(url: &str, tries: usize) -> Figures {
    let (first, second) = (node(url).await, node(url).await);
    let mut lags = Vec::new();
    for number in 0..tries {
        let cookie = log_in(&first, number).await;
        assert!(reads_as_somebody(&second, &cookie).await, "both nodes honour it");
        let exchange = first.begin();
        let session = exchange.session(std::iter::once(cookie.as_bytes()), None).await.expect("no call");
        session.logout().expect("it is open");
        exchange.commit().await.expect("the list takes it");
        let answered = Instant::now();
        while reads_as_somebody(&second, &cookie).await {
            assert!(answered.elapsed() < Duration::from_secs(10), "still honoured");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        lags.push(answered.elapsed().as_secs_f64() * 1e3);
        // Not in step with the other node's looking at the list.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..30_000))).await;
    }
    Figures::new(lags)
}

/// A node with a connection of its own.
async fn node(url: &str) -> Sessions {
    let list = cloakroom_stores::open(url).await.expect("the engine was started");
    Sessions::builder(sealed(list).await).build().expect("the defaults hold")
}

async fn log_in(sessions: &Sessions, number: usize) -> String {
    let exchange = sessions.begin();
    let session = exchange.session(std::iter::empty(), None).await.expect("no call");
    session.login(Subject::new(format!("user-{number}")).expect("it is short")).expect("it is open");
    let set_cookie =
        exchange.commit().await.expect("it is sealed").set_cookie.expect("a login sets a cookie");
    set_cookie.expose().split(';').next().unwrap_or_default().to_owned()
}

async fn reads_as_somebody(sessions: &Sessions, cookie: &str) -> bool {
    let exchange = sessions.begin();
    let session = exchange.session(std::iter::once(cookie.as_bytes()), None).await.expect("no call");
    session.subject().is_some()
}
