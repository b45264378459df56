//! Durable changes a second from 64 tasks, beside the peer's SQLite store and beside one transaction for each write.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cloakroom::{Key, Sessions};
use cloakroom_sqlite::SqliteStore;
use rusqlite::{Connection, params};

use crate::{
    apps::{CSRF_TOKEN, USER_ID},
    figures::{Figures, group},
    peer::{self, Peer},
    table::Table,
};

const TASKS: usize = 64;
const HITS: Key<u64> = Key::new("hits");
const BOUND: f64 = 5.0;

/// Rounds in turns, each of both for so long.
pub fn run(rounds: usize, seconds: f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = Folder::new();
    let (mut ours, mut single, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    peer::build();
    let mut peer = Peer::start("sqlite", &folder.0.join("peer.db").display().to_string());
    runtime.block_on(async {
        let sessions = Visitors::new(&folder.0.join("cloakroom.db")).await;
        let transactions = Single::new(&folder.0.join("single.db"));
        for _ in 0..rounds {
            ours.push(sessions.round(seconds).await);
            single.push(transactions.round(seconds).await);
            peers.push(peer.writes_per_second(seconds));
        }
    });
    let times = |others: &[f64]| Figures::new(ours.iter().zip(others).map(|(ours, others)| ours / others));
    let (of_single, of_peer) = (times(&single), times(&peers));
    println!(
        "## Durable changes in SQLite, {TASKS} tasks\n\n{rounds} rounds of {seconds} s each, in turns, on one disk.\n"
    );
    let mut table = Table::new(["changes a second", "median", "least", "most"]);
    let whole = |figure: f64| group(figure.round() as i64);
    let rows = [
        ("Cloakroom, a whole request's change", &ours),
        ("one transaction a write", &single),
        ("tower-sessions' SQLite store", &peers),
    ];
    for (name, figures) in rows {
        let figures = Figures::new(figures.iter().copied());
        table.row([name.to_owned(), whole(figures.median()), whole(figures.min()), whole(figures.max())]);
    }
    println!("{table}");
    for (ratio, what) in [(of_single, "one transaction a write"), (of_peer, "tower-sessions' SQLite store")] {
        let verdict = if ratio.median() >= BOUND { "holds" } else { "MISSED" };
        println!(
            "- {verdict}: at least {BOUND} times those of {what}: {} times, round by round",
            ratio.ratio()
        );
    }
    println!();
}

/// Each task is a visitor: it loads its session, counts, and commits.
struct Visitors {
    sessions: Sessions,
    cookies: Vec<String>,
}

impl Visitors {
    async fn new(path: &Path) -> Self {
        let store = SqliteStore::open(path).expect("a new file opens");
        let sessions = Sessions::builder(store).build().expect("the defaults hold");
        let mut cookies = Vec::new();
        for _ in 0..TASKS {
            let exchange = sessions.begin();
            let session = exchange.session(std::iter::empty(), None).await.expect("no store call");
            session.insert(Key::new("user"), &USER_ID.to_owned()).expect("it fits");
            session.insert(Key::new("csrf"), &CSRF_TOKEN.to_owned()).expect("it fits");
            let outcome = exchange.commit().await.expect("the disk has room");
            let set_cookie = outcome.set_cookie.expect("a new session");
            cookies.extend(set_cookie.expose().split(';').next().map(str::to_owned));
        }
        Self { sessions, cookies }
    }

    async fn round(&self, seconds: f64) -> f64 {
        let tasks = self.cookies.iter().map(|cookie| {
            let (sessions, cookie) = (self.sessions.clone(), cookie.clone());
            move |stop: Arc<AtomicBool>| async move {
                let mut changes = 0;
                while !stop.load(Ordering::Relaxed) {
                    let exchange = sessions.begin();
                    let cookies = std::iter::once(cookie.as_bytes());
                    let session = exchange.session(cookies, None).await.expect("the file is there");
                    session.update(HITS, |hits| *hits += 1).expect("it fits");
                    exchange.commit().await.expect("the disk has room");
                    changes += 1;
                }
                changes
            }
        });
        measure(tasks, seconds).await
    }
}

/// What a store does that writes each session in a transaction of its own, as durably: the whole session as one JSON
/// text, by the same engine, in the same journal mode.
struct Single(Arc<Mutex<Connection>>);

impl Single {
    fn new(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a new file opens");
        let schema = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                      CREATE TABLE session (id TEXT PRIMARY KEY, data TEXT NOT NULL, expires INTEGER NOT NULL);";
        connection.execute_batch(schema).expect("a new file takes a table");
        Self(Arc::new(Mutex::new(connection)))
    }

    async fn round(&self, seconds: f64) -> f64 {
        let tasks = (0..TASKS).map(|task| {
            let connection = Arc::clone(&self.0);
            move |stop: Arc<AtomicBool>| async move {
                let mut changes = 0;
                while !stop.load(Ordering::Relaxed) {
                    let connection = Arc::clone(&connection);
                    let data = format!(r#"{{"user":"{USER_ID}","csrf":"{CSRF_TOKEN}","hits":{changes}}}"#);
                    let written = tokio::task::spawn_blocking(move || upsert(&connection, task, &data)).await;
                    written.expect("no write panics");
                    changes += 1;
                }
                changes
            }
        });
        measure(tasks, seconds).await
    }
}

fn upsert(connection: &Mutex<Connection>, task: usize, data: &str) {
    let connection = connection.lock().expect("no write panics");
    let sql = "INSERT INTO session VALUES (?1, ?2, ?3)
               ON CONFLICT (id) DO UPDATE SET data = excluded.data, expires = excluded.expires";
    let mut statement = connection.prepare_cached(sql).expect("the table is there");
    statement.execute(params![format!("session-{task:014}"), data, 1_800_000]).expect("the disk has room");
}

/// Changes a second of tasks that go on until they are told to stop.
async fn measure<T, F>(tasks: impl Iterator<Item = T>, seconds: f64) -> f64
where
    T: FnOnce(Arc<AtomicBool>) -> F,
    F: Future<Output = u64> + Send + 'static,
{
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let running: Vec<_> = tasks.map(|task| tokio::spawn(task(Arc::clone(&stop)))).collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut changes = 0;
    for task in running {
        changes += task.await.expect("no task panics");
    }
    changes as f64 / begun.elapsed().as_secs_f64()
}

/// A folder on the disk that builds are on: a temporary one may be in memory, where nothing is durable.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let folder = target.join(format!("sqlite-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the target folder can be written to");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
