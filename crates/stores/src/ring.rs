//! Where a key ring is kept: in a file, or in a store that a fleet shares.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use cloakroom::{
    Error,
    keyring::{KeyId, KeyRing, LiveRing, RingFile, RingSource},
    store::{Answer, Finding},
};

use crate::{StoreUrl, kinds};

/// Holds the ring where no other place is named; or the outer ring, where the ring is in a store.
pub(crate) const VARIABLE: &str = "CLOAKROOM_KEYS";

/// Where a key ring is kept: the path of a file, or the URL of a store, which may end in `#` and the ring's name: up to 64
/// letters, digits, dots, dashes and underscores.
///
/// In a store it is sealed under an *outer* ring: the one in the file [given](RingPlace::under), or in the environment
/// variable `CLOAKROOM_KEYS`. Shown, it is as a [`StoreUrl`] is: without what is secret.
///
/// ```
/// use cloakroom_stores::RingPlace;
///
/// let file: RingPlace = "/etc/shop/cloakroom.keys".parse()?;
/// let shared: RingPlace = "sqlite:fleet.db#shop".parse()?;
/// assert_eq!((file.is_shared(), shared.is_shared()), (false, true));
/// assert!("memory:".parse::<RingPlace>().is_err());
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingPlace {
    place: Place,
    outer: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Store { url: StoreUrl, name: Option<String> },
}

impl RingPlace {
    /// A ring in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { place: Place::File(path.into()), outer: None }
    }

    /// The same, sealed under the ring in this file, if it is in a store.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the ring is in a file, which nothing seals, or what is given is a URL.
    pub fn under(mut self, outer: impl Into<PathBuf>) -> Result<Self, Error> {
        let outer = outer.into();
        if !self.is_shared() {
            return Err(Error::invalid(
                "an outer ring seals a ring that is kept in a store, and this one is in a file: leave it out, or name a \
                 store's URL",
            ));
        }
        if outer.to_str().is_some_and(is_url) {
            return Err(Error::invalid(
                "an outer ring is in a file of the node's own: give its path, and no URL",
            ));
        }
        self.outer = Some(outer);
        Ok(self)
    }

    /// Whether it is in a store, which a fleet can share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.place, Place::Store { .. })
    }

    /// The file of the outer ring, if one is named.
    #[must_use]
    pub fn outer(&self) -> Option<&Path> {
        self.outer.as_deref()
    }

    /// Connects to where the ring is, which need not be there yet. In a store, tables are made that it needs.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if there is no outer ring; [`Error::is_unsupported`] for a store that may forget what it
    /// acknowledged, as Memcached does; otherwise what the store's driver answers.
    pub async fn open(&self) -> Result<KeptRing, Error> {
        self.open_or_inspect(false).await
    }

    /// The same for who only looks: neither a file nor tables are made, and the ring isn't sealed anew.
    ///
    /// # Errors
    /// As [`RingPlace::open`].
    pub async fn inspect(&self) -> Result<KeptRing, Error> {
        self.open_or_inspect(true).await
    }

    /// Whether there is a ring, or what may be one. Nothing is made.
    ///
    /// # Errors
    /// As [`RingPlace::open`].
    pub async fn exists(&self) -> Result<bool, Error> {
        match &self.place {
            Place::Store { url, .. } if url.is_missing_file() => self.outer_ring().await.map(|_| false),
            Place::File(_) | Place::Store { .. } => self.inspect().await?.exists().await,
        }
    }

    async fn open_or_inspect(&self, is_looking: bool) -> Result<KeptRing, Error> {
        match &self.place {
            Place::File(path) => Ok(KeptRing(Kept::File(RingFile::new(path)))),
            Place::Store { url, name } => {
                // Before the store is opened: a mistake makes no table.
                let outer = self.outer_ring().await?;
                let store = if is_looking { url.inspect().await } else { url.open().await }?;
                shared(store, outer, name.as_deref(), is_looking)
            }
        }
    }

    /// It is followed only where it can change, and a few minutes late is early enough.
    async fn outer_ring(&self) -> Result<LiveRing, Error> {
        match &self.outer {
            Some(path) => {
                let outer = LiveRing::open(RingFile::new(path)).await?;
                outer.follow(std::time::Duration::from_secs(60));
                Ok(outer)
            }
            None if std::env::var_os(VARIABLE).is_none() => Err(Error::invalid(format!(
                "a key ring in a store is sealed under an outer one, which each node has for itself, and none is named: \
                 make one with `cloakroom keys new --ring outer.keys`, copy it to each node, and name it with `outer=` \
                 (keys.outer_file in the server's settings), or put its text into {VARIABLE}"
            ))),
            None => LiveRing::from_environment(VARIABLE),
        }
    }

    /// As an option of a URL, where `&` ends it.
    pub(crate) fn encoded(&self) -> Result<String, Error> {
        let text = match &self.place {
            Place::File(path) => return file_option(path),
            Place::Store { url, name: None } => url.whole().to_owned(),
            Place::Store { url, name: Some(name) } => format!("{}#{name}", url.whole()),
        };
        Ok(text.replace('%', "%25").replace('&', "%26"))
    }

    /// What follows `keys=`: a path as it is, or a store's URL of which at least `&` and `%` are percent-encoded.
    pub(crate) fn of_option(text: &str) -> Result<Self, Error> {
        match decoded(text) {
            Ok(url) if is_store(&url) => url.parse(),
            Err(error) if is_store(text) => Err(error),
            Ok(_) | Err(_) => path(text),
        }
    }
}

/// The ring in the file of this path.
fn path(text: &str) -> Result<RingPlace, Error> {
    let is_encoded_url = || decoded(text).is_ok_and(|text| is_url(&text));
    if is_url(text) || is_encoded_url() {
        // It isn't repeated, and a path would be: behind a mistyped scheme there may be a password.
        return Err(Error::invalid(
            "that is neither the path of a file nor the URL of a store of a kind that is known: check how the URL begins, or \
             write `./` before a path",
        ));
    }
    Ok(RingPlace::file(text))
}

/// A path as an option of a URL, which isn't encoded.
pub(crate) fn file_option(path: &Path) -> Result<String, Error> {
    let text = path.to_str().filter(|path| !path.contains('&') && !is_store(path));
    let wrong = || {
        Error::invalid(
            "the path of a key ring for sealed sessions is text without `&`, and begins unlike a store's URL",
        )
    };
    text.map(str::to_owned).ok_or_else(wrong)
}

impl FromStr for RingPlace {
    type Err = Error;

    /// The path of a file, or a store's URL.
    ///
    /// # Errors
    /// [`Error::is_invalid`] for a store that can't hold a ring, or isn't known or compiled in, and for what can't be a ring's
    /// name; the message never repeats the URL.
    fn from_str(text: &str) -> Result<Self, Error> {
        if !is_store(text) {
            return path(text);
        }
        let (url, name) = text.split_once('#').map_or((text, None), |(url, name)| (url, Some(name)));
        if name.is_some_and(|name| !is_name(name)) {
            return Err(Error::invalid(
                "what follows the `#` of a store's URL is a key ring's name, of 1 to 64 letters, digits, dots, dashes and \
                 underscores: write that, or leave out the `#`; the path of an SQLite file with a key ring has none",
            ));
        }
        match url.split_once(':').map_or("", |(scheme, _)| scheme) {
            "memory" => Err(Error::invalid(
                "a key ring in memory ends with its process, and no other process has it: name a file, or a store that \
                 all nodes share",
            )),
            "sealed" => {
                Err(Error::invalid("keys are kept in a file or a store, not in the cookies that they seal"))
            }
            "memcached" => Err(cannot_hold("memcached")),
            _ => Ok(Self {
                place: Place::Store { url: StoreUrl::parse(url)?, name: name.map(str::to_owned) },
                outer: None,
            }),
        }
    }
}

impl fmt::Display for RingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Store { url, name: None } => write!(f, "{url}"),
            Place::Store { url, name: Some(name) } => write!(f, "{url}#{name}"),
        }
    }
}

/// A key ring where it is kept: it can be made, read and changed there.
#[derive(Debug)]
pub struct KeptRing(Kept);

#[derive(Debug)]
enum Kept {
    File(RingFile),
    #[cfg(feature = "sealed")]
    Store(cloakroom_sealed::SharedRing),
}

impl KeptRing {
    /// Makes a ring of one fresh key; `None` if there is one already, which is left as it is.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if no file can be made there; [`Error::is_entropy`] if there are no random bytes; otherwise
    /// what the store answers.
    pub async fn create(&self) -> Result<Option<KeyRing>, Error> {
        match &self.0 {
            Kept::File(file) => match file.create() {
                Err(_) if file.path().exists() => Ok(None),
                made => made.map(Some),
            },
            #[cfg(feature = "sealed")]
            Kept::Store(shared) => shared.create_new().await,
        }
    }

    /// The key of the outer ring that the ring is sealed under, if it is in a store. Until that is another, the key is
    /// needed.
    ///
    /// # Errors
    /// As [`RingSource::load`].
    pub async fn sealed_under(&self) -> Result<Option<KeyId>, Error> {
        match &self.0 {
            Kept::File(_) => Ok(None),
            #[cfg(feature = "sealed")]
            Kept::Store(shared) => shared.sealed_under().await.map(Some),
        }
    }

    /// What is wrong, or could go wrong, with the store that the ring is in; nothing, if it is in a file.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        match &self.0 {
            Kept::File(_) => Ok(Vec::new()),
            #[cfg(feature = "sealed")]
            Kept::Store(shared) => shared.diagnose().await,
        }
    }

    async fn exists(&self) -> Result<bool, Error> {
        match &self.0 {
            Kept::File(file) => Ok(file.path().exists()),
            #[cfg(feature = "sealed")]
            Kept::Store(shared) => shared.exists().await,
        }
    }
}

impl RingSource for KeptRing {
    fn load(&self) -> Answer<'_, KeyRing> {
        match &self.0 {
            Kept::File(file) => file.load(),
            #[cfg(feature = "sealed")]
            Kept::Store(shared) => shared.load(),
        }
    }

    fn replace(&self, expected: &KeyRing, ring: &KeyRing) -> Answer<'_, bool> {
        match &self.0 {
            Kept::File(file) => RingSource::replace(file, expected, ring),
            #[cfg(feature = "sealed")]
            Kept::Store(shared) => shared.replace(expected, ring),
        }
    }
}

#[cfg(feature = "sealed")]
fn shared(
    store: Box<dyn cloakroom::store::Store>,
    outer: LiveRing,
    name: Option<&str>,
    is_looking: bool,
) -> Result<KeptRing, Error> {
    let mut shared = cloakroom_sealed::SharedRing::new(store, outer)?;
    if let Some(name) = name {
        shared = shared.named(name)?;
    }
    if is_looking {
        shared = shared.read_only();
    }
    Ok(KeptRing(Kept::Store(shared)))
}

#[cfg(not(feature = "sealed"))]
fn shared(
    _: Box<dyn cloakroom::store::Store>,
    _: LiveRing,
    _: Option<&str>,
    _: bool,
) -> Result<KeptRing, Error> {
    Err(Error::invalid(
        "this program was built without key rings in a store: build it with `--features sealed`",
    ))
}

fn cannot_hold(kind: &str) -> Error {
    Error::invalid(format!(
        "the {kind} store can't hold the key ring: it may forget it, and every session with it; choose one that can list \
         a subject's sessions"
    ))
}

fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_fine)
}

/// Looks like a URL, of whatever kind. A path that does is written with `./` before it.
fn is_url(text: &str) -> bool {
    text.contains("://") && !text.starts_with(['.', '/'])
}

/// A path doesn't begin so; one that does is written with `./` before it.
fn is_store(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| kinds::of_scheme(scheme).is_some())
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, Error> {
    let wrong = || {
        Error::invalid(
            "a store's URL behind `keys=` is percent-encoded: write `%26` for `&` in it, and `%25` for `%`",
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits =
            behind.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or_else(wrong)?;
        let digits = str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
