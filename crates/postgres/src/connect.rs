//! How connections are made, and what stands between them and the server.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinHandle},
    time::{Instant, timeout},
};
use tokio_postgres::{Client, Config, NoTls};

use crate::{
    failure::Refusal,
    line::Line,
    news::{News, drive},
    tls::Tls,
};

/// Makes connections.
pub(crate) struct Connector {
    /// One for each host.
    configs: Vec<Config>,
    answered_last: AtomicUsize,
    tls: Option<Tls>,
    /// Whether to prepare statements, where they can be.
    prepares: bool,
    can_prepare: Arc<AtomicBool>,
    /// Whether a connection may be asked several things before it has answered: not before a pooler, nor before it is known
    /// that there is none.
    can_pipeline: AtomicBool,
}

/// A server that hangs takes connections, and says nothing.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);

impl Connector {
    pub(crate) fn new(configs: Vec<Config>, tls: Option<Tls>, prepares: bool) -> Self {
        let (answered_last, can_prepare) = (AtomicUsize::new(0), Arc::default());
        Self { configs, answered_last, tls, prepares, can_prepare, can_pipeline: AtomicBool::new(false) }
    }

    /// Whether statements are prepared once for each connection.
    pub(crate) fn can_prepare(&self) -> bool {
        self.can_prepare.load(Ordering::Relaxed)
    }

    /// Whether calls may share a connection. A pooler lets go of a server once it has answered, with the rest of what was
    /// sent still on its way there: what follows goes to another one, between what others say to it (PgBouncer's issue
    /// 759).
    pub(crate) fn can_pipeline(&self) -> bool {
        self.can_pipeline.load(Ordering::Relaxed) && self.can_prepare()
    }

    pub(crate) async fn connect(&self) -> Result<Line, Refusal> {
        let (client, driver) = self.client().await?;
        let line = Line::new(client, Arc::clone(&self.can_prepare), driver);
        if self.can_prepare() {
            self.prepare(&line).await?;
        }
        Ok(line)
    }

    /// A connection for one use, which ends with it.
    pub(crate) async fn client(&self) -> Result<(Client, AbortHandle), Refusal> {
        let (client, driver) = self.listener(Weak::new()).await?;
        Ok((client, driver.abort_handle()))
    }

    /// A connection over which news come, and what ends when it does.
    ///
    /// The host that answered last is asked first, and each has an equal share of the time that is left: one that takes
    /// connections and says nothing doesn't keep the next from being asked.
    pub(crate) async fn listener(&self, news: Weak<News>) -> Result<(Client, JoinHandle<()>), Refusal> {
        let deadline = Instant::now() + CONNECT_MAX;
        let (count, first) = (self.configs.len(), self.answered_last.load(Ordering::Relaxed));
        let mut refused = Refusal::late();
        for asked in 0..count {
            let host = (first + asked) % count;
            let left = u32::try_from(count - asked).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let logged_in = timeout(share, self.log_in(&self.configs[host], news.clone())).await;
            match logged_in.unwrap_or_else(|_| Err(Refusal::late())) {
                Ok(made) => {
                    self.answered_last.store(host, Ordering::Relaxed);
                    return Ok(made);
                }
                Err(refusal) => refused = refusal,
            }
        }
        Err(refused)
    }

    /// How the connection ends is told to those whose calls it ends.
    async fn log_in(&self, config: &Config, news: Weak<News>) -> Result<(Client, JoinHandle<()>), Refusal> {
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.maker()).await?;
                (client, tokio::spawn(drive(connection, news)))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(drive(connection, news)))
            }
        })
    }

    /// Finds out whether statements can be prepared, and prepares them on this line if so.
    ///
    /// A pooler that hands out servers for a transaction each, and doesn't know of statements that were prepared, would
    /// make another program's statement of the same name.
    pub(crate) async fn examine(&self, line: &Line) -> Result<(), Refusal> {
        if !self.prepares || !self.keeps_statements(line.client()).await? {
            return Ok(());
        }
        self.can_prepare.store(true, Ordering::Relaxed);
        self.prepare(line).await
    }

    /// Later, too, a pooler may come between, or forget what it knew.
    async fn prepare(&self, line: &Line) -> Result<(), Refusal> {
        match line.prepare().await {
            Err(refusal) if refusal.is_unprepared() => {
                self.can_prepare.store(false, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    async fn keeps_statements(&self, client: &Client) -> Result<bool, Refusal> {
        match name_at_server(client).await {
            Err(refusal) if refusal.is_unprepared() => Ok(false),
            Err(refusal) => Err(refusal),
            // A pooler that gives statements names of its own knows them (PgBouncer from 1.21 on).
            Ok(Some(name)) if !is_the_drivers(&name) => Ok(true),
            Ok(_) => {
                let is_pooled = self.shares_servers(client).await?;
                self.can_pipeline.store(!is_pooled, Ordering::Relaxed);
                Ok(!is_pooled)
            }
        }
    }

    /// Whether two connections that are both open were seen at one server process.
    async fn shares_servers(&self, client: &Client) -> Result<bool, Refusal> {
        let (other, _) = self.client().await?;
        let own = pid(client).await?;
        for _ in 0..ROUNDS {
            if pid(&other).await? == own || pid(client).await? != own {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A pooler with other work may give two connections different servers by chance, but hardly so often.
const ROUNDS: usize = 8;

/// The name under which a server holds a statement that was prepared just now.
async fn name_at_server(client: &Client) -> Result<Option<String>, Refusal> {
    let mark = RandomState::new().build_hasher().finish();
    let text = format!("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%{mark}%'");
    let statement = client.prepare_typed(&text, &[]).await?;
    let row = client.query_opt(&statement, &[]).await?;
    Ok(row.and_then(|row| row.try_get(0).ok()))
}

/// The driver numbers its statements: `s7`.
fn is_the_drivers(name: &str) -> bool {
    name.strip_prefix('s').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

async fn pid(client: &Client) -> Result<i32, Refusal> {
    let row = client.query_typed_one("SELECT pg_backend_pid()", &[]).await?;
    Ok(row.try_get(0)?)
}
