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
    /// What the browser is to forget, as the value of a `Clear-Site-Data` header: the visitor has logged out.
    pub clear_site_data: Option<SiteData>,
}

impl Outcome {
    #[inline]
    pub(crate) fn untouched() -> Self {
        Self { set_cookie: None, more_cookies: Vec::new(), was_loaded: false, clear_site_data: None }
    }

    pub(crate) fn unchanged() -> Self {
        Self { was_loaded: true, ..Self::untouched() }
    }

    pub(crate) fn with_cookie(set_cookie: String) -> Self {
        Self { set_cookie: Some(SetCookie(set_cookie)), ..Self::unchanged() }
    }

    pub(crate) fn setting(cookies: Vec<String>) -> Self {
        let mut cookies = cookies.into_iter().map(SetCookie);
        Self { set_cookie: cookies.next(), more_cookies: cookies.collect(), ..Self::unchanged() }
    }
}

/// What a browser keeps of a site besides its cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteData {
    /// Its HTTP cache.
    Cache,
    /// What scripts stored: local and session storage, IndexedDB, service workers.
    Storage,
    /// Both.
    CacheAndStorage,
}

impl SiteData {
    /// The value of a `Clear-Site-Data` header.
    #[must_use]
    pub const fn as_header(self) -> &'static str {
        match self {
            Self::Cache => "\"cache\"",
            Self::Storage => "\"storage\"",
            Self::CacheAndStorage => "\"cache\", \"storage\"",
        }
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

    /// The header's value, for adapters that hand it on. It grants access to the session.
    #[must_use]
    pub fn into_exposed(self) -> String {
        self.0
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

enum Progress {
    Done(Option<Result<Outcome, Error>>),
    Running(ToItsEnd<Result<Outcome, Error>>),
}

impl Commit {
    #[inline]
    pub(crate) fn done(result: Result<Outcome, Error>) -> Self {
        Self(Progress::Done(Some(result)))
    }

    pub(crate) fn running(work: impl Future<Output = Result<Outcome, Error>> + Send + 'static) -> Self {
        Self(Progress::Running(ToItsEnd::new(work)))
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
            Progress::Running(work) => Pin::new(work).poll(context),
        }
    }
}

/// Work that is carried to its end, even if nobody waits for it any more: then it gets a task of its own. Whoever makes
/// it bounds its time.
///
/// The client has gone, say. What its request changed is still to be stored: a payment's session must not depend on a
/// connection.
pub(crate) struct ToItsEnd<T: Send + 'static>(Option<Work<T>>);

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: Send + 'static> ToItsEnd<T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let result = work.as_mut().poll(context);
        if result.is_ready() {
            self.0 = None;
        }
        result
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commit")
    }
}
