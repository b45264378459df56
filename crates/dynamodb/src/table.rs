//! The table, and calls to it: bounded in number, and tried again where that can do no harm.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::TransactWriteItem,
};
use cloakroom::Error;
use tokio::sync::Semaphore;

use crate::failure::{Again, Failure, again, again_in_transaction};

/// A table that calls can be made to.
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    connections: usize,
    /// One for each call under way, and so for each connection.
    permits: Semaphore,
    is_closed: AtomicBool,
}

/// What repeating a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It does no harm: a reading, or a write that comes to the same.
    Repeatable,
    /// It is made again only if it was turned away, for otherwise it may have been done, and would meet its own
    /// condition. The caller finds out, by the version that is stored.
    Once,
}

/// Calls that failed otherwise than by being turned away.
const FAILURES_MAX: u32 = 3;
/// Calls that were turned away: with the pauses between them, about three seconds.
const TURNED_AWAY_MAX: u32 = 12;
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl Table {
    pub(crate) fn new(client: Client, name: String, connections: usize) -> Self {
        let (permits, is_closed) = (Semaphore::new(connections), AtomicBool::new(false));
        Self { client, name, connections, permits, is_closed }
    }

    /// Makes a call, and makes it again where it may be. The inner result is the service's answer to the caller.
    pub(crate) async fn call<T, E, F>(
        &self,
        effect: Effect,
        send: impl Fn() -> F + Send,
    ) -> Result<Result<T, SdkError<E>>, Error>
    where
        F: Future<Output = Result<T, SdkError<E>>> + Send,
        E: ProvideErrorMetadata,
    {
        self.call_again(effect, again, send).await
    }

    /// A transaction, and why it wasn't done, if it wasn't. It is never done twice, whatever becomes of its answers: its
    /// token tells the service.
    pub(crate) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<Option<SdkError<TransactWriteItemsError>>, Error> {
        let token = format!("{:032x}", fastrand::u128(..));
        let send = || {
            let call = self.client.transact_write_items().set_transact_items(Some(items.clone()));
            call.client_request_token(&token).send()
        };
        self.call_again(Effect::Repeatable, again_in_transaction, send).await.map(Result::err)
    }

    async fn call_again<T, E, F>(
        &self,
        effect: Effect,
        again: fn(&SdkError<E>) -> Again,
        send: impl Fn() -> F + Send,
    ) -> Result<Result<T, SdkError<E>>, Error>
    where
        F: Future<Output = Result<T, SdkError<E>>> + Send,
    {
        let (mut failures, mut turned_away) = (0, 0);
        loop {
            let permit = self.permits.acquire().await.map_err(|_| closed())?;
            if self.is_closed.load(Ordering::Acquire) {
                return Err(closed());
            }
            let answer = send().await;
            drop(permit);
            let Err(error) = &answer else { return Ok(answer) };
            let (count, most) = match again(error) {
                Again::TurnedAway => (&mut turned_away, TURNED_AWAY_MAX),
                Again::Unknown if effect == Effect::Repeatable => (&mut failures, FAILURES_MAX),
                Again::Unknown | Again::Never => return Ok(answer),
            };
            *count += 1;
            if *count >= most {
                return Ok(answer);
            }
            pause(*count).await;
        }
    }

    /// The error of a call whose failure means nothing to its caller.
    pub(crate) fn failed<E>(&self, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        Failure::of(error).into_error(&self.name)
    }

    /// Lets no call begin, and waits for those under way.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await;
    }
}

/// A random part of a bound that doubles each time: those who were in each other's way part.
pub(crate) async fn pause(count: u32) {
    let bound = PAUSE.saturating_mul(1 << count.min(10)).min(PAUSE_MAX);
    tokio::time::sleep(bound.mul_f64(fastrand::f64())).await;
}

fn closed() -> Error {
    Error::unavailable("the DynamoDB store is closed", "it was called after `close`")
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}
