//! The layer.

use std::sync::Arc;

use cloakroom::Sessions;
use tower_layer::Layer;

use crate::SessionService;

/// Gives every request below it a session.
///
/// ```
/// use cloakroom::{MemoryStore, Sessions};
/// use cloakroom_tower::SessionLayer;
///
/// let sessions = Sessions::builder(MemoryStore::new()).build()?;
/// let layer = SessionLayer::new(sessions).login_at("/login");
/// # Ok::<(), cloakroom::Error>(())
/// ```
///
/// A layer below another one of the same [`Sessions`] does nothing: a request has one session, and one commit.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    sessions: Sessions,
    login_path: Option<Arc<str>>,
}

impl SessionLayer {
    /// A layer for these sessions.
    #[must_use]
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions, login_path: None }
    }

    /// Where the extractor for authenticated requests sends visitors who aren't: a path of this application, which is
    /// given the path asked for as `?next=`. Only GET and HEAD are redirected; anything else is answered with 401, as
    /// all is without this.
    ///
    /// A client chooses what it asks for, and may make `next` lead to another site: follow it only as far as
    /// [`local_path`](crate::local_path) lets it pass.
    #[must_use]
    pub fn login_at(mut self, path: impl Into<Arc<str>>) -> Self {
        self.login_path = Some(path.into());
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService::new(inner, self.sessions.clone(), self.login_path.clone())
    }
}
