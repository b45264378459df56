//! Loads. Those that are called for at one moment are one statement.

use std::sync::LazyLock;

use cloakroom::{
    Error, SessionId, Timestamp,
    store::{Batches, Fetch, Loaded},
};
use mysql_async::Row;

use crate::{pool::Pool, row, statements};

/// For how many sessions statements are made: each connection prepares them anew, and servers bound how many there are.
const SIZES: [usize; 3] = [4, 16, TOGETHER_MAX];
const TOGETHER_MAX: usize = 64;

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
        let mut rows = reading.await?;
        let row_of = |(at, (id, _)): (usize, &Self::Key)| {
            let place = rows.iter().position(|(of, _)| of == id)?;
            let is_wanted_again = keys[at + 1..].iter().any(|(later, _)| later == id);
            Some(if is_wanted_again { rows[place].1.clone() } else { rows.swap_remove(place).1 })
        };
        Ok(keys.iter().enumerate().map(row_of).collect())
    }
}

/// The statement for at least so many ids, and for how many it is.
pub(crate) fn several(count: usize) -> (&'static str, usize) {
    static STATEMENTS: LazyLock<[String; SIZES.len()]> = LazyLock::new(|| {
        let text = |size| {
            let places = vec!["?"; size].join(", ");
            include_str!("sql/load_several.sql").replacen('?', &places, 1)
        };
        SIZES.map(text)
    });
    let place = SIZES.iter().position(|size| *size >= count).unwrap_or(SIZES.len() - 1);
    (&STATEMENTS[place], SIZES[place])
}
