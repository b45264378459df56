//! Reads a second from stores with an engine behind them, beside a bare read through the same client, and beside the
//! peer's store.

mod bare;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cloakroom::{Sessions, exchange::Finished};
use engines::{Engine, MariaDb, Postgres, Redis, Valkey};

use crate::{
    apps::{CSRF, CSRF_TOKEN, ROLES, USER, USER_ID},
    figures::{Figures, group},
    peer::{self, Peer},
    table::Table,
};

const TASKS: usize = 64;
const SESSIONS: usize = 1_024;
const BARE_BOUND: f64 = 0.8;
const PEER_BOUND: f64 = 1.5;

/// A read of the session with this number.
type Read = Arc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Rounds in turns, each of all for so long.
pub fn run(rounds: usize, seconds: f64, only: Option<&str>) {
    peer::build();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "## Reads from an engine, {TASKS} tasks\n\n{rounds} rounds of {seconds} s each, in turns, engine and client on \
         one machine.\n"
    );
    let mut table = Table::new([
        "sessions read a second",
        "Cloakroom",
        "bare read",
        "of bare",
        "tower-sessions",
        "times its",
    ]);
    let mut verdicts = Vec::new();
    let is_wanted = |name: &str| only.is_none_or(|only| only.eq_ignore_ascii_case(name));
    let mut measure = |name: &str, url: &str, bare: Option<Read>, peer: Option<Peer>| {
        let rounds = Rounds { rounds, seconds };
        let contest = runtime.block_on(rounds.run(url, bare, peer));
        contest.report(name, &mut table, &mut verdicts);
    };
    if is_wanted("Redis") {
        let engine = Redis::start();
        let bare = runtime.block_on(bare::redis(&engine.url()));
        measure("Redis", &engine.url(), Some(bare), Some(Peer::start("redis", &engine.url())));
    }
    if is_wanted("Valkey") {
        let engine = Valkey::start();
        let bare = runtime.block_on(bare::redis(&engine.url()));
        measure("Valkey", &engine.url(), Some(bare), Some(Peer::start("redis", &engine.url())));
    }
    if is_wanted("PostgreSQL") {
        let engine = Postgres::start();
        let bare = runtime.block_on(bare::postgres(&engine.url()));
        measure("PostgreSQL", &engine.url(), Some(bare), Some(Peer::start("postgres", &engine.url())));
    }
    if is_wanted("MariaDB") {
        let engine = MariaDb::start();
        let bare = runtime.block_on(bare::mysql(&engine.url()));
        measure("MariaDB", &engine.url(), Some(bare), None);
    }
    if is_wanted("SQLite") {
        let folder = engines::Folder::new("sqlite-reads");
        let url = format!("sqlite:{}", folder.path().join("ours.db").display());
        let theirs = folder.path().join("theirs.db").display().to_string();
        measure("SQLite", &url, None, Some(Peer::start("sqlite", &theirs)));
    }
    println!("{table}");
    for (claim, holds) in verdicts {
        println!("- {}: {claim}", if holds { "holds" } else { "MISSED" });
    }
    println!();
}

struct Rounds {
    rounds: usize,
    seconds: f64,
}

/// What was measured of one engine, round by round.
#[derive(Default)]
struct Contest {
    ours: Vec<f64>,
    bare: Vec<f64>,
    peer: Vec<f64>,
}

impl Rounds {
    async fn run(&self, url: &str, bare: Option<Read>, mut peer: Option<Peer>) -> Contest {
        let ours = sessions(url).await;
        let mut contest = Contest::default();
        // The first round is for connections to be opened and caches to be filled.
        for round in 0..=self.rounds {
            let figures = (
                per_second(&ours, self.seconds).await,
                match &bare {
                    Some(bare) => Some(per_second(bare, self.seconds).await),
                    None => None,
                },
                peer.as_mut().map(|peer| peer.reads_per_second(self.seconds)),
            );
            if round > 0 {
                contest.ours.push(figures.0);
                contest.bare.extend(figures.1);
                contest.peer.extend(figures.2);
            }
        }
        contest
    }
}

impl Contest {
    fn report(&self, name: &str, table: &mut Table, verdicts: &mut Vec<(String, bool)>) {
        let whole = |figures: &[f64]| match figures {
            [] => String::new(),
            figures => group(Figures::new(figures.iter().copied()).median().round() as i64),
        };
        let mut ratio = |others: &[f64], what: &str, bound: f64| {
            if others.is_empty() {
                return String::new();
            }
            let ratio = Figures::new(self.ours.iter().zip(others).map(|(ours, theirs)| ours / theirs));
            verdicts.push((format!("{name}: at least {bound} times {what}"), ratio.median() >= bound));
            ratio.ratio()
        };
        let of_bare = ratio(&self.bare, "a bare read", BARE_BOUND);
        let of_peer = ratio(&self.peer, "tower-sessions", PEER_BOUND);
        table.row([
            name.to_owned(),
            whole(&self.ours),
            whole(&self.bare),
            of_bare,
            whole(&self.peer),
            of_peer,
        ]);
    }
}

/// Whole requests but for HTTP: each loads a visitor's session, gets a value and commits.
async fn sessions(url: &str) -> Read {
    let store = cloakroom_stores::open(url).await.expect("the engine was started");
    let sessions = Sessions::builder(store).build().expect("the defaults hold");
    let mut cookies = Vec::new();
    for _ in 0..SESSIONS {
        let exchange = sessions.begin();
        let session = exchange.session(std::iter::empty(), None).await.expect("no store call");
        session.insert(USER, &USER_ID.to_owned()).expect("it fits");
        session.insert(ROLES, &vec!["user".to_owned()]).expect("it fits");
        session.insert(CSRF, &CSRF_TOKEN.to_owned()).expect("it fits");
        let set_cookie =
            exchange.commit().await.expect("the engine stores").set_cookie.expect("a new session");
        cookies.extend(set_cookie.expose().split(';').next().map(|pair| Arc::from(pair.as_bytes())));
    }
    Arc::new(move |number| {
        let (sessions, cookie): (_, Arc<[u8]>) = (sessions.clone(), Arc::clone(&cookies[number]));
        Box::pin(async move {
            let exchange = sessions.begin();
            let session =
                exchange.session(std::iter::once(&*cookie), None).await.expect("the engine answers");
            assert!(
                session.get(USER).expect("it is a text").is_some(),
                "a read that finds nothing is no read"
            );
            // As an adapter does.
            drop(session);
            if let Finished::Committing(commit) = exchange.finish() {
                commit.await.expect("the engine stores");
            }
        })
    })
}

/// How many of these reads all tasks do in a second.
async fn per_second(read: &Read, seconds: f64) -> f64 {
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let tasks = (0..TASKS).map(|task| {
        let (read, stop) = (Arc::clone(read), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                read((task + count * TASKS) % SESSIONS).await;
                count += 1;
            }
            count
        })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("no read fails");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}
