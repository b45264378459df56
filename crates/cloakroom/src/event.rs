//! What happens to sessions, told to whoever listens.

use cloakroom_core::{SessionId, Subject, Timestamp, exchange::EndReason, guard::Resemblance};

/// Something that happened to a session. It names the session by its public id, and never holds a token, a secret or
/// a stored value.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// To which session, where one is known. A store that can't enumerate ends a subject's sessions without knowing
    /// them: that is one event with a subject and no session.
    pub session: Option<SessionId>,
    /// Whom the session belongs to.
    pub subject: Option<Subject>,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A session began.
    Created,
    /// Its data or its timeouts were changed.
    Changed,
    /// Its secret was replaced, or its successor handed out.
    Rotated,
    /// A subject logged in, or authenticated again.
    Authenticated,
    /// It was ended.
    Ended(EndReason),
    /// Its time was over.
    Expired,
    /// A request presented something that grants nothing.
    Rejected(Rejection),
    /// A request's changes were lost, for it no longer had authority.
    Lost,
    /// Two requests at once each changed a session that travels in its cookie: the browser keeps the changes of the
    /// one whose response comes last.
    Overwritten,
    /// A value that was to be stored looks like what doesn't belong in a session: see [`Guard`](crate::guard::Guard).
    Suspicious {
        /// The entry's name.
        name: String,
        /// What it looks like.
        looks_like: Resemblance,
    },
    /// A store call failed or came too late.
    StoreFailed {
        /// The kind of failure in one word, such as `unavailable` or `corrupt`.
        cause: &'static str,
        /// The error's text, for people. It may name addresses, paths and ids.
        error: String,
    },
}

/// Why what a request presented grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It is no token: its length, its characters or its last bits are wrong.
    Malformed,
    /// No session of this id.
    Unknown,
    /// The id is a session's, the secret isn't.
    WrongSecret,
    /// The secret was rotated out and its grace is over; the session was ended.
    Reused,
    /// The secret lost its authority at a login or a step-up.
    Superseded,
    /// The session has ended.
    Ended,
    /// The cookie's time was over.
    Expired,
    /// It is no cookie of ours, or was altered.
    BadSeal,
    /// Its key is none of the ring's any more.
    UnknownKey,
    /// The stored session isn't what the key ring vouched for: somebody who has no key wrote to the store.
    Forged,
    /// The session was stored without a key ring, and the time for those is over.
    Unkeyed,
}

impl EventKind {
    /// The kind in one word, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created => "session.created",
            Self::Changed => "session.changed",
            Self::Rotated => "session.rotated",
            Self::Authenticated => "session.authenticated",
            Self::Ended(_) => "session.ended",
            Self::Expired => "session.expired",
            Self::Rejected(_) => "session.rejected",
            Self::Lost => "session.lost",
            Self::Overwritten => "session.overwritten",
            Self::Suspicious { .. } => "session.suspicious",
            Self::StoreFailed { .. } => "store.failed",
        }
    }

    /// The cause in one word, where a kind has several: one of a few, so metrics can be labelled with it.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Ended(reason) => reason.as_str(),
            Self::Rejected(Rejection::Malformed) => "malformed",
            Self::Rejected(Rejection::Unknown) => "unknown",
            Self::Rejected(Rejection::WrongSecret) => "wrong_secret",
            Self::Rejected(Rejection::Reused) => "reused",
            Self::Rejected(Rejection::Superseded) => "superseded",
            Self::Rejected(Rejection::Ended) => "ended",
            Self::Rejected(Rejection::Expired) => "expired",
            Self::Rejected(Rejection::BadSeal) => "bad_seal",
            Self::Rejected(Rejection::UnknownKey) => "unknown_key",
            Self::Rejected(Rejection::Forged) => "forged",
            Self::Rejected(Rejection::Unkeyed) => "unkeyed",
            Self::Suspicious { looks_like: Resemblance::CardNumber, .. } => "card_number",
            Self::Suspicious { looks_like: Resemblance::PasswordHash, .. } => "password_hash",
            Self::StoreFailed { cause, .. } => cause,
            Self::Created
            | Self::Changed
            | Self::Rotated
            | Self::Authenticated
            | Self::Expired
            | Self::Lost
            | Self::Overwritten => "",
        }
    }
}

/// Somebody who is told of every event, as it happens: an audit trail, metrics, an anomaly detector.
///
/// It is called while a request waits, so it must not block: hand the event to a bounded queue if there is more to do.
///
/// ```
/// use cloakroom::event::{Event, Subscriber};
///
/// struct Audit(std::sync::mpsc::SyncSender<Event>);
///
/// impl Subscriber for Audit {
///     fn on_event(&self, event: &Event) {
///         let _ = self.0.try_send(event.clone());
///     }
/// }
/// ```
pub trait Subscriber: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event);
}

/// Everyone who listens.
#[derive(Default)]
pub(crate) struct Listeners(pub(crate) Vec<Box<dyn Subscriber>>);

impl Listeners {
    /// Tells an event, to `tracing` as well: what went wrong as a warning, what ended or was refused as information,
    /// ordinary life as debugging output.
    pub(crate) fn tell(
        &self,
        kind: EventKind,
        session: Option<SessionId>,
        subject: Option<&Subject>,
        now: impl Fn() -> Timestamp,
    ) {
        let (name, cause) = (kind.name(), kind.cause());
        let (error, key) = match &kind {
            EventKind::StoreFailed { error, .. } => (Some(error.as_str()), None),
            EventKind::Suspicious { name, .. } => (None, Some(name.as_str())),
            _ => (None, None),
        };
        macro_rules! trace {
            ($level:ident) => {
                tracing::event!(
                    target: "cloakroom",
                    tracing::Level::$level,
                    session.id = session.as_ref().map(tracing::field::display),
                    user.id = subject.map(Subject::as_str),
                    cause,
                    error,
                    key,
                    "{name}"
                )
            };
        }
        match &kind {
            EventKind::StoreFailed { .. }
            | EventKind::Suspicious { .. }
            | EventKind::Rejected(Rejection::Reused | Rejection::Forged) => {
                trace!(WARN)
            }
            EventKind::Ended(_)
            | EventKind::Authenticated
            | EventKind::Lost
            | EventKind::Overwritten
            | EventKind::Rejected(Rejection::WrongSecret | Rejection::BadSeal) => trace!(INFO),
            // Dead cookies, which browsers bring in any number, and ordinary life.
            EventKind::Rejected(_)
            | EventKind::Created
            | EventKind::Changed
            | EventKind::Rotated
            | EventKind::Expired => trace!(DEBUG),
        }
        if self.0.is_empty() {
            return;
        }
        let event = Event { at: now(), kind, session, subject: subject.cloned() };
        for subscriber in &self.0 {
            subscriber.on_event(&event);
        }
    }
}
