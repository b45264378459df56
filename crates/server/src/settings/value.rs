//! What a written value means: parsed once, at the edge, into types that can't be wrong.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use cloakroom::Timestamp;
use cloakroom_stores::{RingPlace, StoreUrl};
use http::Uri;
use tracing_subscriber::filter::Targets;

use super::fault::Problem;
use super::layers::Raw;

/// The address that browsers use: an https origin, such as `https://shop.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicUrl(String);

impl PublicUrl {
    /// `Err` says why not.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        let authority = uri.authority().ok_or("it names no scheme and host")?;
        if uri.scheme_str() != Some("https") {
            return Err("browsers keep a session cookie safe over https only");
        }
        if authority.as_str().contains('@') {
            return Err("a user name doesn't belong in it");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("the session's cookie covers a whole host, so it can't have a path");
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().filter(|port| *port != 443).map(|port| format!(":{port}"));
        Ok(Self(format!("https://{host}{}", port.unwrap_or_default())))
    }

    /// The origin as browsers write it: lower case, no default port, no trailing slash.
    pub(crate) fn origin(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn listen(raw: &Raw) -> Result<SocketAddr, Problem> {
    let text = text(raw)?;
    // A name would have to be looked up, and could come out as another address than the one that was checked.
    text.parse().map_err(|_| {
        let mend = "Write an IP address and a port, as 127.0.0.1:8080 or [::1]:8080.";
        Problem::new(format!("is {text:?}, which is not an address to listen on"), mend)
    })
}

/// What was written isn't repeated: it may hold a password.
pub(crate) fn store(raw: &Raw) -> Result<StoreUrl, Problem> {
    StoreUrl::parse(text(raw)?).map_err(|error| {
        let mend = format!("Write one of: {}.", cloakroom_stores::forms());
        Problem::new(format!("is not a store that can be used: {error}"), mend)
    })
}

pub(crate) fn public_url(raw: &Raw) -> Result<Option<PublicUrl>, Problem> {
    let text = text(raw)?;
    let mend = "Write the https address of the site, as https://shop.example.";
    PublicUrl::parse(text).map(Some).map_err(|why| Problem::new(format!("is {text:?}: {why}"), mend))
}

/// A whole number within bounds, both included; `unit` is what is counted.
pub(crate) fn number(raw: &Raw, least: u64, most: u64, unit: &str) -> Result<u64, Problem> {
    let wrong = |what: String| {
        Problem::new(format!("is {what}"), format!("Write a whole number of {unit} from {least} to {most}."))
    };
    let number = match raw {
        Raw::Untyped(text) => text.parse().map_err(|_| wrong(format!("{text:?}, not a number in bounds")))?,
        Raw::Integer(number) => number.ok_or_else(|| wrong("out of bounds".to_owned()))?,
        other => return Err(wrong(format!("{}, not a number", kind(other)))),
    };
    if (least..=most).contains(&number) { Ok(number) } else { Err(wrong(format!("{number}, out of bounds"))) }
}

pub(crate) fn switch(raw: &Raw) -> Result<bool, Problem> {
    let wrong =
        |what: String| Problem::new(format!("is {what}, neither true nor false"), "Write true or false.");
    match raw {
        Raw::Boolean(on) => Ok(*on),
        Raw::Untyped(text) => text.parse().map_err(|_| wrong(format!("{text:?}"))),
        other => Err(wrong(kind(other).to_owned())),
    }
}

/// Levels by target, as `info` or `cloakroom=debug,info`.
pub(crate) fn log_filter(raw: &Raw) -> Result<Targets, Problem> {
    let text = text(raw)?;
    text.parse().map_err(|error| {
        let mend = "Write a level (error, warn, info, debug, trace, off), or target=level pairs with commas between.";
        Problem::new(format!("is {text:?}: {error}"), mend)
    })
}

/// A cookie name's characters (RFC 6265, a token of RFC 9110).
pub(crate) fn cookie_name(raw: &Raw) -> Result<Option<String>, Problem> {
    const BYTES_MAX: usize = 128;
    let text = text(raw)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > BYTES_MAX || !text.bytes().all(is_token) {
        let mend = format!("Write 1 to {BYTES_MAX} letters, digits, dashes and underscores, as __Host-shop.");
        return Err(Problem::new(format!("is {text:?}, which is not a cookie name"), mend));
    }
    Ok(Some(text.to_owned()))
}

/// The path of a file, or a store's URL. That isn't repeated: it may hold a password.
pub(crate) fn ring(raw: &Raw) -> Result<Option<RingPlace>, Problem> {
    let mend = "Write the path of a file or a store's URL, or leave it out.";
    match text(raw)? {
        "" => Err(Problem::new("is empty", mend)),
        text => text
            .parse()
            .map(Some)
            .map_err(|error| Problem::new(format!("is no place for a key ring: {error}"), mend)),
    }
}

/// The path of a file, which need not exist yet.
pub(crate) fn path(raw: &Raw) -> Result<Option<PathBuf>, Problem> {
    match text(raw)? {
        "" => Err(Problem::new("is empty", "Write the path of a file, or leave it out.")),
        path => Ok(Some(PathBuf::from(path))),
    }
}

pub(crate) fn time(raw: &Raw) -> Result<Option<Timestamp>, Problem> {
    let text = text(raw)?;
    let mend = "Write a time in UTC, as 2026-10-01T00:00:00Z, between quotation marks.";
    Timestamp::parse(text)
        .map(Some)
        .ok_or_else(|| Problem::new(format!("is {text:?}, which is no time"), mend))
}

fn text(raw: &Raw) -> Result<&str, Problem> {
    match raw {
        Raw::Untyped(text) | Raw::Text(text) => Ok(text),
        other => {
            Err(Problem::new(format!("is {}, not text", kind(other)), "Write it between quotation marks."))
        }
    }
}

fn kind(raw: &Raw) -> &'static str {
    match raw {
        Raw::Untyped(_) | Raw::Text(_) => "text",
        Raw::Boolean(_) => "true or false",
        Raw::Integer(_) => "a number",
        Raw::Other(kind) => kind,
    }
}
