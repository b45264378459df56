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
    means: Arc<Means>,
}

/// What the way to the server allows, as far as it is known: nothing, to begin with.
#[derive(Debug, Default)]
pub(crate) struct Means {
    prepares: AtomicBool,
    pipelines: AtomicBool,
}

impl Means {
    /// Whether statements are prepared once for each connection.
    pub(crate) fn can_prepare(&self) -> bool {
        self.prepares.load(Ordering::Relaxed)
    }

    /// Whether calls may share a connection: not before a pooler. It lets go of a server once that has answered, with what
    /// was sent behind still on its way; and that goes to another server, between what others say to it (PgBouncer's issue
    /// 759; its later versions are better at it, others aren't).
    pub(crate) fn can_pipeline(&self) -> bool {
        self.pipelines.load(Ordering::Relaxed)
    }

    fn are(&self, prepares: bool, pipelines: bool) {
        self.prepares.store(prepares, Ordering::Relaxed);
        self.pipelines.store(pipelines, Ordering::Relaxed);
    }

    /// A pooler came between, or forgot what it knew.
    pub(crate) fn are_lost(&self) {
        self.are(false, false);
    }
}

/// A server that hangs takes connections, and says nothing.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);

impl Connector {
    pub(crate) fn new(configs: Vec<Config>, tls: Option<Tls>, prepares: bool) -> Self {
        Self { configs, answered_last: AtomicUsize::new(0), tls, prepares, means: Arc::default() }
    }

    pub(crate) fn means(&self) -> &Means {
        &self.means
    }

    pub(crate) async fn connect(&self) -> Result<Line, Refusal> {
        let (client, driver) = self.client().await?;
        let line = Line::new(client, Arc::clone(&self.means), driver);
        if self.means.can_prepare() {
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

    /// Finds out what the way to the server allows, and prepares statements on this line if they can be.
    ///
    /// A pooler that hands out servers for a transaction each, and doesn't know of statements that were prepared, would
    /// make another program's statement of the same name.
    pub(crate) async fn examine(&self, line: &Line) -> Result<(), Refusal> {
        let name = if self.prepares { self.name_at_server().await } else { Ok(None) };
        match name {
            Err(refusal) if refusal.is_unprepared() => {}
            Err(refusal) => return Err(refusal),
            // A pooler that gives statements names of its own knows them (PgBouncer from 1.21 on).
            Ok(Some(name)) if !is_the_drivers(&name) => self.means.are(true, false),
            Ok(_) => {
                let is_pooled = self.shares_servers(line.client()).await?;
                self.means.are(self.prepares && !is_pooled, !is_pooled);
            }
        }
        if self.means.can_prepare() { self.prepare(line).await } else { Ok(()) }
    }

    async fn prepare(&self, line: &Line) -> Result<(), Refusal> {
        match line.prepare().await {
            Err(refusal) if refusal.is_unprepared() => {
                self.means.are_lost();
                line.give_up();
                Ok(())
            }
            result => result,
        }
    }

    /// The name under which a server holds a statement that was prepared just now, on a connection of its own.
    async fn name_at_server(&self) -> Result<Option<String>, Refusal> {
        let (client, _) = self.client().await?;
        let mark = RandomState::new().build_hasher().finish();
        let text = format!("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%{mark}%'");
        let statement = client.prepare_typed(&text, &[]).await?;
        let row = client.query_opt(&statement, &[]).await;
        // Before the statement, whose end would otherwise be told to whichever server comes next.
        drop(client);
        Ok(row?.and_then(|row| row.try_get(0).ok()))
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

/// The driver numbers its statements: `s7`.
fn is_the_drivers(name: &str) -> bool {
    name.strip_prefix('s').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

async fn pid(client: &Client) -> Result<i32, Refusal> {
    let row = client.query_typed_one("SELECT pg_backend_pid()", &[]).await?;
    Ok(row.try_get(0)?)
}
