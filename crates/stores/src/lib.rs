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
//! Which kinds of storage are compiled in is a matter of this crate's features; `memory:` always is.

mod kinds;
mod url;

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
