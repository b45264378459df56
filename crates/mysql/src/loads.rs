//! Loads. Those that are called for at one moment are one statement.

use std::sync::LazyLock;

use cloakroom::{
    Error, SessionId, Timestamp,
    store::{Batches, Fetch, Loaded},
};
use mysql_async::Row;

use crate::{pool::Pool, row, statements};

/// Statements for several sessions are made for 2, 4 and so on, up to 64: a connection then keeps few of them.
const SIZES: u32 = 6;
const TOGETHER_MAX: usize = 1 << SIZES;

pub(crate) struct Loads(Batches<Load>);

struct Load(Pool);

impl Loads {
    /// Half the connections are for reads at most, as far as there are two: changes wait for a disk.
    pub(crate) fn new(pool: Pool) -> Self {
        let batches_max = pool.connections().div_ceil(2);
        Self(Batches::new(Load(pool), batches_max, TOGETHER_MAX))
    }

    pub(crate) async fn load(&self, id: SessionId, now: Timestamp) -> Result<Loaded, Error> {
        match self.0.get((id, now)).await? {
            Some(row) => row::loaded(id, row, now),
            None => Ok(Loaded::Absent),
        }
    }
}

impl Fetch for Load {
    type Key = (SessionId, Timestamp);
    type Found = Option<Row>;

    async fn one(&self, (id, now): Self::Key) -> Result<Option<Row>, Error> {
        self.0.read(move |db| Box::pin(statements::load(db, id, now))).await
    }

    async fn several(&self, keys: &[Self::Key]) -> Result<Vec<Option<Row>>, Error> {
        let mut ids: Vec<_> = keys.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        // What has expired by this clock and by no other is told by who asked.
        let now = keys.iter().map(|(_, now)| *now).min().unwrap_or_default();
        // A read may be made once more.
        let reading = self.0.read(move |db| Box::pin(statements::load_several(db, ids.clone(), now)));
        let rows = reading.await?;
        let row_of = |id: SessionId| rows.iter().find(|(of, _)| *of == id).map(|(_, row)| row.clone());
        Ok(keys.iter().map(|(id, _)| row_of(*id)).collect())
    }
}

/// The statement for at least so many ids, and for how many it is.
pub(crate) fn several(count: usize) -> (&'static str, usize) {
    static STATEMENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let text = |size: u32| {
            let places = vec!["?"; 1 << size].join(", ");
            include_str!("sql/load_several.sql").replacen('?', &places, 1)
        };
        (1..=SIZES).map(text).collect()
    });
    let size = count.next_power_of_two().trailing_zeros().clamp(1, SIZES);
    (&STATEMENTS[size as usize - 1], 1 << size)
}
