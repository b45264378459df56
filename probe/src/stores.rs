//! The stores the probe can be pointed at: each is a line of [`SCHEMES`] and the function that opens it.

use cloakroom::{
    Error, MemoryStore,
    store::{Answer, Store},
};
use cloakroom_sqlite::SqliteStore;

/// A kind of store, as its URLs name it.
struct Scheme {
    name: &'static str,
    /// What a URL of the scheme looks like.
    form: &'static str,
    /// Opens the store that the URL's part after the colon names.
    open: fn(&str) -> Answer<'_, Box<dyn Store>>,
}

const SCHEMES: &[Scheme] = &[
    Scheme { name: "memory", form: "memory:", open: memory },
    Scheme { name: "sqlite", form: "sqlite:PATH", open: sqlite },
];

/// Opens the store of a URL.
///
/// # Errors
/// [`Error::is_invalid`] for a URL that names no store; otherwise what the store's driver answers.
pub(crate) async fn open(url: &str) -> Result<Box<dyn Store>, Error> {
    let parts = url.split_once(':');
    let known =
        parts.and_then(|(name, rest)| Some((SCHEMES.iter().find(|scheme| scheme.name == name)?, rest)));
    match known {
        Some((scheme, rest)) => (scheme.open)(rest).await,
        // The URL isn't repeated: a mistyped scheme may be followed by a password.
        None => Err(Error::invalid(format!("--store takes one of: {}", forms()))),
    }
}

/// What URLs look like, for people.
pub(crate) fn forms() -> String {
    SCHEMES.iter().map(|scheme| scheme.form).collect::<Vec<_>>().join(", ")
}

fn memory(rest: &str) -> Answer<'_, Box<dyn Store>> {
    Answer::ready(match rest {
        "" => Ok(Box::new(MemoryStore::new())),
        _ => Err(Error::invalid("a memory store has no name: write `memory:`")),
    })
}

fn sqlite(path: &str) -> Answer<'_, Box<dyn Store>> {
    Answer::ready(match path {
        "" => Err(Error::invalid("give the path of the session file, as in `sqlite:sessions.db`")),
        _ => SqliteStore::open(path).map(|store| Box::new(store) as _),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_is_opened_by_its_scheme() {
        assert_eq!(open("memory:").await.unwrap().kind(), "memory");
        for url in ["", "memory", "memory:x", "Memory:", "mem:secret", "sqlite:"] {
            let error = open(url).await.err().unwrap();
            assert!(error.is_invalid() && !error.to_string().contains("secret"), "{url}: {error}");
        }
    }
}
