//! One connection. Calls share it: the driver sends each as it comes, and gives each its own answer.

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{TryStreamExt as _, future};
use tokio::{task::AbortHandle, time::sleep};
use tokio_postgres::{Client, Row, Statement};

use crate::{
    connect::Means,
    failure::{Failure, Refusal},
    sql::Sql,
    value::Value,
};

/// A connection, with its statements prepared.
pub(crate) struct Line {
    client: Client,
    /// By their numbers; none where a pooler stands between that doesn't know them.
    prepared: OnceLock<Vec<Statement>>,
    /// One for all connections.
    means: Arc<Means>,
    /// Calls that have no answer yet.
    waiting: AtomicUsize,
    is_given_up: AtomicBool,
    /// What reads and writes the socket.
    driver: AbortHandle,
}

/// Far longer than the two words of a server are apart.
const SETTLED_AFTER: Duration = Duration::from_millis(20);

/// What a statement brought.
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    /// How many rows it changed.
    pub(crate) changed: u64,
}

impl Line {
    pub(crate) fn new(client: Client, means: Arc<Means>, driver: AbortHandle) -> Self {
        let (waiting, is_given_up) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { client, prepared: OnceLock::new(), means, waiting, is_given_up, driver }
    }

    /// Prepares all statements: at once, where that may be.
    pub(crate) async fn prepare(&self) -> Result<(), Refusal> {
        let preparing = Sql::ALL.map(|sql| self.client.prepare_typed(sql.text(), sql.types()));
        let mut prepared = Vec::with_capacity(Sql::ALL.len());
        if self.means.can_pipeline() {
            prepared = future::try_join_all(preparing).await?;
        } else {
            for statement in preparing {
                prepared.push(statement.await?);
            }
        }
        let _ = self.prepared.set(prepared);
        Ok(())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn make(&self, sql: Sql, values: &[Value]) -> Result<Outcome, Failure> {
        let prepared = self.prepared.get().and_then(|all| all.get(sql as usize));
        let prepared = prepared.filter(|_| self.means.can_prepare());
        let Some(prepared) = prepared else { return self.make_unprepared(sql, values).await };
        match self.collect(self.client.query_raw(prepared, values).await).await {
            Err(failure) if failure.is_unprepared() => {
                self.means.are_lost();
                self.settled().await;
                self.make_unprepared(sql, values).await
            }
            result => result,
        }
    }

    /// Waits until the server is ready again after a failure, before the same connection is asked the next thing. It says
    /// so right behind the failure, and the driver tells of the failure alone.
    pub(crate) async fn settled(&self) {
        if !self.means.can_pipeline() {
            sleep(SETTLED_AFTER).await;
        }
    }

    async fn make_unprepared(&self, sql: Sql, values: &[Value]) -> Result<Outcome, Failure> {
        let values = values.iter().zip(sql.types().iter().cloned());
        self.collect(self.client.query_typed_raw(sql.text(), values).await).await
    }

    async fn collect(
        &self,
        rows: Result<tokio_postgres::RowStream, tokio_postgres::Error>,
    ) -> Result<Outcome, Failure> {
        let mut stream = pin!(rows?);
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await? {
            rows.push(row);
        }
        Ok(Outcome { rows, changed: stream.rows_affected().unwrap_or(0) })
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.is_given_up.load(Ordering::Relaxed)
    }

    /// New calls go elsewhere; those under way may still be answered.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }
}

/// Nobody waits for an answer any more. The driver by itself would stay until the server has taken its leave.
impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A line that a call uses.
pub(crate) struct Taken(Arc<Line>);

impl Taken {
    pub(crate) fn of(line: &Arc<Line>) -> Self {
        line.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(line))
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.0
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
