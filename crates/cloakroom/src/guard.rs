//! The data guard: entries that don't belong in a session are refused, or told of.

use std::borrow::Cow;

pub use cloakroom_core::guard::{Resemblance, is_telling, resemblance};

/// What the data guard lets pass; for [`Builder::guard`](crate::Builder::guard).
///
/// It refuses entries whose exact name says that they don't belong in a session, such as `password` or `card_number`,
/// and tells of values that look like a card number or a password's hash: once for each constant key, as
/// [`EventKind::Suspicious`](crate::event::EventKind::Suspicious).
///
/// ```
/// use cloakroom::{Key, MemoryStore, Sessions, guard::Guard};
///
/// # async fn demo() -> Result<(), cloakroom::Error> {
/// let guard = Guard::default().refuse_values();
/// let sessions = Sessions::builder(MemoryStore::new()).guard(guard).build()?;
/// let session = sessions.begin().session(std::iter::empty(), None).await?;
/// assert!(session.insert(Key::<&str>::new("password"), &"hunter2").unwrap_err().is_refused());
/// assert!(session.insert(Key::<&str>::new("paid_with"), &"4111111111111111").unwrap_err().is_refused());
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(demo()).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Guard {
    pub(crate) refuses_values: bool,
    allowed: Vec<Cow<'static, str>>,
}

impl Guard {
    /// Refuses values too that look like a card number or a password's hash. Some ids look like a card number.
    #[must_use]
    pub fn refuse_values(mut self) -> Self {
        self.refuses_values = true;
        self
    }

    /// Lets an entry of exactly this name pass, for an application that means something harmless by it. Whoever reads
    /// the store, a backup of it or a log of its queries will read the entry.
    #[must_use]
    pub fn insecure_allow(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.allowed.push(name.into());
        self
    }

    pub(crate) fn refuses(&self, name: &str) -> bool {
        is_telling(name) && !self.allowed.iter().any(|allowed| allowed == name)
    }
}
