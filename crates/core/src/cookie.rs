//! The session cookie: how it is named, read from a request, set and deleted.
//!
//! Rules and limits are those of RFC 6265bis.

mod parts;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, time::Duration};

pub use parts::{Parts, capacity};

use crate::{Error, Token};

/// The name, scope and flags of the session cookie.
///
/// `HttpOnly` can't be turned off: no script has a use for a session token (OWASP ASVS 5.0, 3.3.4).
///
/// ```
/// use cloakroom_core::cookie::{CookiePolicy, SameSite};
///
/// let cookie = CookiePolicy::default().name("__Host-shop").same_site(SameSite::Strict);
/// cookie.check()?;
/// // A browser would drop this one, so it is refused when the application starts.
/// assert!(CookiePolicy::default().domain("example.com").check().is_err());
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CookiePolicy {
    name: Cow<'static, str>,
    domain: Option<Cow<'static, str>>,
    path: Cow<'static, str>,
    same_site: SameSite,
    secure: bool,
    partitioned: bool,
}

/// Which cross-site requests carry the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// None: a link from another site arrives without a session.
    Strict,
    /// Links from other sites, but no forms or embedded requests.
    Lax,
    /// All of them: for applications embedded in other sites, which must defend against forged requests themselves.
    None,
}

impl CookiePolicy {
    /// How many cookies of the session's name are looked at, if a request has several: the first ones.
    pub const CANDIDATES_MAX: usize = 3;

    /// Longest lifetime browsers grant a cookie.
    const MAX_AGE_MAX: Duration = Duration::from_secs(400 * 86_400);

    /// Names the cookie. The prefix `__Host-` (the default has it) makes browsers refuse one set by another host or
    /// over plain HTTP; `__Secure-` only the latter.
    #[must_use]
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Shares the cookie with a domain's other hosts. Each of them can read and replace it, so the name can't have
    /// the prefix `__Host-`.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<Cow<'static, str>>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Limits the cookie to paths below this one. It keeps no secrets between applications on one host, which share
    /// an origin; the name can't have the prefix `__Host-`.
    #[must_use]
    pub fn path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.path = path.into();
        self
    }

    /// Chooses which cross-site requests carry the cookie; [`SameSite::Lax`] by default.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Keeps one cookie for each top-level site that embeds the application (CHIPS).
    #[must_use]
    pub fn partitioned(mut self) -> Self {
        self.partitioned = true;
        self
    }

    /// For development over plain HTTP on a loopback address, and nothing else: drops `Secure`, and the name's prefix
    /// that would demand it. Whoever sees such traffic can take over its sessions.
    #[must_use]
    pub fn insecure_for_plain_http_on_loopback(mut self) -> Self {
        self.secure = false;
        let bare = ["__Host-", "__Secure-"].iter().find_map(|prefix| self.name.strip_prefix(prefix));
        if let Some(bare) = bare.map(str::to_owned) {
            self.name = bare.into();
        }
        self
    }

    /// Refuses what browsers would drop in silence.
    ///
    /// # Errors
    /// [`Error::is_invalid`], with a message that says what to change.
    pub fn check(&self) -> Result<(), Error> {
        let is_token = |byte: u8| byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}"#.contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return Err(Error::invalid("a cookie's name has letters, digits and !#$%&'*+-.^_`|~ only"));
        }
        if self.name.len() + Token::LENGTH > 4096 {
            return Err(Error::invalid("the cookie's name and value together are over 4096 bytes"));
        }
        self.check_prefix()?;
        let is_path = |byte: u8| byte != b';' && (byte.is_ascii_graphic() || byte == b' ');
        if !self.path.starts_with('/') || !self.path.bytes().all(is_path) || self.path.len() > 1024 {
            return Err(Error::invalid(
                "a cookie's path starts with `/`, is printable ASCII without `;` and at most 1024 bytes long",
            ));
        }
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        if let Some(domain) = &self.domain
            && (domain.is_empty()
                || domain.starts_with('.')
                || domain.len() > 253
                || !domain.bytes().all(is_host))
        {
            return Err(Error::invalid(
                "a cookie's domain is a host name such as `example.com`, without a leading dot",
            ));
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err(Error::invalid("browsers drop a `SameSite=None` cookie without `Secure`"));
        }
        if self.partitioned && !self.secure {
            return Err(Error::invalid("browsers drop a `Partitioned` cookie without `Secure`"));
        }
        Ok(())
    }

    fn check_prefix(&self) -> Result<(), Error> {
        let starts = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        for prefix in ["__Host-", "__Secure-", "__Http-", "__Host-Http-"] {
            if starts(prefix) && !self.name.starts_with(prefix) {
                return Err(Error::invalid(format!("write the cookie name's prefix exactly as `{prefix}`")));
            }
            if starts(prefix) && !self.secure {
                return Err(Error::invalid(format!("browsers drop a `{prefix}` cookie without `Secure`")));
            }
        }
        if starts("__Host-") && (self.domain.is_some() || self.path != "/") {
            return Err(Error::invalid(
                "browsers drop a `__Host-` cookie with a domain, or a path other than `/`: leave both out, or choose a \
                 name without the prefix",
            ));
        }
        Ok(())
    }

    /// The cookie's name.
    #[must_use]
    pub fn cookie_name(&self) -> &str {
        &self.name
    }

    /// The session tokens in a request's `Cookie` headers, at most [`CookiePolicy::CANDIDATES_MAX`], in the order
    /// they were sent. What isn't exactly a token is passed over.
    pub fn tokens<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) -> impl Iterator<Item = Token> {
        self.values(headers).filter_map(Token::parse)
    }

    /// The values of the session's cookie in a request's `Cookie` headers, whatever they are; at most
    /// [`CookiePolicy::CANDIDATES_MAX`], in the order they were sent.
    pub fn values<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) -> impl Iterator<Item = &'h [u8]> {
        let (mut headers, mut rest, mut left) = (headers.fuse(), &[][..], Self::CANDIDATES_MAX);
        std::iter::from_fn(move || {
            while left > 0 {
                let Some(pair) = next_pair(&mut rest) else {
                    rest = headers.next()?;
                    continue;
                };
                if let Some(value) = self.value(pair) {
                    left -= 1;
                    return Some(value);
                }
            }
            None
        })
    }

    fn value<'h>(&self, pair: &'h [u8]) -> Option<&'h [u8]> {
        let value = pair.trim_ascii_start().strip_prefix(self.name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.trim_ascii_end())
    }

    /// The `Set-Cookie` value that hands a token to the browser, which may forget it after `max_age`.
    #[must_use]
    pub fn set(&self, token: &Token, max_age: Duration) -> String {
        self.render(&token.expose(), max_age)
    }

    /// The `Set-Cookie` value that hands the browser a sealed session, which it may forget after `max_age`.
    #[must_use]
    pub fn set_sealed(&self, value: String, max_age: Duration) -> String {
        // Rounded down to nothing, it would delete what it is to set.
        self.render_as(&self.name, value, max_age.max(Duration::from_secs(1)))
    }

    /// The `Set-Cookie` value that deletes the cookie: its name, domain and path are those it was set with.
    #[must_use]
    pub fn clear(&self) -> String {
        self.render("", Duration::ZERO)
    }

    fn render(&self, value: &str, max_age: Duration) -> String {
        self.render_as(&self.name, value.to_owned(), max_age)
    }

    /// The value becomes the cookie in its place, where it has the room.
    fn render_as(&self, name: &str, value: String, max_age: Duration) -> String {
        let max_age_s = max_age.min(Self::MAX_AGE_MAX).as_secs().to_string();
        let same_site = match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        let domain_bytes = self.domain.as_ref().map_or(0, |domain| domain.len());
        let mut cookie = value;
        cookie.reserve(name.len() + self.path.len() + domain_bytes + ATTRIBUTES_BYTES_MAX);
        cookie.insert(0, '=');
        cookie.insert_str(0, name);
        for part in ["; Path=", &self.path, "; HttpOnly; SameSite=", same_site, "; Max-Age=", &max_age_s] {
            cookie.push_str(part);
        }
        if let Some(domain) = &self.domain {
            cookie.push_str("; Domain=");
            cookie.push_str(domain);
        }
        if self.secure {
            cookie.push_str("; Secure");
        }
        if self.partitioned {
            cookie.push_str("; Partitioned");
        }
        cookie
    }
}

/// The longest that the names of all attributes take, with a time and a site's mode.
const ATTRIBUTES_BYTES_MAX: usize =
    "=; Path=; HttpOnly; SameSite=Strict; Max-Age=34560000; Domain=; Secure; Partitioned".len();

/// Takes a `Cookie` header's next part off, up to a semicolon or the end; `None` where nothing is left.
fn next_pair<'h>(rest: &mut &'h [u8]) -> Option<&'h [u8]> {
    let text = *rest;
    if text.is_empty() {
        return None;
    }
    let end = semicolon(text);
    *rest = text.get(end + 1..).unwrap_or_default();
    Some(&text[..end])
}

/// Where the first semicolon is; the length, if there is none.
///
/// Cookie headers are long, and most of what is in them is other people's: they are read eight bytes at a time.
fn semicolon(text: &[u8]) -> usize {
    // Long values have none: many bytes at once are looked at, as vectors where the processor has them.
    let (blocks, _) = text.as_chunks::<32>();
    let has_none = |block: &&[u8; 32]| !block.iter().fold(false, |found, byte| found | (*byte == b';'));
    let skipped = blocks.iter().take_while(has_none).count() * 32;
    skipped + semicolon_in_words(&text[skipped..])
}

fn semicolon_in_words(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = text.as_chunks();
    for (at, word) in words.iter().enumerate() {
        // A byte of it is zero where a semicolon is. Subtracting borrows from the first such byte's highest bit; bits
        // above it may be wrong.
        let differing = u64::from_le_bytes(*word) ^ (ONES * u64::from(b';'));
        let found = differing.wrapping_sub(ONES) & !differing & (ONES << 7);
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let start = words.len() * 8;
    rest.iter().position(|byte| *byte == b';').map_or(text.len(), |offset| start + offset)
}

/// `__Host-session`, `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`.
impl Default for CookiePolicy {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("__Host-session"),
            domain: None,
            path: Cow::Borrowed("/"),
            same_site: SameSite::Lax,
            secure: true,
            partitioned: false,
        }
    }
}
