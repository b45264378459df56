//! Settings: from file, environment and flags, in that order, the later winning. What is wrong is refused at the
//! start, all of it at once, with the line, variable or flag at fault and how to mend it.

mod fault;
mod key;
mod layers;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cloakroom::Timestamp;
use cloakroom_stores::{RingPlace, StoreUrl};
use tracing::Level;
use tracing_subscriber::filter::Targets;

use fault::Origin;
pub(crate) use fault::{Fault, Faults, Problem};
pub(crate) use key::{ALL as KEYS, COOKIE_NAME, IDLE_TIMEOUT_S, KEYS_ROTATE_DAYS, Key, ROTATION_PERIOD_S};
pub(crate) use layers::{Flags, Setting};
pub(crate) use value::PublicUrl;

use layers::{Layers, Raw};

/// Browsers keep a cookie for 400 days at most (RFC 6265bis, section 5.5), so no session can live longer.
pub(crate) const LIFETIME_MAX_S: u64 = 400 * 24 * 60 * 60;
const DEADLINE_MAX_MS: u64 = 30_000;
const GRACE_MAX_S: u64 = 3_600;
const ROTATE_DAYS_MAX: u64 = 400;

/// The settings in effect, and where each comes from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Setting<SocketAddr>,
    pub(crate) public_url: Setting<Option<PublicUrl>>,
    pub(crate) insecure_plain_http: Setting<bool>,
    pub(crate) store: Setting<StoreUrl>,
    pub(crate) store_deadline_ms: Setting<u64>,
    pub(crate) idle_timeout_s: Setting<u64>,
    pub(crate) absolute_timeout_s: Setting<u64>,
    pub(crate) rotation_period_s: Setting<Option<u64>>,
    pub(crate) cookie_name: Setting<Option<String>>,
    pub(crate) keys_file: Setting<Option<RingPlace>>,
    pub(crate) keys_outer_file: Setting<Option<PathBuf>>,
    pub(crate) keys_rotate_days: Setting<u64>,
    pub(crate) keys_accept_unkeyed_until: Setting<Option<Timestamp>>,
    pub(crate) log: Setting<Targets>,
    pub(crate) shutdown_grace_s: Setting<u64>,
    /// Variables that look like ours and are not: worth a line in the log.
    pub(crate) strangers: Vec<String>,
}

/// What the cookie rests on, decided by where the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Browsers come over https.
    Https,
    /// Plain HTTP on this machine: browsers take it for safe, but Safari refuses it Secure cookies.
    LoopbackHttp,
    /// Plain HTTP over a network, asked for by name.
    InsecureHttp,
}

impl Settings {
    /// Reads, parses and checks them.
    pub(crate) fn load(flags: Flags, environment: &[(String, String)]) -> Result<Self, Faults> {
        let mut layers = Layers::read(flags, environment);
        let settings = Self::declare(&mut layers);
        layers.finish()?;
        let faults = settings.contradictions();
        if faults.is_empty() { Ok(settings) } else { Err(Faults(faults)) }
    }

    /// How browsers reach the server.
    pub(crate) fn transport(&self) -> Transport {
        match (&self.public_url.value, self.listen.value.ip().is_loopback()) {
            (Some(_), _) => Transport::Https,
            (None, true) => Transport::LoopbackHttp,
            (None, false) => Transport::InsecureHttp,
        }
    }

    /// How long requests in flight may take to finish at a stop.
    pub(crate) fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_s.value)
    }

    /// The one place where keys, defaults and meanings meet.
    fn declare(layers: &mut Layers) -> Self {
        let seconds = |raw: &Raw| value::number(raw, 1, LIFETIME_MAX_S, "seconds");
        let milliseconds = |raw: &Raw| value::number(raw, 1, DEADLINE_MAX_MS, "milliseconds");
        let grace = |raw: &Raw| value::number(raw, 0, GRACE_MAX_S, "seconds");
        let days = |raw: &Raw| value::number(raw, 0, ROTATE_DAYS_MAX, "days");
        Self {
            listen: layers.take(&key::LISTEN, SocketAddr::from(([127, 0, 0, 1], 8080)), value::listen),
            public_url: layers.take(&key::PUBLIC_URL, None, value::public_url),
            insecure_plain_http: layers.take(&key::INSECURE_PLAIN_HTTP, false, value::switch),
            store: layers.take(&key::STORE, StoreUrl::sqlite("cloakroom.db"), value::store),
            store_deadline_ms: layers.take(&key::STORE_DEADLINE_MS, 5_000, milliseconds),
            idle_timeout_s: layers.take(&key::IDLE_TIMEOUT_S, 30 * 60, seconds),
            absolute_timeout_s: layers.take(&key::ABSOLUTE_TIMEOUT_S, 24 * 60 * 60, seconds),
            rotation_period_s: layers.take(&key::ROTATION_PERIOD_S, None, |raw| seconds(raw).map(Some)),
            cookie_name: layers.take(&key::COOKIE_NAME, None, value::cookie_name),
            keys_file: layers.take(&key::KEYS_FILE, None, value::ring),
            keys_outer_file: layers.take(&key::KEYS_OUTER_FILE, None, value::path),
            keys_rotate_days: layers.take(&key::KEYS_ROTATE_DAYS, 30, days),
            keys_accept_unkeyed_until: layers.take(&key::KEYS_ACCEPT_UNKEYED_UNTIL, None, value::time),
            log: layers.take(&key::LOG, Targets::new().with_default(Level::INFO), value::log_filter),
            shutdown_grace_s: layers.take(&key::SHUTDOWN_GRACE_S, 10, grace),
            strangers: std::mem::take(&mut layers.strangers),
        }
    }

    /// Settings that are each right and can't be right together. What somebody wrote is at fault, never a default.
    fn contradictions(&self) -> Vec<Fault> {
        [
            self.idle_contradiction(),
            self.rotation_contradiction(),
            self.transport_contradiction(),
            self.keys().err(),
            self.keys_contradiction(),
            self.rotate_days_contradiction(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Where the key ring of stored sessions is.
    pub(crate) fn keys(&self) -> Result<Option<RingPlace>, Fault> {
        let (ring, Some(outer)) = (self.keys_file.value.clone(), &self.keys_outer_file.value) else {
            return Ok(self.keys_file.value.clone());
        };
        match ring.map(|ring| ring.under(outer)) {
            Some(Ok(ring)) => Ok(Some(ring)),
            Some(Err(_)) | None => {
                let what = "seals a key ring that is kept in a store, and keys.file doesn't name a store";
                let problem = Problem::new(what, "Write the store's URL into keys.file, or leave this out.");
                Err(Fault::new(self.keys_outer_file.origin.clone(), &key::KEYS_OUTER_FILE, problem))
            }
        }
    }

    /// The same for who comes after the settings were checked.
    pub(crate) fn keys_file(&self) -> Result<Option<RingPlace>, cloakroom::Error> {
        self.keys().map_err(|fault| cloakroom::Error::invalid(Faults(vec![fault]).to_string()))
    }

    fn keys_contradiction(&self) -> Option<Fault> {
        if self.keys_file.value.is_none() || !self.store.value.is_sealed() {
            return None;
        }
        let what = "is the key ring of stored sessions, and these are sealed into their cookies";
        let problem =
            Problem::new(what, "Name the ring in the store's URL, with `keys=`, and leave this out.");
        Some(Fault::new(self.keys_file.origin.clone(), &key::KEYS_FILE, problem))
    }

    fn rotate_days_contradiction(&self) -> Option<Fault> {
        let days = &self.keys_rotate_days;
        if days.is_default() || self.keys_file.value.is_some() {
            return None;
        }
        let mend = "Leave it out, or name the ring in keys.file; for sealed sessions, write `rotate_days=` into the store's URL.";
        let problem = Problem::new("says nothing without keys.file", mend);
        Some(Fault::new(days.origin.clone(), &key::KEYS_ROTATE_DAYS, problem))
    }

    fn idle_contradiction(&self) -> Option<Fault> {
        let (idle, absolute) = (&self.idle_timeout_s, &self.absolute_timeout_s);
        if idle.value <= absolute.value {
            return None;
        }
        Some(if idle.origin == Origin::Default {
            let what =
                format!("is {}, shorter than the idle timeout's {} (default)", absolute.value, idle.value);
            let mend = "Set session.idle_timeout_s to that or less, too, or lengthen this one.";
            Fault::new(absolute.origin.clone(), &key::ABSOLUTE_TIMEOUT_S, Problem::new(what, mend))
        } else {
            let what = format!(
                "is {}, longer than the absolute timeout's {} ({})",
                idle.value, absolute.value, absolute.origin
            );
            let mend = "Shorten it, or lengthen session.absolute_timeout_s.";
            Fault::new(idle.origin.clone(), &key::IDLE_TIMEOUT_S, Problem::new(what, mend))
        })
    }

    fn rotation_contradiction(&self) -> Option<Fault> {
        let absolute = &self.absolute_timeout_s;
        let period_s = self.rotation_period_s.value.filter(|period_s| *period_s >= absolute.value)?;
        let what = format!(
            "is {period_s}: a session ends before its first renewal, after {} s ({})",
            absolute.value, absolute.origin
        );
        let problem = Problem::new(what, "Shorten the period, or leave it out.");
        Some(Fault::new(self.rotation_period_s.origin.clone(), &key::ROTATION_PERIOD_S, problem))
    }

    fn transport_contradiction(&self) -> Option<Fault> {
        match (self.transport(), self.insecure_plain_http.value) {
            (Transport::InsecureHttp, false) => {
                let what = format!(
                    "is {}, which the network can reach, and nothing says that TLS is in front",
                    self.listen.value
                );
                let mend = "Set public_url to the https address that browsers use, or listen on 127.0.0.1, or accept \
                            cookies that the network can read, with insecure_plain_http.";
                Some(Fault::new(self.listen.origin.clone(), &key::LISTEN, Problem::new(what, mend)))
            }
            (Transport::Https, true) => {
                let problem =
                    Problem::new("contradicts public_url, which is https", "Leave out one of the two.");
                let origin = self.insecure_plain_http.origin.clone();
                Some(Fault::new(origin, &key::INSECURE_PLAIN_HTTP, problem))
            }
            (Transport::Https | Transport::LoopbackHttp, false)
            | (Transport::LoopbackHttp | Transport::InsecureHttp, true) => None,
        }
    }
}

/// A settings file that would give the same, with each value's source behind it.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &dyn fmt::Display| Some(toml::Value::from(text.to_string()).to_string());
        let number = |number: u64| Some(number.to_string());
        let mut line = |key: &Key, value: Option<String>, origin: &Origin| match value {
            Some(value) => writeln!(f, "{:<45} # {origin}", format!("{} = {value}", key.name)),
            None => writeln!(f, "{:<45} # not set", format!("# {}", key.name)),
        };
        let Self { listen, public_url, insecure_plain_http, store, store_deadline_ms, .. } = self;
        let Self { idle_timeout_s, absolute_timeout_s, rotation_period_s, .. } = self;
        let Self { cookie_name, log, shutdown_grace_s, .. } = self;
        line(&key::LISTEN, quoted(&listen.value), &listen.origin)?;
        line(&key::PUBLIC_URL, public_url.value.as_ref().and_then(|url| quoted(url)), &public_url.origin)?;
        line(
            &key::INSECURE_PLAIN_HTTP,
            Some(insecure_plain_http.value.to_string()),
            &insecure_plain_http.origin,
        )?;
        line(&key::STORE, quoted(&store.value), &store.origin)?;
        line(&key::STORE_DEADLINE_MS, number(store_deadline_ms.value), &store_deadline_ms.origin)?;
        line(&key::IDLE_TIMEOUT_S, number(idle_timeout_s.value), &idle_timeout_s.origin)?;
        line(&key::ABSOLUTE_TIMEOUT_S, number(absolute_timeout_s.value), &absolute_timeout_s.origin)?;
        line(&key::ROTATION_PERIOD_S, rotation_period_s.value.and_then(number), &rotation_period_s.origin)?;
        line(
            &key::COOKIE_NAME,
            cookie_name.value.as_ref().and_then(|name| quoted(name)),
            &cookie_name.origin,
        )?;
        let Self { keys_file, keys_outer_file, keys_rotate_days, keys_accept_unkeyed_until, .. } = self;
        line(&key::KEYS_FILE, keys_file.value.as_ref().and_then(|ring| quoted(ring)), &keys_file.origin)?;
        let outer = keys_outer_file.value.as_ref().and_then(|path| quoted(&path.display()));
        line(&key::KEYS_OUTER_FILE, outer, &keys_outer_file.origin)?;
        // It says nothing without a ring, and isn't to be set then.
        let days = keys_file.value.as_ref().and_then(|_| number(keys_rotate_days.value));
        line(&key::KEYS_ROTATE_DAYS, days, &keys_rotate_days.origin)?;
        let until = keys_accept_unkeyed_until.value.as_ref().and_then(|time| quoted(time));
        line(&key::KEYS_ACCEPT_UNKEYED_UNTIL, until, &keys_accept_unkeyed_until.origin)?;
        line(&key::LOG, quoted(&log.value), &log.origin)?;
        line(&key::SHUTDOWN_GRACE_S, number(shutdown_grace_s.value), &shutdown_grace_s.origin)
    }
}

#[cfg(test)]
mod tests;
