//! The one error of this crate.

use std::{borrow::Cow, error, fmt, sync::Arc, time::Duration};

/// Why a session operation failed.
///
/// Opaque: callers branch on the `is_…` predicates. The message says how to mend the cause, and never holds a token,
/// a secret, a stored value or a store's credentials.
#[derive(Clone)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invalid,
    Value,
    TooLarge,
    KeyClash,
    Committed,
    Anonymous,
    Lost,
    Unavailable,
    Unsupported,
    Corrupt,
    Entropy,
    Refused,
}

impl Error {
    /// An argument or a setting that can't be used.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// A value that doesn't encode to JSON, or whose stored JSON doesn't decode to the type asked for. The stored
    /// record is untouched.
    #[must_use]
    pub fn is_value(&self) -> bool {
        self.kind == Kind::Value
    }

    /// The session would be larger than the policy or the store allows. The stored record is untouched.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind == Kind::TooLarge
    }

    /// Two keys of one name have different types.
    #[must_use]
    pub fn is_key_clash(&self) -> bool {
        self.kind == Kind::KeyClash
    }

    /// The session was already committed: the response's head is on its way, and can't carry a change any more.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.kind == Kind::Committed
    }

    /// The operation needs an authenticated session.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.kind == Kind::Anonymous
    }

    /// The request's changes were lost: the session ended or changed hands meanwhile, or a value it wanted to take
    /// was taken. HTTP's 409.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.kind == Kind::Lost
    }

    /// The store failed, or didn't answer before its deadline; whether a change was made is unknown. HTTP's 503.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.kind == Kind::Unavailable
    }

    /// The store can't do what was asked for, such as listing a subject's sessions.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.kind == Kind::Unsupported
    }

    /// The store holds something that isn't a record, or one written by a newer version.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.kind == Kind::Corrupt
    }

    /// The source of random bytes failed. Nothing weaker is ever used in its place.
    #[must_use]
    pub fn is_entropy(&self) -> bool {
        self.kind == Kind::Entropy
    }

    /// The [data guard](crate::guard) refuses an entry: it has a name, or looks like something, that doesn't belong in a
    /// session.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.kind == Kind::Refused
    }

    /// The kind in one word.
    pub(crate) fn cause(&self) -> &'static str {
        match self.kind {
            Kind::Invalid => "invalid",
            Kind::Value => "value",
            Kind::TooLarge => "too_large",
            Kind::KeyClash => "key_clash",
            Kind::Committed => "committed",
            Kind::Anonymous => "anonymous",
            Kind::Lost => "lost",
            Kind::Unavailable => "unavailable",
            Kind::Unsupported => "unsupported",
            Kind::Corrupt => "corrupt",
            Kind::Entropy => "entropy",
            Kind::Refused => "refused",
        }
    }

    /// The HTTP status of a response to a request that failed with this error: 409 if its changes were lost, 503 if
    /// the store failed, 401 if it needs an authenticated session, and 500 for what the application has to mend.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.kind {
            Kind::Lost => 409,
            Kind::Unavailable | Kind::Entropy => 503,
            Kind::Anonymous => 401,
            Kind::Invalid
            | Kind::Value
            | Kind::TooLarge
            | Kind::KeyClash
            | Kind::Committed
            | Kind::Unsupported
            | Kind::Corrupt
            | Kind::Refused => 500,
        }
    }

    /// What a client may know of this error: the title of an RFC 9457 problem. The message is for the log, for it
    /// tells of the server's inside.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self.status() {
            409 => "The session changed while the request was under way. Load the page again and retry.",
            503 => "The session store can't be reached. Try again in a moment.",
            401 => "This needs a login.",
            _ => "The session couldn't be handled.",
        }
    }

    /// A setting that can't be used, with a message that says how to mend it. For stores.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The store's system failed. For stores.
    pub fn unavailable(
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into().into()), ..Self::new(Kind::Unavailable, message) }
    }

    /// The store holds something it can't read. For stores.
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// The record is larger than the store takes. For stores.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::TooLarge, message)
    }

    /// The store can't do this. For stores.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    pub(crate) fn late(store: &str, deadline: Duration) -> Self {
        Self::new(
            Kind::Unavailable,
            format!("the {store} store didn't answer within {} ms", deadline.as_millis()),
        )
    }

    pub(crate) fn contended(attempts: u32) -> Self {
        let message =
            format!("the session was changed by other requests in each of {attempts} attempts to store it");
        Self::new(Kind::Unavailable, message)
    }

    pub(crate) fn degraded() -> Self {
        Self::new(Kind::Unavailable, "the session couldn't be loaded, so this request can't change it")
    }

    /// The request no longer has authority over its session. For carriers.
    #[must_use]
    pub fn lost() -> Self {
        Self::new(
            Kind::Lost,
            "the session ended or changed hands while the request was under way, or a value it took was taken by \
             another: nothing was stored",
        )
    }

    pub(crate) fn committed() -> Self {
        Self::new(
            Kind::Committed,
            "the session was committed when the response's head was ready: change it before, or use `detach` for \
             streams and WebSockets",
        )
    }

    pub(crate) fn no_session() -> Self {
        Self::new(Kind::Anonymous, "this needs an authenticated session: log in first")
    }

    pub(crate) fn key_clash(name: &str, first: &str, second: &str) -> Self {
        let message = format!(
            "the key `{name}` is used with two types, {first} and {second}: give one of them another name, or share one \
             constant"
        );
        Self::new(Kind::KeyClash, message)
    }

    fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }
}

impl From<cloakroom_core::Error> for Error {
    fn from(error: cloakroom_core::Error) -> Self {
        let kind = if error.is_value() {
            Kind::Value
        } else if error.is_too_large() {
            Kind::TooLarge
        } else if error.is_corrupt() {
            Kind::Corrupt
        } else if error.is_entropy() {
            Kind::Entropy
        } else if error.is_refused() {
            Kind::Refused
        } else if error.is_anonymous() {
            Kind::Anonymous
        } else {
            Kind::Invalid
        };
        let source = error::Error::source(&error)
            .map(|source| Box::<dyn error::Error + Send + Sync>::from(source.to_string()).into());
        Self { kind, message: error.to_string().into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, " ({source})"))
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
