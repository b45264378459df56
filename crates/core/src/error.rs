//! The one error of this crate.

use std::{borrow::Cow, error, fmt};

/// Why something couldn't be decided, read or written.
///
/// Opaque: callers branch on the `is_…` predicates. The message says how to mend the cause, and never holds a token,
/// a secret or a stored value.
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invalid,
    Value,
    TooLarge,
    Corrupt,
    Entropy,
    Anonymous,
    Refused,
}

impl Error {
    /// An argument or a setting that can't be used.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// A value that doesn't encode to JSON, or whose stored JSON doesn't decode to the type asked for.
    #[must_use]
    pub fn is_value(&self) -> bool {
        self.kind == Kind::Value
    }

    /// The session's data would exceed [`Policy::record_bytes_max`](crate::Policy::record_bytes_max).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind == Kind::TooLarge
    }

    /// Stored bytes that aren't a record this version can read.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.kind == Kind::Corrupt
    }

    /// The source of random bytes failed. Nothing weaker is ever used in its place.
    #[must_use]
    pub fn is_entropy(&self) -> bool {
        self.kind == Kind::Entropy
    }

    /// The operation needs an authenticated session.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.kind == Kind::Anonymous
    }

    /// The [data guard](crate::guard) refuses an entry.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.kind == Kind::Refused
    }

    /// The random source failed, for the reason given.
    pub fn entropy(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::new(Kind::Entropy, "the system's random number generator failed").because(source)
    }

    /// Stored bytes that can't be read, for the reason given.
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// An argument or a setting that can't be used; the message says how to mend it.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn anonymous(message: &'static str) -> Self {
        Self::new(Kind::Anonymous, message)
    }

    /// The [data guard](crate::guard) refuses an entry; the message names it.
    pub fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// The data is too large. The message names the largest of these entries, each with its size.
    pub fn too_large<'a>(
        bytes: usize,
        bytes_max: usize,
        entries: impl IntoIterator<Item = (&'a str, usize)>,
    ) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), *name));
        let largest: Vec<_> =
            entries.iter().take(3).map(|(name, bytes)| format!("`{name}` {bytes}")).collect();
        let message = format!(
            "the session's data would take {bytes} bytes and may take {bytes_max} (the largest: {}): keep large things \
             in a database and their id in the session, or raise `record_bytes_max` where sessions aren't kept in \
             cookies",
            largest.join(", ")
        );
        Self::new(Kind::TooLarge, message)
    }

    pub(crate) fn encode(name: &str, source: serde_json::Error) -> Self {
        Self::new(Kind::Value, format!("the value of `{name}` can't be written as JSON")).because(source)
    }

    /// The source of a decoding error can quote the value, so only its place is kept.
    pub(crate) fn decode(name: &str, type_name: &str, source: &serde_json::Error) -> Self {
        let message = format!(
            "the stored value of `{name}` isn't a {type_name} (at column {} of its JSON): it was written as another \
             type; read it as that type, or use a new name",
            source.column()
        );
        Self::new(Kind::Value, message)
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
