//! Measures one store of tower-sessions: `peers redis URL`, `peers postgres URL`, `peers sqlite PATH`.
//!
//! For each line `read SECONDS` or `write SECONDS` on standard input it prints how many sessions a second 64 tasks loaded,
//! or loaded and saved again. It prints `ready` first.

use std::{
    env,
    error::Error,
    io::BufRead as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tower_sessions_core::{
    Session, SessionStore,
    session::{Id, Record},
};
use tower_sessions_redis_store::{
    RedisStore,
    fred::prelude::{ClientLike as _, Config, Pool},
};
use tower_sessions_sqlx_store::{
    PostgresStore, SqliteStore,
    sqlx::{PgPool, SqlitePool},
};

const TASKS: usize = 64;
const SESSIONS: usize = 1_024;

/// As many as Cloakroom's PostgreSQL store opens.
const CONNECTIONS: usize = 16;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (kind, place) = (env::args().nth(1).unwrap_or_default(), env::args().nth(2).unwrap_or_default());
    match kind.as_str() {
        "redis" => serve(&runtime, runtime.block_on(redis(&place))?),
        "postgres" => serve(&runtime, runtime.block_on(postgres(&place))?),
        "sqlite" => serve(&runtime, runtime.block_on(sqlite(&place))?),
        _ => Err("usage: peers redis|postgres|sqlite PLACE".into()),
    }
}

async fn redis(url: &str) -> Result<RedisStore<Pool>> {
    let pool = Pool::new(Config::from_url(url)?, None, None, None, CONNECTIONS)?;
    pool.connect();
    pool.wait_for_connect().await?;
    Ok(RedisStore::new(pool))
}

async fn postgres(url: &str) -> Result<PostgresStore> {
    let options = sqlx::postgres::PgPoolOptions::new().max_connections(CONNECTIONS as u32);
    let pool: PgPool = options.connect(url).await?;
    let store = PostgresStore::new(pool);
    store.migrate().await?;
    Ok(store)
}

/// As durable as Cloakroom's store is.
async fn sqlite(path: &str) -> Result<SqliteStore> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let store = SqliteStore::new(SqlitePool::connect_with(options).await?);
    store.migrate().await?;
    Ok(store)
}

/// Fills the store, then does what it is told.
fn serve(runtime: &tokio::runtime::Runtime, store: impl SessionStore + Clone) -> Result<()> {
    let ids = runtime.block_on(fill(&store))?;
    let store = Arc::new(store);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (what, seconds) = line.split_once(' ').ok_or("what, and for how many seconds?")?;
        let round = round(&store, &ids, what == "write", seconds.parse()?);
        println!("{}", runtime.block_on(round)?);
    }
    Ok(())
}

async fn fill(store: &impl SessionStore) -> Result<Vec<Id>> {
    let mut ids = Vec::new();
    for _ in 0..SESSIONS {
        let mut record = Record {
            id: Id::default(),
            data: [
                ("user".to_owned(), "6f1c2f5e-3c0b-4f0e-9a55-0d8b5a1f7c21".into()),
                ("roles".to_owned(), vec!["user"].into()),
                ("csrf".to_owned(), "9b2f0c7d5e8a41c6b3d07f6e2a95c814".into()),
                ("hits".to_owned(), 0.into()),
            ]
            .into(),
            expiry_date: time::OffsetDateTime::now_utc() + time::Duration::hours(1),
        };
        store.create(&mut record).await?;
        ids.push(record.id);
    }
    Ok(ids)
}

async fn round<S: SessionStore>(store: &Arc<S>, ids: &[Id], writes: bool, seconds: f64) -> Result<f64> {
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            // No two tasks share a session.
            let own: Vec<Id> = ids.iter().skip(task).step_by(TASKS).copied().collect();
            tokio::spawn(async move {
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let id = own[count as usize % own.len()];
                    let session = Session::new(Some(id), Arc::clone(&store), None);
                    let user: Option<String> = session.get("user").await?;
                    assert!(user.is_some(), "a read that finds nothing is no read");
                    if writes {
                        session.insert("hits", count).await?;
                        session.save().await?;
                    }
                    count += 1;
                }
                Ok::<u64, tower_sessions_core::session::Error>(count)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
