//! A store's URL, read and checked without a connection.

use std::{fmt, ops::RangeInclusive};

use cloakroom::Error;

/// What a URL asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<Address>,
    /// What every key begins with.
    pub(crate) prefix: String,
    /// How many connections there are to each server.
    pub(crate) connections: usize,
}

/// A server, as the URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

const PORT: u16 = 11_211;
const PREFIX: &str = "cloakroom:";
/// With this, no key is longer than the 250 bytes that Memcached takes.
const PREFIX_BYTES_MAX: usize = 150;
const CONNECTIONS: usize = 2;
const CONNECTIONS_RANGE: RangeInclusive<usize> = 1..=32;
const SERVERS_MAX: usize = 128;

impl Settings {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let rest = url.strip_prefix("memcached://").ok_or_else(|| {
            Error::invalid("a Memcached URL is memcached://HOST:PORT, with commas between several servers")
        })?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        if place.contains('@') {
            return Err(Error::invalid(
                "a Memcached URL takes no user and password: this store doesn't speak SASL. Let Memcached listen on a \
                 network that only your servers reach",
            ));
        }
        let (names, path) = place.split_once('/').unwrap_or((place, ""));
        if !path.is_empty() {
            return Err(Error::invalid(
                "a Memcached URL has no path: to keep applications apart, give each its own `?prefix=`",
            ));
        }
        let mut settings =
            Self { servers: addresses(names)?, prefix: PREFIX.to_owned(), connections: CONNECTIONS };
        let mut given = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let name = option.split('=').next();
            if given.contains(&name) {
                return Err(Error::invalid("an option is given twice in the Memcached URL"));
            }
            given.push(name);
            settings.set(option)?;
        }
        Ok(settings)
    }

    fn set(&mut self, option: &str) -> Result<(), Error> {
        match option.split_once('=') {
            Some(("prefix", prefix)) => {
                let is_plain = prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"%&#".contains(&byte));
                if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !is_plain {
                    return Err(Error::invalid(format!(
                        "`prefix` is 1 to {PREFIX_BYTES_MAX} visible ASCII characters without %, & and #, as in \
                         `?prefix=shop:`"
                    )));
                }
                prefix.clone_into(&mut self.prefix);
            }
            Some(("connections", count)) => {
                let count = count.parse().ok().filter(|count| CONNECTIONS_RANGE.contains(count));
                self.connections = count.ok_or_else(|| {
                    Error::invalid("`connections` is the number of connections to each server, from 1 to 32")
                })?;
            }
            _ => {
                return Err(Error::invalid(
                    "a Memcached URL has the options `prefix` and `connections`, each written `name=value`",
                ));
            }
        }
        Ok(())
    }
}

fn addresses(names: &str) -> Result<Vec<Address>, Error> {
    let servers: Vec<_> = names.split(',').map(Address::parse).collect::<Result<_, _>>()?;
    if servers.len() > SERVERS_MAX {
        return Err(Error::invalid(format!("a Memcached URL names at most {SERVERS_MAX} servers")));
    }
    for (n, server) in servers.iter().enumerate() {
        if servers[..n].contains(server) {
            return Err(Error::invalid(format!("the Memcached URL names {server} twice")));
        }
    }
    Ok(servers)
}

impl Address {
    fn parse(name: &str) -> Result<Self, Error> {
        let (host, port) = match name.strip_prefix('[').and_then(|name| name.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
            None => name.split_once(':').map_or((name, Some("")), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some("") if !name.ends_with(':') => Some(PORT),
            Some(port) => port.parse().ok().filter(|port| *port != 0),
            None => None,
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        match port {
            Some(port) if !host.is_empty() && host.bytes().all(is_plain) => {
                Ok(Self { host: host.to_ascii_lowercase(), port })
            }
            _ => Err(Error::invalid(
                "each server of a Memcached URL is HOST or HOST:PORT, with commas between them: \
                 memcached://cache-1,cache-2:11212; an IPv6 address stands in brackets",
            )),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_and_options() {
        let settings =
            Settings::parse("memcached://Cache-1,10.0.0.2:11212,[::1]:1/?prefix=shop:&connections=5");
        let Settings { servers, prefix, connections } = settings.unwrap();
        let names: Vec<_> = servers.iter().map(Address::to_string).collect();
        assert_eq!(names, ["cache-1:11211", "10.0.0.2:11212", "[::1]:1"]);
        assert_eq!((prefix.as_str(), connections), ("shop:", 5));
        let Settings { prefix, connections, .. } = Settings::parse("memcached://[::1]").unwrap();
        assert_eq!((prefix.as_str(), connections), (PREFIX, CONNECTIONS));
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_the_reason() {
        for (url, reason) in [
            ("memcache://a", "memcached://HOST:PORT"),
            ("memcached:a", "memcached://HOST:PORT"),
            ("memcached://", "HOST or HOST:PORT"),
            ("memcached://a,,b", "HOST or HOST:PORT"),
            ("memcached://a:0", "HOST or HOST:PORT"),
            ("memcached://a:", "HOST or HOST:PORT"),
            ("memcached://a:99999", "HOST or HOST:PORT"),
            ("memcached://a b", "HOST or HOST:PORT"),
            ("memcached://[::1", "HOST or HOST:PORT"),
            ("memcached://[::1]x", "HOST or HOST:PORT"),
            ("memcached://user:secret@a", "SASL"),
            ("memcached://a,A:11211", "twice"),
            ("memcached://a/0", "no path"),
            ("memcached://a?prefix=", "`prefix`"),
            ("memcached://a?prefix=a b", "`prefix`"),
            ("memcached://a?connections=0", "`connections`"),
            ("memcached://a?connections=many", "`connections`"),
            ("memcached://a?password=secret", "the options"),
            ("memcached://a?prefix", "the options"),
            ("memcached://a?prefix=a&prefix=secret", "twice"),
        ] {
            let error = Settings::parse(url).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains(reason), "{url}: {error}");
            assert!(!format!("{error:?}").contains("secret"), "{url}: {error:?}");
        }
    }
}
