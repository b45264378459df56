//! What a stream or a WebSocket holds: a session that goes on after its response's head.

use std::ops::Deref;

use cloakroom_core::exchange::{Intent, Standing};

use crate::{Error, Session, exchange::Seen};

/// A session that outlives its request's response, from [`Session::detach`]. It has no cookie to send, so it can
/// neither begin a session nor replace a token.
///
/// ```
/// # use cloakroom::{Error, Key, Session};
/// const PROGRESS: Key<u32> = Key::new("progress");
///
/// async fn report(session: Session) -> Result<(), Error> {
///     let session = session.detach();
///     for percent in [25, 50, 75, 100] {
///         session.insert(PROGRESS, &percent)?;
///         session.commit().await?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Detached {
    pub(crate) session: Session,
}

impl Detached {
    /// Stores the changes made since the last commit, and loads the session as it is then. Without changes, it finds
    /// out whether the session still lives, and whose it is.
    ///
    /// This may be dropped at any time: what it began to store is stored all the same, and the handle can be used on.
    ///
    /// # Errors
    /// [`Error::is_lost`] if the session ended or changed hands, [`Error::is_committed`] if the change needs a cookie
    /// (a login, a rotation, a session's first change), [`Error::is_unavailable`] if the store fails. The changes are
    /// gone then. If they are stored, and only loading the session fails, that is no error: the handle goes on with the
    /// session as it was, and its next commit merges.
    pub async fn commit(&self) -> Result<(), Error> {
        let shared = &self.session.shared;
        let (commit, is_reading) = {
            let mut changing = shared.lock();
            let is_reading = changing.seen().intent.is_empty();
            if !is_reading && changing.seen().needs_cookie(shared.engine.is_carried) {
                *changing.intent() = Intent::new(shared.engine.data_bytes_max);
                return Err(Error::committed());
            }
            let commit = if shared.engine.is_carried { None } else { changing.commit() };
            *changing.intent() = Intent::new(shared.engine.data_bytes_max);
            (commit, is_reading)
        };
        let committed = match commit {
            Some(commit) => commit.await.map(|_| ()),
            None => Ok(()),
        };
        let reloaded = shared.reload().await;
        if is_reading { committed.and(reloaded) } else { committed }
    }
}

impl Seen<'_> {
    /// Whether what is wanted would have to be told to the browser, and no response is there to do it.
    fn needs_cookie(self, is_carried: bool) -> bool {
        let Intent { login, step_up, rotate, then, .. } = self.intent;
        let begins = then.as_ref().is_some_and(|then| !then.is_empty());
        let moves = login.is_some() || *step_up || *rotate;
        is_carried || moves || begins || matches!(self.opened.claim.standing, Standing::Absent)
    }
}

impl Deref for Detached {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}
