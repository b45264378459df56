//! What is wrong with the settings: where, what, and how to mend it.

use std::fmt;
use std::path::PathBuf;

use super::key::Key;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(String),
}

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) origin: Origin,
    /// The setting at fault, where one is known.
    pub(crate) key: Option<&'static Key>,
    pub(crate) problem: Problem,
}

/// What is wrong with a value, and how to mend it, as two sentences' worth of text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) mend: String,
}

/// Everything that is wrong, found in one go, so that nobody mends their settings one start at a time.
#[derive(Debug)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Problem {
    pub(crate) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

impl Fault {
    pub(crate) fn new(origin: Origin, key: impl Into<Option<&'static Key>>, problem: Problem) -> Self {
        Self { origin, key: key.into(), problem }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(name) => write!(f, "--{name}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        // A variable and a flag already say which setting they are.
        if let (Origin::File { .. } | Origin::Default, Some(key)) = (&self.origin, self.key) {
            write!(f, "{} ", key.name)?;
        }
        write!(f, "{}\n    {}", self.problem.what, self.problem.mend)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cloakroom can't start with these settings:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n\n{fault}"))
    }
}
