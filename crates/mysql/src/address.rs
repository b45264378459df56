//! A store's URL.

use std::time::Duration;

use cloakroom::Error;
use mysql_async::{Opts, OptsBuilder};
use percent_encoding::percent_decode_str;

/// What a URL says.
pub(crate) struct Address {
    pub(crate) options: Opts,
    pub(crate) connections: u32,
    pub(crate) migrates: bool,
    pub(crate) privacy: Privacy,
    /// Without what is secret.
    pub(crate) shown: String,
}

/// Whether what is sent can be read by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// It is encrypted, or stays on this machine.
    Kept,
    None,
}

const CONNECTIONS: u32 = 16;
const CONNECTIONS_MAX: u32 = 1_000;
const PORT: u16 = 3306;

/// Prepared statements that a connection keeps: all of this store's.
const STATEMENTS_MAX: usize = 32;

/// Made at the start of each connection. Each call is one statement that commits itself, and sees what others have
/// committed; nothing that is too long is ever cut off.
const SETUP: [&str; 3] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE'",
    "SET SESSION innodb_lock_wait_timeout = 5, autocommit = 1",
];

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let form = "write mysql://USER:PASSWORD@HOST:PORT/DATABASE";
        let wrong = |what: &str| Error::invalid(format!("{what}: {form}"));
        let rest = url
            .strip_prefix("mysql://")
            .or_else(|| url.strip_prefix("mariadb://"))
            .ok_or_else(|| wrong("a MySQL store's URL starts with mysql:// or mariadb://"))?;
        let (place, told) = rest.split_once('?').unwrap_or((rest, ""));
        let told = Options::read(told)?;
        let (authority, database) =
            place.split_once('/').ok_or_else(|| wrong("the URL names no database"))?;
        let (user_info, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let (host, port) =
            host_and_port(host).ok_or_else(|| wrong("the URL's host or port can't be read"))?;
        let database = decoded(database).filter(|name| !name.is_empty() && !name.contains('/'));
        let database = database.ok_or_else(|| wrong("the URL names no database"))?;
        let text = |encoded: &str| decoded(encoded).ok_or_else(|| wrong("the URL isn't UTF-8"));
        let (user, password) = (text(user)?, text(password)?);
        if user.is_empty() {
            return Err(wrong("the URL names no user"));
        }
        let shown = format!("mysql://{host}:{port}/{database}");
        let is_loopback = host == "localhost" || host == "::1" || host.starts_with("127.");
        let mut builder = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(Some(password).filter(|password| !password.is_empty()))
            .db_name(Some(database))
            // Or it would go past a proxy on this machine.
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .client_found_rows(true)
            .stmt_cache_size(STATEMENTS_MAX)
            .setup(SETUP.to_vec());
        if let Some(path) = &told.socket {
            builder = builder.socket(Some(path)).prefer_socket(true);
        }
        let is_near = told.socket.is_some() || is_loopback;
        let privacy = if told.is_encrypted || is_near { Privacy::Kept } else { Privacy::None };
        let options = told.encrypt(builder)?.into();
        let Options { connections, migrates, .. } = told;
        Ok(Self { options, connections, migrates, privacy, shown })
    }
}

/// What stands behind the question mark.
struct Options {
    connections: u32,
    migrates: bool,
    socket: Option<String>,
    is_encrypted: bool,
    authority: Option<String>,
}

impl Options {
    fn read(text: &str) -> Result<Self, Error> {
        let mut options = Self {
            connections: CONNECTIONS,
            migrates: true,
            socket: None,
            is_encrypted: false,
            authority: None,
        };
        let mut given = Vec::new();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if given.contains(&name) {
                return Err(Error::invalid("an option is given twice in the MySQL store's URL"));
            }
            given.push(name);
            let value = decoded(value).ok_or_else(|| Error::invalid("the MySQL store's URL isn't UTF-8"))?;
            options.set(name, value)?;
        }
        if options.authority.is_some() && !options.is_encrypted {
            // Who names one believes that there is encryption.
            return Err(Error::invalid("`ca` is for `sslmode=verify`: add it to the MySQL store's URL"));
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Error> {
        match (name, value.as_str()) {
            ("connections", count) => {
                let count = count.parse().ok().filter(|count| (1..=CONNECTIONS_MAX).contains(count));
                self.connections = count.ok_or_else(|| {
                    Error::invalid(format!("`connections` is a number from 1 to {CONNECTIONS_MAX}"))
                })?;
            }
            ("migrate", "true") => self.migrates = true,
            ("migrate", "false") => self.migrates = false,
            ("migrate", _) => return Err(Error::invalid("`migrate` is `true` or `false`")),
            ("socket", path) if path.starts_with('/') => self.socket = Some(value),
            ("sslmode", "disable") => self.is_encrypted = false,
            ("sslmode", "verify") => self.is_encrypted = true,
            ("sslmode", _) => {
                return Err(Error::invalid(
                    "`sslmode` is `disable`, or `verify`: to encrypt without knowing for whom keeps nobody out",
                ));
            }
            ("ca", file) if !file.is_empty() => self.authority = Some(value),
            _ => {
                return Err(Error::invalid(
                    "a MySQL store's URL has the options connections, migrate, socket, sslmode and ca",
                ));
            }
        }
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn encrypt(&self, builder: OptsBuilder) -> Result<OptsBuilder, Error> {
        if !self.is_encrypted {
            return Ok(builder);
        }
        // Unless the application has chosen another already. Without any, the client would panic.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let roots = self.authority.iter().map(|file| std::path::PathBuf::from(file).into()).collect();
        Ok(builder.ssl_opts(mysql_async::SslOpts::default().with_root_certs(roots)))
    }

    #[cfg(not(feature = "tls"))]
    fn encrypt(&self, builder: OptsBuilder) -> Result<OptsBuilder, Error> {
        if self.is_encrypted {
            return Err(Error::invalid(
                "this program was built without TLS for MySQL: build it with the feature `mysql-tls` (`tls` of \
                 cloakroom-mysql)",
            ));
        }
        Ok(builder)
    }
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Some((decoded(host)?, port))
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let url = "mysql://shop:p%40ss%2F@[::1]:3307/app?connections=4&migrate=false";
        let address = Address::parse(url).unwrap();
        assert_eq!((address.connections, address.migrates), (4, false));
        assert_eq!(address.shown, "mysql://::1:3307/app");
        assert_eq!((address.options.user(), address.options.pass()), (Some("shop"), Some("p@ss/")));
        assert_eq!((address.options.ip_or_hostname(), address.options.tcp_port()), ("::1", 3307));
        assert_eq!(Address::parse("mariadb://u@host/db").unwrap().options.tcp_port(), 3306);
    }

    #[test]
    fn what_cant_work_is_refused_and_no_password_is_said() {
        for url in [
            "mysql:",
            "postgres://u:hunter2@h/d",
            "mysql://u:hunter2@h",
            "mysql://u:hunter2@h/",
            "mysql://:hunter2@h/d",
            "mysql://u:hunter2@h:port/d",
            "mysql://u:hunter2@h/d?connections=0",
            "mysql://u:hunter2@h/d?migrate=maybe",
            "mysql://u:hunter2@h/d?password=hunter2",
            "mysql://u:hunter2@h/d?sslmode=require",
            "mysql://u:hunter2@h/d?socket=relative",
            "mysql://u:hunter2@h/d?ca=/ca.pem",
            "mysql://u:hunter2@h/d?sslmode=disable&ca=/ca.pem",
            "mysql://u:hunter2@h/d?connections=4&connections=5",
            "mysql://u:hunter2@h/d?sslmode=verify&sslmode=disable",
        ] {
            let error = Address::parse(url).err().unwrap();
            assert!(error.is_invalid() && !format!("{error:?}").contains("hunter2"), "{url}: {error:?}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn encryption_that_isnt_built_in_is_refused() {
        assert!(Address::parse("mysql://u@h/d?sslmode=verify").err().unwrap().is_invalid());
    }
}
