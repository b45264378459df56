//! What a commit comes to, at once or later.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use crate::Error;

/// What a response has to carry.
#[derive(Debug)]
pub struct Outcome {
    /// The value of a `Set-Cookie` header. It holds a token: nothing may log it, and the response needs
    /// `Cache-Control: no-store`.
    pub set_cookie: Option<SetCookie>,
    /// The values of further `Set-Cookie` headers, where a sealed session is cut over several cookies.
    pub more_cookies: Vec<SetCookie>,
    /// Whether the session was loaded, so that the response depends on the cookie (`Vary: Cookie`).
    pub was_loaded: bool,
}

impl Outcome {
    pub(crate) fn unchanged() -> Self {
        Self { set_cookie: None, more_cookies: Vec::new(), was_loaded: true }
    }

    pub(crate) fn setting(cookies: Vec<String>) -> Self {
        let mut cookies = cookies.into_iter().map(SetCookie);
        Self { set_cookie: cookies.next(), more_cookies: cookies.collect(), was_loaded: true }
    }
}

/// The value of a `Set-Cookie` header; `Debug` hides it.
pub struct SetCookie(pub(crate) String);

impl SetCookie {
    /// The header's value. It grants access to the session.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SetCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetCookie(…)")
    }
}

/// A commit under way. Dropping it doesn't stop it.
#[must_use = "a commit must be waited for before the response is sent"]
pub struct Commit(Progress);

type Running = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send>>;

enum Progress {
    Done(Option<Result<Outcome, Error>>),
    Running(Running),
}

impl Commit {
    #[inline]
    pub(crate) fn done(result: Result<Outcome, Error>) -> Self {
        Self(Progress::Done(Some(result)))
    }

    pub(crate) fn running(work: impl Future<Output = Result<Outcome, Error>> + Send + 'static) -> Self {
        Self(Progress::Running(Box::pin(work)))
    }
}

impl Commit {
    #[cold]
    fn go_on(&mut self) {
        if let Progress::Running(work) = std::mem::replace(&mut self.0, Progress::Done(None))
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

impl Future for Commit {
    type Output = Result<Outcome, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Progress::Done(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                // Asked again after it was ready, which futures may answer as they like.
                None => Poll::Pending,
            },
            Progress::Running(work) => {
                let result = work.as_mut().poll(context);
                if result.is_ready() {
                    self.0 = Progress::Done(None);
                }
                result
            }
        }
    }
}

/// The client has gone. What its request changed is still to be stored: a payment's session must not depend on a
/// connection. The rest of the work gets a task of its own, which the deadline bounds.
impl Drop for Commit {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.0, Progress::Running(_)) {
            self.go_on();
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commit")
    }
}
