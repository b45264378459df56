//! Work for a thread that owns a connection, and the answer to whoever asked for it.

use cloakroom::Error;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::failure::Failure;

/// One piece of work, and whom to answer. Work and answer are apart, because a write is answered only when it is on
/// disk.
pub(crate) trait Job: Send {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;

    /// Does the work and keeps what it gave.
    fn run(&mut self, db: &Connection) -> Result<(), Failure>;

    /// Answers what the work gave, or this error.
    fn answer(self: Box<Self>, outcome: Result<(), Error>);
}

/// A job of some work, and where its answer arrives.
pub(crate) fn job<T, W>(work: W) -> (Box<dyn Job>, oneshot::Receiver<Result<T, Error>>)
where
    T: Send + 'static,
    W: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Call { work: Some(work), given: None, reply }), answer)
}

struct Call<T, W> {
    work: Option<W>,
    given: Option<T>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, W> Job for Call<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<T, Failure> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, db: &Connection) -> Result<(), Failure> {
        if let Some(work) = self.work.take() {
            self.given = Some(work(db)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), Error>) {
        let Self { given, reply, .. } = *self;
        if let Some(answer) = outcome.map(|()| given).transpose() {
            // Nobody may be waiting for it any more.
            let _ = reply.send(answer);
        }
    }
}
