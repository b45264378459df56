//! Loads. Those that are called for at one moment are one statement.

use cloakroom::{
    Error, SessionId, Timestamp,
    store::{Batches, Fetch, Loaded},
};
use tokio_postgres::Row;

use crate::{
    pool::{Pool, Use},
    row, statements,
};

/// Sessions in one statement at most: others wait for it on the same connection.
const TOGETHER_MAX: usize = 64;

pub(crate) struct Loads(Batches<Load>);

struct Load(Pool);

impl Loads {
    /// Two batches for each connection that reads: one is on its way while the other is made.
    pub(crate) fn new(pool: Pool) -> Self {
        let batches_max = 2 * pool.readers();
        Self(Batches::new(Load(pool), batches_max, TOGETHER_MAX))
    }

    pub(crate) async fn load(&self, id: SessionId, now: Timestamp) -> Result<Loaded, Error> {
        match self.0.get((id, now)).await? {
            Some(row) => row::loaded(id, &row, now),
            None => Ok(Loaded::Absent),
        }
    }
}

impl Fetch for Load {
    type Key = (SessionId, Timestamp);
    type Found = Option<Row>;

    async fn one(&self, (id, now): Self::Key) -> Result<Option<Row>, Error> {
        self.0.call(Use::Read, move |line| statements::load(line, id, now)).await
    }

    async fn several(&self, keys: &[Self::Key]) -> Result<Vec<Option<Row>>, Error> {
        let ids: Vec<_> = keys.iter().map(|(id, _)| *id).collect();
        // What has expired by this clock and by no other is told by who asked.
        let now = keys.iter().map(|(_, now)| *now).min().unwrap_or_default();
        let mut rows = self.0.call(Use::Read, move |line| statements::load_several(line, ids, now)).await?;
        let mut row_of = |id: SessionId| {
            let place = rows.iter().position(|(of, _)| *of == id)?;
            Some(rows.swap_remove(place).1)
        };
        Ok(keys.iter().map(|(id, _)| row_of(*id)).collect())
    }
}
