//! Every Cloakroom store behind one URL: an application changes its storage by changing a line of its settings.
//!
//! ```
//! # async fn example() -> Result<(), cloakroom::Error> {
//! use cloakroom::Sessions;
//!
//! let store = cloakroom_stores::open("sqlite:sessions.db").await?;
//! let sessions = Sessions::builder(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! `sealed:` keeps sessions in their cookies, encrypted: `sealed:?keys=FILE&revocations=URL`. `keys` is the file of the
//! key ring, which `cloakroom keys new` makes; without it, the ring is in the environment variable `CLOAKROOM_KEYS`. Or it
//! is the URL of a store that the fleet shares (with `%26` for `&` in it, and `%25` for `%`; `#NAME` at its end, where
//! several applications keep theirs in one). There the ring is sealed under an outer one, which each node has for itself:
//! in the file that `outer` names, or in `CLOAKROOM_KEYS`.
//! `revocations` comes last, and is another store's URL, whole: there logouts are noted, for all nodes. With
//! `revocations=none`, nothing can be taken back that was handed out: logout deletes the browser's cookie, and a copy of
//! it stays good until it expires. Before it may stand:
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `outer` | the file of the ring that the key ring in a store is sealed under | in `CLOAKROOM_KEYS` |
//! | `rotate_days` | how often the key ring gets a new primary key; 0: somebody else rotates it | 30 |
//! | `follow_s` | how often the key ring is looked at | 5 |
//! | `cookies` | over how many cookies a session may be cut, up to 4 | 1 |
//! | `compressed` | whether sessions are compressed, and padded | false |
//! | `list` | the list's name, where several applications share its store | `default` |
//!
//! Which kinds of storage are compiled in is a matter of this crate's features; `memory:` always is.

mod kinds;
mod ring;
#[cfg(feature = "sealed")]
mod sealed;
mod url;

pub use ring::{KeptRing, RingPlace};
pub use url::StoreUrl;

use cloakroom::{Error, store::Store};

/// Opens the store that a URL names.
///
/// # Errors
/// [`Error::is_invalid`] for a URL that can't work, with what to change; otherwise what the store's driver answers.
pub async fn open(url: &str) -> Result<Box<dyn Store>, Error> {
    StoreUrl::parse(url)?.open().await
}

/// What the URLs of the stores that are compiled in look like, for people: `memory:, sqlite:PATH`.
#[must_use]
pub fn forms() -> String {
    kinds::ALL
        .iter()
        .filter(|kind| kind.driver.is_some())
        .map(|kind| kind.form)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The steps that make a store's tables, as SQL for people who run it by themselves: in order, those that weren't run
/// before. None for storage that has no tables. `url` is a store's URL, or its beginning: `mysql:`.
///
/// # Errors
/// [`Error::is_invalid`] if it names no kind of store that is compiled in.
///
/// ```
/// assert!(cloakroom_stores::migrations("memory:")?.is_empty());
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub fn migrations(url: &str) -> Result<&'static [&'static str], Error> {
    Ok((url::driver_of(url)?.migrations)())
}
