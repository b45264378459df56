//! Where the engine is: a URL, read and checked as far as that goes without a connection.

use std::{fmt, path::PathBuf, time::Duration};

use cloakroom::Error;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::parts::{Parts, decoded};

/// What a URL says. `Debug` shows no password.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) servers: Servers,
    pub(crate) login: Login,
    pub(crate) is_encrypted: bool,
    /// The file of the certificates that servers are checked against, in place of the system's.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "without encryption nobody is checked"))]
    pub(crate) authority: Option<PathBuf>,
    pub(crate) db: i64,
    pub(crate) prefix: String,
    /// How long a call may take.
    pub(crate) timeout: Duration,
}

/// A name and a password, as far as they are needed.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Servers {
    One(Endpoint),
    Socket(PathBuf),
    /// The sentinels know where the master of this name is.
    Sentinel {
        sentinels: Vec<Endpoint>,
        master: String,
        login: Login,
    },
    /// Some nodes of a cluster, which know the others.
    Cluster(Vec<Endpoint>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

const PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;
const PREFIX: &str = "cloakroom:";
const PREFIX_BYTES_MAX: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let Some((scheme, rest)) = url.split_once("://") else { return Err(invalid(FORMS)) };
        let mut parts = Parts::of(rest)?;
        let (servers, db, is_encrypted) = match scheme {
            "redis" | "rediss" => (Servers::One(parts.endpoint(PORT)?), parts.db()?, scheme == "rediss"),
            "unix" | "redis+unix" => (Servers::Socket(parts.socket()?), parts.db_option()?, false),
            "redis+sentinel" | "rediss+sentinel" => {
                let (master, db) = parts.master()?;
                let login = Login {
                    username: parts.option("sentinel_username")?,
                    password: parts.option("sentinel_password")?,
                };
                let sentinels = parts.endpoints(SENTINEL_PORT)?;
                (Servers::Sentinel { sentinels, master, login }, db, scheme == "rediss+sentinel")
            }
            "redis+cluster" | "rediss+cluster" => {
                if parts.db()? != 0 {
                    return Err(invalid("a cluster has no database but 0: remove its number from the URL"));
                }
                (Servers::Cluster(parts.endpoints(PORT)?), 0, scheme == "rediss+cluster")
            }
            _ => return Err(invalid(FORMS)),
        };
        if is_encrypted && !cfg!(feature = "tls") {
            return Err(invalid(
                "this program was built without encryption to Redis: build it with the feature `redis-tls` (`tls` of \
                 cloakroom-redis), or write `redis` for `rediss`",
            ));
        }
        let authority = parts.option("ca")?.map(PathBuf::from);
        if authority.is_some() && !is_encrypted {
            return Err(invalid("`ca` is for encrypted connections: write rediss:// in place of redis://"));
        }
        let prefix = prefix(parts.option("prefix")?)?;
        let timeout = timeout(parts.option("timeout_ms")?)?;
        let login = parts.login()?;
        parts.finish()?;
        Ok(Self { servers, login, is_encrypted, authority, db, prefix, timeout })
    }

    /// How to connect to this server.
    pub(crate) fn connection_info(&self, endpoint: &Endpoint) -> redis::RedisResult<ConnectionInfo> {
        let Endpoint { host, port } = endpoint.clone();
        self.tcp(host, port)?.into_connection_info().map(|info| info.set_redis_settings(self.settings()))
    }

    pub(crate) fn socket_info(&self, path: &std::path::Path) -> redis::RedisResult<ConnectionInfo> {
        let info = ConnectionAddr::Unix(path.to_owned()).into_connection_info()?;
        Ok(info.set_redis_settings(self.settings()))
    }

    /// How to connect to this sentinel.
    pub(crate) fn sentinel_info(
        &self,
        endpoint: &Endpoint,
        login: &Login,
    ) -> redis::RedisResult<ConnectionInfo> {
        let Endpoint { host, port } = endpoint.clone();
        let settings = login.apply(RedisConnectionInfo::default());
        Ok(self.tcp(host, port)?.into_connection_info()?.set_redis_settings(settings))
    }

    /// Whether the URL gives a password, and no name.
    pub(crate) fn has_password_alone(&self) -> bool {
        self.login.username.is_none() && self.login.password.is_some()
    }

    pub(crate) fn without_login(&self) -> Self {
        Self { login: Login::default(), ..self.clone() }
    }

    fn settings(&self) -> RedisConnectionInfo {
        self.login.apply(RedisConnectionInfo::default().set_db(self.db))
    }

    fn tcp(&self, host: String, port: u16) -> redis::RedisResult<ConnectionAddr> {
        Ok(if self.is_encrypted {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        })
    }
}

impl Login {
    fn apply(&self, settings: RedisConnectionInfo) -> RedisConnectionInfo {
        let settings = match &self.username {
            Some(username) => settings.set_username(username),
            None => settings,
        };
        match &self.password {
            Some(password) => settings.set_password(password),
            None => settings,
        }
    }
}

/// Without what is secret.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("servers", &self.servers)
            .field("db", &self.db)
            .field("is_encrypted", &self.is_encrypted)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// As people write it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.servers {
            Servers::One(endpoint) => write!(f, "the Redis server at {endpoint}"),
            Servers::Socket(path) => write!(f, "the Redis server at {}", path.display()),
            Servers::Sentinel { master, .. } => write!(f, "the Redis master `{master}`"),
            Servers::Cluster(_) => f.write_str("the Redis cluster"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

const FORMS: &str = "write redis://host:6379, rediss://host (encrypted), unix:///path/to/socket, \
     redis+sentinel://host1,host2,host3/master-name or redis+cluster://host1,host2,host3";

impl Parts<'_> {
    fn endpoints(&self, port: u16) -> Result<Vec<Endpoint>, Error> {
        self.hosts.split(',').map(|host| endpoint(host, port)).collect()
    }

    fn endpoint(&self, port: u16) -> Result<Endpoint, Error> {
        match <[Endpoint; 1]>::try_from(self.endpoints(port)?) {
            Ok([endpoint]) => Ok(endpoint),
            Err(_) => Err(invalid(
                "redis:// takes one host; several are a cluster (redis+cluster://) or sentinels (redis+sentinel://)",
            )),
        }
    }

    fn socket(&self) -> Result<PathBuf, Error> {
        if !self.hosts.is_empty() || self.path.is_empty() {
            return Err(invalid("the path of a socket follows three slashes, as in unix:///run/redis.sock"));
        }
        Ok(format!("/{}", decoded(self.path)?).into())
    }

    fn db(&self) -> Result<i64, Error> {
        db(self.path)
    }

    /// The path names the socket, so the database is an option.
    fn db_option(&mut self) -> Result<i64, Error> {
        db(&self.option("db")?.unwrap_or_default())
    }

    fn master(&self) -> Result<(String, i64), Error> {
        let (master, number) = self.path.split_once('/').unwrap_or((self.path, ""));
        if master.is_empty() {
            return Err(invalid(
                "say which master the sentinels should be asked for, as in redis+sentinel://host1,host2/mymaster",
            ));
        }
        Ok((decoded(master)?, db(number)?))
    }

    fn login(&self) -> Result<Login, Error> {
        let Some(login) = self.login else { return Ok(Login::default()) };
        let Some((username, password)) = login.split_once(':') else {
            return Err(invalid(
                "a user's name needs a password, as in redis://name:password@host; a password alone is written \
                 :password@host",
            ));
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Ok(Login { username: some(decoded(username)?), password: some(decoded(password)?) })
    }
}

fn endpoint(text: &str, port: u16) -> Result<Endpoint, Error> {
    let wrong = || invalid("write a host as name, name:port, address:port or [IPv6 address]:port");
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(wrong)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
        None if rest.is_empty() => port,
        None => return Err(wrong()),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(wrong());
    }
    Ok(Endpoint { host: host.to_owned(), port })
}

fn db(number: &str) -> Result<i64, Error> {
    if number.is_empty() {
        return Ok(0);
    }
    let number = number.parse::<u16>();
    number.map(i64::from).map_err(|_| invalid("a database is a number, as in redis://host/0"))
}

fn prefix(prefix: Option<String>) -> Result<String, Error> {
    let Some(prefix) = prefix else { return Ok(PREFIX.to_owned()) };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":._-/".contains(c);
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(is_plain) {
        return Err(invalid("a prefix is 1 to 64 letters, digits and any of : . _ - /"));
    }
    Ok(prefix)
}

fn timeout(ms: Option<String>) -> Result<Duration, Error> {
    let Some(ms) = ms else { return Ok(TIMEOUT) };
    match ms.parse() {
        Ok(ms) if TIMEOUT_MS.contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err(invalid("timeout_ms is a number of milliseconds from 10 to 60000")),
    }
}

fn invalid(message: &'static str) -> Error {
    Error::invalid(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let address =
            Address::parse("redis://ann:p%40ss%2F@host:7000/3?prefix=shop:&timeout_ms=250").unwrap();
        assert_eq!(address.login.username.as_deref(), Some("ann"));
        assert_eq!(address.login.password.as_deref(), Some("p@ss/"));
        assert_eq!((address.db, &*address.prefix, address.timeout.as_millis()), (3, "shop:", 250));
        assert_eq!(address.to_string(), "the Redis server at host:7000");
        let address = Address::parse("redis+sentinel://:p@a,b:7,[::1]:8/main/2?sentinel_password=s").unwrap();
        let Servers::Sentinel { sentinels, master, login } = &address.servers else { panic!("{address:?}") };
        let shown: Vec<_> = sentinels.iter().map(Endpoint::to_string).collect();
        assert_eq!((shown, &**master), (vec!["a:26379".into(), "b:7".into(), "[::1]:8".into()], "main"));
        assert_eq!((address.db, login.password.as_deref()), (2, Some("s")));
        let address = Address::parse("unix:///run/redis%20x.sock?db=1").unwrap();
        assert!(matches!(&address.servers, Servers::Socket(path) if path.ends_with("redis x.sock")));
        assert!(matches!(Address::parse("redis+cluster://a,b/0").unwrap().servers, Servers::Cluster(_)));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason_and_without_the_password() {
        for (url, reason) in [
            ("redis:secret", "write redis://"),
            ("rediss+unix://secret", "write redis://"),
            ("redis://secret@host", "needs a password"),
            ("redis://u:secret%zz@host", "percent"),
            ("redis://:secret@", "write a host"),
            ("redis://:secret@host:0", "write a host"),
            ("redis://:secret@host:70000", "write a host"),
            ("redis://:secret@ho st", "write a host"),
            ("redis://:secret@a,b", "redis+cluster://"),
            ("redis://:secret@host/secret", "a database is a number"),
            ("redis://:secret@host/-1", "a database is a number"),
            ("redis://:secret@host?secret=1", "isn't known"),
            ("redis://:secret@host?prefix=", "a prefix is"),
            ("redis://:secret@host?prefix=%7Bsecret%7D", "a prefix is"),
            ("redis://:secret@host?prefix=a&prefix=secret", "twice"),
            ("redis://:secret@host?ca=/secret.pem", "rediss://"),
            ("redis://:secret@host?timeout_ms=0", "timeout_ms is"),
            ("redis://:secret@host?timeout_ms", "name=value"),
            ("redis://:secret@host#secret", "#"),
            ("redis+cluster://:secret@host/1", "no database but 0"),
            ("redis+cluster://:secret@host,", "write a host"),
            ("redis+sentinel://:secret@host", "which master"),
            ("redis+sentinel://:secret@host//1", "which master"),
            ("redis+sentinel://:secret@host/main/x", "a database is a number"),
            ("redis://:secret@host?sentinel_password=secret", "isn't known"),
            ("unix://secret/path", "three slashes"),
            ("unix://", "three slashes"),
        ] {
            let error = Address::parse(url).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(error.is_invalid() && told.contains(reason) && !told.contains("secret"), "{url}: {told}");
        }
    }

    #[test]
    fn encryption_that_is_not_compiled_in_is_refused() {
        for url in ["rediss://host", "rediss+cluster://host", "rediss+sentinel://host/main"] {
            assert_eq!(Address::parse(url).is_ok(), cfg!(feature = "tls"), "{url}");
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        let url = "redis+sentinel://ann:secret@host/main?sentinel_username=ben&sentinel_password=hidden";
        let shown = format!("{:?}", Address::parse(url).unwrap());
        assert!(!["ann", "secret", "ben", "hidden"].iter().any(|word| shown.contains(word)), "{shown}");
    }
}
