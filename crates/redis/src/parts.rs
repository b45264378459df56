//! The parts of a URL, before they mean anything.

use cloakroom::Error;

/// What follows the scheme: `login@hosts/path?options`.
pub(crate) struct Parts<'a> {
    pub(crate) login: Option<&'a str>,
    pub(crate) hosts: &'a str,
    pub(crate) path: &'a str,
    options: Vec<(&'a str, String)>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(rest: &'a str) -> Result<Self, Error> {
        if rest.contains('#') {
            return Err(Error::invalid("a `#` in a store's URL is written %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold slashes that nobody has escaped; a path holds no `@`.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { login, hosts, path, options: options(query)? })
    }

    /// Takes the option of this name.
    pub(crate) fn option(&mut self, name: &str) -> Result<Option<String>, Error> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.options).into_iter().partition(|(known, _)| *known == name);
        self.options = left;
        if taken.len() > 1 {
            return Err(Error::invalid(format!("the option `{name}` is given twice in the store's URL")));
        }
        Ok(taken.into_iter().next().map(|(_, value)| value))
    }

    /// Refuses options that nobody took. They aren't repeated: a mistyped one may hold a password.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.options.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(
            "an option in the store's URL isn't known: there are `prefix` and `timeout_ms`; `ca` for rediss://; `db` \
             for a socket; `sentinel_username` and `sentinel_password` for sentinels",
        ))
    }
}

fn options(query: &str) -> Result<Vec<(&str, String)>, Error> {
    let wrong = || Error::invalid("an option in a store's URL is written name=value");
    let options = query.split('&').filter(|option| !option.is_empty());
    options
        .map(|option| {
            let (name, value) = option.split_once('=').ok_or_else(wrong)?;
            Ok((name, decoded(value)?))
        })
        .collect()
}

/// Undoes percent-encoding.
pub(crate) fn decoded(text: &str) -> Result<String, Error> {
    let wrong =
        || Error::invalid("a part of the store's URL isn't percent-encoded as UTF-8: a `%` is written %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digits =
            tail.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or_else(wrong)?;
        let digits = str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}
