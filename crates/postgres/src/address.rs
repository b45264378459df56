//! A store's URL.

use std::{net::IpAddr, time::Duration};

use cloakroom::Error;
use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::tls::{self, Tls, Trust};

/// What a URL says.
pub(crate) struct Address {
    /// One for each host.
    pub(crate) configs: Vec<Config>,
    pub(crate) tls: Option<Tls>,
    pub(crate) connections: usize,
    pub(crate) migrates: bool,
    /// Whether statements are prepared, where they can be.
    pub(crate) prepares: bool,
    /// Without what is secret.
    pub(crate) shown: String,
}

const CONNECTIONS: usize = 16;
const CONNECTIONS_MAX: usize = 1_000;
const PORT: u16 = 5432;

/// What is sent and not acknowledged for so long went to a machine that is gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// For each of a name's addresses, so that those after one that leads nowhere are come to.
const ADDRESS_MAX: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(15);

const FORM: &str = "write postgres://USER:PASSWORD@HOST:PORT/DATABASE";
const OPTIONS: &str = "a PostgreSQL store's URL has the options connections, migrate, prepared, host (a socket's folder), \
                       sslmode and sslrootcert";
const SSLMODES: &str = "`sslmode` is `verify-full` (the certificate is checked), `require` (encrypted, by whomever), `prefer` \
                        (encrypted if the server offers it) or `disable`";

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or_else(|| wrong("a PostgreSQL store's URL starts with postgres:// or postgresql://"))?;
        if rest.contains('#') {
            return Err(wrong("the URL has a #, which is written %23 in a password"));
        }
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) =
            place.split_once('/').ok_or_else(|| wrong("the URL names no database"))?;
        let (user_info, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let (user, password, database) = (text(user)?, text(password)?, text(database)?);
        if database.is_empty() || database.contains('/') {
            return Err(wrong("the URL names no database"));
        }
        if user.is_empty() {
            return Err(wrong("the URL names no user"));
        }
        let options = Options::parse(options)?;
        let hosts = options.hosts(hosts)?;
        let shown = format!("postgres://{}/{database}", shown(&hosts));
        let mut config = Config::new();
        config
            .user(user)
            .dbname(database)
            .application_name("cloakroom")
            .connect_timeout(ADDRESS_MAX)
            .tcp_user_timeout(SILENCE_MAX)
            .keepalives_idle(KEEPALIVE)
            // Of several hosts, the one that takes changes: after a failover, another than before.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if !password.is_empty() {
            config.password(password);
        }
        let tls = options.encryption(&hosts, &mut config)?.as_ref().map(tls::of).transpose()?;
        let configs = hosts.into_iter().map(|host| at(&config, host)).collect();
        let Options { connections, migrates, prepares, .. } = options;
        Ok(Self { configs, tls, connections, migrates, prepares, shown })
    }
}

struct Options {
    connections: usize,
    migrates: bool,
    prepares: bool,
    /// The folder of a socket.
    socket: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
}

impl Options {
    fn parse(options: &str) -> Result<Self, Error> {
        let mut parsed = Self {
            connections: CONNECTIONS,
            migrates: true,
            prepares: true,
            socket: None,
            sslmode: None,
            sslrootcert: None,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = text(value)?;
            match (name, value.as_str()) {
                ("connections", count) => {
                    let count = count.parse().ok().filter(|count| (1..=CONNECTIONS_MAX).contains(count));
                    parsed.connections = count.ok_or_else(|| {
                        Error::invalid(format!("`connections` is a number from 1 to {CONNECTIONS_MAX}"))
                    })?;
                }
                ("migrate", value) => parsed.migrates = boolean("migrate", value)?,
                ("prepared", value) => parsed.prepares = boolean("prepared", value)?,
                ("host", path) if path.starts_with('/') => parsed.socket = Some(value),
                ("sslmode", "disable" | "prefer" | "require" | "verify-full") => parsed.sslmode = Some(value),
                ("sslmode", _) => return Err(Error::invalid(SSLMODES)),
                ("sslrootcert", file) if !file.is_empty() => parsed.sslrootcert = Some(value),
                _ => return Err(Error::invalid(OPTIONS)),
            }
        }
        Ok(parsed)
    }

    /// Where the servers are.
    fn hosts(&self, hosts: &str) -> Result<Vec<(Host, u16)>, Error> {
        if let Some(folder) = &self.socket {
            let port = match hosts {
                "" => PORT,
                hosts => host_and_port(hosts).ok_or_else(unreadable)?.1,
            };
            return Ok(vec![(Host::Unix(folder.into()), port)]);
        }
        let read = |host| host_and_port(host).map(|(host, port)| (Host::Tcp(host), port));
        hosts.split(',').map(|host| read(host).ok_or_else(unreadable)).collect()
    }

    /// On this machine nobody listens in who couldn't read the database's files as well; to any other, the safe way is
    /// what isn't said.
    fn encryption(&self, hosts: &[(Host, u16)], config: &mut Config) -> Result<Option<Trust>, Error> {
        let is_here = hosts.iter().all(|(host, _)| match host {
            Host::Tcp(host) => {
                host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
            Host::Unix(_) => true,
        });
        let default = if is_here && self.sslrootcert.is_none() { "disable" } else { "verify-full" };
        let (mode, trust) = match self.sslmode.as_deref().unwrap_or(default) {
            "disable" => (SslMode::Disable, None),
            "prefer" => (SslMode::Prefer, Some(Trust::Anybody)),
            "require" => (SslMode::Require, Some(Trust::Anybody)),
            _ => {
                let file = self.sslrootcert.clone().filter(|file| file != "system");
                (SslMode::Require, Some(Trust::Authorities(file)))
            }
        };
        if self.sslrootcert.is_some() && !matches!(trust, Some(Trust::Authorities(_))) {
            return Err(Error::invalid(
                "`sslrootcert` needs `sslmode=verify-full`: no other mode checks a certificate",
            ));
        }
        config.ssl_mode(mode);
        Ok(trust)
    }
}

/// As people write them.
fn shown(hosts: &[(Host, u16)]) -> String {
    let shown = hosts.iter().map(|(host, port)| match host {
        Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
        Host::Tcp(host) => format!("{host}:{port}"),
        Host::Unix(folder) => format!("{}:{port}", folder.display()),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// The same, for this host.
fn at(config: &Config, (host, port): (Host, u16)) -> Config {
    let mut config = config.clone();
    match host {
        Host::Tcp(host) => config.host(host),
        Host::Unix(folder) => config.host_path(folder),
    };
    config.port(port);
    config
}

fn boolean(name: &str, value: &str) -> Result<bool, Error> {
    value.parse().map_err(|_| Error::invalid(format!("`{name}` is `true` or `false`")))
}

fn host_and_port(written: &str) -> Option<(String, u16)> {
    let (host, port) = match written.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match written.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (written, None),
        },
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Some((text(host).ok()?, port))
}

fn unreadable() -> Error {
    wrong("the URL's host or port can't be read")
}

fn text(encoded: &str) -> Result<String, Error> {
    let text = percent_decode_str(encoded).decode_utf8().map(std::borrow::Cow::into_owned);
    text.ok().filter(|text| !text.contains('\0')).ok_or_else(|| wrong("the URL isn't UTF-8"))
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("{what}: {FORM}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let url =
            "postgres://shop:p%40ss%2F@[::1]:5433,127.0.0.1/app?connections=4&migrate=false&prepared=false";
        let address = Address::parse(url).unwrap();
        assert_eq!((address.connections, address.migrates, address.prepares), (4, false, false));
        assert_eq!(address.shown, "postgres://[::1]:5433,127.0.0.1:5432/app");
        let [other, config] = &address.configs[..] else { panic!("two hosts") };
        assert_eq!((config.get_user(), config.get_password()), (Some("shop"), Some(&b"p@ss/"[..])));
        assert_eq!((config.get_ports(), config.get_ssl_mode()), (&[5432][..], SslMode::Disable));
        assert_eq!((other.get_ports(), other.get_hosts()), (&[5433][..], &[Host::Tcp("::1".to_owned())][..]));
        let address = Address::parse("postgresql://u@:5433/db?host=/run/postgresql").unwrap();
        assert_eq!(address.shown, "postgres:///run/postgresql:5433/db");
        let socket = &address.configs[0];
        assert!(matches!(&socket.get_hosts()[0], Host::Unix(path) if path.ends_with("run/postgresql")));
        assert_eq!(socket.get_ports(), [5433]);
    }

    #[test]
    fn what_cant_work_is_refused_and_no_password_is_said() {
        for url in [
            "postgres:",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@localhost",
            "postgres://u:hunter2@localhost/",
            "postgres://u:hunter2@localhost/hunter2/d",
            "postgres://:hunter2@localhost/d",
            "postgres://u:hunter2@localhost:port/d",
            "postgres://u:hunter2@localhost:0/d",
            "postgres://u:hunter2#@localhost/d",
            "postgres://u:hunter2%ff@localhost/d",
            "postgres://u:hunter2@localhost/d?connections=0",
            "postgres://u:hunter2@localhost/d?migrate=maybe",
            "postgres://u:hunter2@localhost/d?prepared=hunter2",
            "postgres://u:hunter2@localhost/d?password=hunter2",
            "postgres://u:hunter2@localhost/d?sslmode=verify-ca",
            "postgres://u:hunter2@localhost/d?sslmode=disable&sslrootcert=file",
            "postgres://u:hunter2@localhost/d?sslmode=require&sslrootcert=file",
            "postgres://u:hunter2@localhost/d?sslrootcert=/no/such/file",
            "postgres://u:hunter2@localhost/d?host=relative",
        ] {
            let error = Address::parse(url).err().unwrap();
            assert!(error.is_invalid() && !format!("{error:?}").contains("hunter2"), "{url}: {error:?}");
        }
    }

    #[test]
    fn to_other_machines_connections_are_encrypted_unless_it_is_said_otherwise() {
        let mode = |url: &str| Address::parse(url).map(|address| address.configs[0].get_ssl_mode());
        assert_eq!(mode("postgres://u@db.example/d?sslmode=disable").unwrap(), SslMode::Disable);
        assert_eq!(mode("postgres://u@127.0.0.2/d").unwrap(), SslMode::Disable);
        for url in ["postgres://u@db.example/d", "postgres://u@127.0.0.1,db.example/d?sslmode=require"] {
            match mode(url) {
                Ok(mode) => assert_eq!((mode, cfg!(feature = "tls")), (SslMode::Require, true)),
                Err(error) => assert!(!cfg!(feature = "tls") && error.is_invalid(), "{url}: {error}"),
            }
        }
    }
}
