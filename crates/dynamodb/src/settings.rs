//! What a URL says: which table, where, and how.

use std::ops::RangeInclusive;

use cloakroom::Error;
use url::{Host, Url};

/// A store's URL, read and found to make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) table: String,
    pub(crate) region: Option<String>,
    pub(crate) profile: Option<String>,
    /// Another address than the region's own: an emulator's, or a private endpoint's.
    pub(crate) endpoint: Option<Url>,
    /// What this application's keys begin with.
    pub(crate) prefix: String,
    /// Whether a missing table is made.
    pub(crate) create: bool,
    /// How many calls may be under way at once, and so how many connections there are.
    pub(crate) connections: usize,
}

const PREFIX: &str = "cloakroom";
const PREFIX_BYTES_MAX: usize = 64;
const CONNECTIONS: usize = 64;
const CONNECTIONS_RANGE: RangeInclusive<usize> = 1..=4096;
const FORM: &str = "dynamodb://TABLE?region=REGION";

impl Settings {
    /// # Errors
    /// [`Error::is_invalid`], with what to change. The URL isn't repeated, for it may hold what should be secret.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| url.scheme() == "dynamodb")
            .ok_or_else(|| invalid(format!("a DynamoDB table's URL looks like `{FORM}`")))?;
        no_credentials(&url, "the URL")?;
        let table = url.host_str().unwrap_or_default().to_owned();
        check_table(&table)?;
        if url.port().is_some() || !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(invalid(format!(
                "the table's name is all there is before the options, as in `{FORM}`"
            )));
        }
        let mut settings = Self {
            table,
            region: None,
            profile: None,
            endpoint: None,
            prefix: PREFIX.to_owned(),
            create: false,
            connections: CONNECTIONS,
        };
        let mut seen = Vec::new();
        for (name, value) in url.query_pairs() {
            if seen.contains(&name) {
                return Err(invalid(format!("the option `{name}` stands there twice")));
            }
            settings.set(&name, &value)?;
            seen.push(name);
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name {
            "region" => self.region = Some(word(name, value)?),
            "profile" => self.profile = Some(word(name, value)?),
            "endpoint" => self.endpoint = Some(endpoint(value)?),
            "prefix" => self.prefix = prefix(value)?,
            "create" => self.create = is_true(name, value)?,
            "connections" => self.connections = connections(value)?,
            _ => {
                return Err(invalid(
                    "a DynamoDB table's URL has an option that isn't one: there are region, profile, endpoint, prefix, \
                     create and connections; credentials come from the environment or a profile, never from the URL",
                ));
            }
        }
        Ok(())
    }

    /// Whether the endpoint is this very machine, so an emulator.
    pub(crate) fn is_local(&self) -> bool {
        match self.endpoint.as_ref().and_then(Url::host) {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }

    /// Whether what is sent can be read on its way.
    pub(crate) fn is_in_the_clear(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http") && !self.is_local()
    }

    /// Where the table is, for people.
    pub(crate) fn place(&self) -> String {
        match (&self.endpoint, &self.region) {
            (Some(endpoint), _) => endpoint.origin().ascii_serialization(),
            (None, Some(region)) => format!("region {region}"),
            (None, None) => "the environment's region".to_owned(),
        }
    }
}

fn check_table(table: &str) -> Result<(), Error> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if (3..=255).contains(&table.len()) && table.bytes().all(is_name) {
        return Ok(());
    }
    Err(invalid(format!(
        "give the table's name, 3 to 255 letters, digits, `_`, `-` or `.`, where `{FORM}` has TABLE"
    )))
}

/// Letters, digits and what names of regions and profiles have besides.
fn word(name: &str, value: &str) -> Result<String, Error> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@ ".contains(&byte);
    if !value.trim().is_empty() && value.len() <= 64 && value.bytes().all(is_part) {
        return Ok(value.to_owned());
    }
    Err(invalid(format!("the option `{name}` takes a name of at most 64 letters, digits, `_`, `-` and `.`")))
}

fn endpoint(value: &str) -> Result<Url, Error> {
    let url = Url::parse(value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url =
        url.ok_or_else(|| invalid("the option `endpoint` takes an address such as `http://127.0.0.1:8000`"))?;
    no_credentials(&url, "the endpoint")?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("the option `endpoint` takes an address without a path, a query or a fragment"));
    }
    Ok(url)
}

fn no_credentials(url: &Url, what: &str) -> Result<(), Error> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} has a user or a password in it: remove them. DynamoDB's credentials come from the environment \
         (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), a profile, or the role of the machine or container"
    )))
}

/// Without `#`, which ends the prefix in a key.
fn prefix(value: &str) -> Result<String, Error> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    if (1..=PREFIX_BYTES_MAX).contains(&value.len()) && value.bytes().all(is_part) {
        return Ok(value.to_owned());
    }
    Err(invalid(format!(
        "the option `prefix` takes 1 to {PREFIX_BYTES_MAX} letters, digits, `_`, `-`, `.`, `:` and `/`"
    )))
}

fn is_true(name: &str, value: &str) -> Result<bool, Error> {
    value.parse().map_err(|_| invalid(format!("the option `{name}` takes `true` or `false`")))
}

fn connections(value: &str) -> Result<usize, Error> {
    value.parse().ok().filter(|count| CONNECTIONS_RANGE.contains(count)).ok_or_else(|| {
        let (least, most) = CONNECTIONS_RANGE.into_inner();
        invalid(format!("the option `connections` takes a number from {least} to {most}"))
    })
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_in_full() {
        let url = "dynamodb://My.Sessions_1?region=eu-west-1&profile=app&endpoint=http%3A%2F%2F127.0.0.1%3A8000\
                   &prefix=shop:eu&create=true&connections=7";
        let settings = Settings::parse(url).unwrap();
        assert_eq!(settings.endpoint.as_ref().map(Url::as_str), Some("http://127.0.0.1:8000/"));
        let told = (settings.table.as_str(), settings.region.as_deref(), settings.profile.as_deref());
        assert_eq!(told, ("My.Sessions_1", Some("eu-west-1"), Some("app")));
        assert_eq!((settings.prefix.as_str(), settings.create, settings.connections), ("shop:eu", true, 7));
        let plain = Settings::parse("dynamodb://sessions").unwrap();
        assert_eq!((plain.prefix.as_str(), plain.create, plain.region), (PREFIX, false, None));
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_and_not_repeated() {
        for url in [
            "",
            "dynamodb",
            "dynamodb:",
            "dynamodb:sessions",
            "dynamodb://",
            "dynamodb://ab",
            "dynamodb://s€cret",
            "redis://sessions",
            "dynamodb://sessions:8000",
            "dynamodb://sessions/secret",
            "dynamodb://sessions#secret",
            "dynamodb://key:secret@sessions",
            "dynamodb://secret@sessions",
            "dynamodb://sessions?secret_access_key=secret",
            "dynamodb://sessions?secret",
            "dynamodb://sessions?region=",
            "dynamodb://sessions?region=secret/",
            "dynamodb://sessions?region=eu-west-1&region=eu-west-2",
            "dynamodb://sessions?endpoint=127.0.0.1:8000",
            "dynamodb://sessions?endpoint=ftp://secret",
            "dynamodb://sessions?endpoint=http://key:secret@host",
            "dynamodb://sessions?endpoint=http://host/secret",
            "dynamodb://sessions?prefix=",
            "dynamodb://sessions?prefix=a%23b",
            "dynamodb://sessions?create=yes",
            "dynamodb://sessions?connections=0",
            "dynamodb://sessions?connections=secret",
        ] {
            let error = Settings::parse(url).unwrap_err();
            assert!(error.is_invalid() && !format!("{error:?}").contains("secret/"), "{url}: {error:?}");
            assert!(!error.to_string().replace("AWS_SECRET", "").contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn loopback_is_local_and_everything_else_is_not() {
        let of =
            |endpoint: &str| Settings::parse(&format!("dynamodb://sessions?endpoint={endpoint}")).unwrap();
        for local in ["http://127.0.0.1:8000", "http://[::1]:1", "http://localhost:8000"] {
            assert!(of(local).is_local() && !of(local).is_in_the_clear(), "{local}");
        }
        assert!(!of("https://10.0.0.1").is_in_the_clear());
        assert!(of("http://10.0.0.1").is_in_the_clear() && !of("http://localhost.example").is_local());
        assert!(!Settings::parse("dynamodb://sessions").unwrap().is_local());
    }
}
