//! What could go wrong with the servers, and what to do about it.

use std::time::{Duration, Instant};

use cloakroom::{Error, Timestamp, store::Finding};
use futures_util::future::join_all;

use crate::{
    connection::setting,
    fleet::Fleet,
    meta::{Request, Response},
    server::Server,
};

/// A record of the default policy's 16 KiB of data, with all that comes with it.
const RECORD_BYTES: u64 = 32 * 1024;
const MEMORY_BYTES_MIN: u64 = 64 * 1024 * 1024;
const SKEW_S_MAX: u64 = 30;
const LATENCY_MAX: Duration = Duration::from_millis(5);
const PINGS: usize = 7;

pub(crate) async fn of(fleet: &Fleet, now: Timestamp) -> Result<Vec<Finding>, Error> {
    let findings = join_all(fleet.servers.iter().map(|server| examine(server, now))).await;
    Ok(findings.into_iter().flatten().collect())
}

async fn examine(server: &Server, now: Timestamp) -> Vec<Finding> {
    let name = &server.known.address;
    match Facts::gather(server).await {
        Ok(facts) => vec![
            facts.version(),
            facts.memory(),
            facts.item_size(),
            facts.clock(now),
            facts.reach(),
            facts.latency(),
        ],
        Err(error) => vec![Finding::problem(
            "server",
            format!(
                "{name} doesn't answer ({error:?}): its sessions are unavailable until it is back. Start it, or see \
                 whether a firewall is in between"
            ),
        )],
    }
}

struct Facts<'a> {
    server: &'a Server,
    stats: String,
    settings: String,
    latency: Duration,
}

impl<'a> Facts<'a> {
    async fn gather(server: &'a Server) -> Result<Self, Error> {
        let (stats, settings) = (text(server, "").await?, text(server, "settings").await?);
        let mut pings = [Duration::ZERO; PINGS];
        for ping in &mut pings {
            let asked = Instant::now();
            server.call(Request::Nothing).await?;
            *ping = asked.elapsed();
        }
        pings.sort_unstable();
        Ok(Self { server, stats, settings, latency: pings[PINGS / 2] })
    }

    fn version(&self) -> Finding {
        // An older one is refused when it is connected to.
        let version = setting(&self.stats, "version").unwrap_or("of unknown number");
        Finding::fine("version", format!("{}: Memcached {version}, with meta commands", self.name()))
    }

    fn memory(&self) -> Finding {
        let (limit, used) = (self.number("limit_maxbytes"), self.number("bytes"));
        let (name, evictions) = (self.name(), self.number("evictions"));
        let what = format!("{name}: {} of {} in use, {evictions} evictions", mib(used), mib(limit));
        if setting(&self.settings, "evictions") == Some("off") {
            return Finding::problem(
                "memory",
                format!(
                    "{what}. It was started with -M: when memory is full, changes fail, and the session that was to \
                     be changed is lost. Start it without -M, and with memory enough"
                ),
            );
        }
        if evictions > 0 {
            return Finding::warning(
                "memory",
                format!(
                    "{what}: each may have logged somebody out. Give it more memory (-m), and nothing else to keep"
                ),
            );
        }
        if limit < MEMORY_BYTES_MIN || used.saturating_mul(10) > limit.saturating_mul(9) {
            return Finding::warning(
                "memory",
                format!("{what}. When it is full, sessions are evicted: give it more memory (-m)"),
            );
        }
        Finding::fine("memory", what)
    }

    fn item_size(&self) -> Finding {
        let size = number(&self.settings, "item_size_max");
        let what = format!("{}: items of up to {} KiB", self.name(), size / 1024);
        if size < RECORD_BYTES {
            return Finding::problem(
                "item size",
                format!(
                    "{what}: a session may have 16 KiB of data, and what comes with it. Start Memcached with -I 1m"
                ),
            );
        }
        Finding::fine("item size", what)
    }

    fn clock(&self, now: Timestamp) -> Finding {
        let (own, here) = (self.number("time"), now.as_millis() / 1_000);
        let skew = own.abs_diff(here);
        let what = format!("{}: its clock and this machine's differ by {skew} s", self.name());
        if skew > SKEW_S_MAX {
            return Finding::warning(
                "clock",
                format!(
                    "{what}. Sessions end by the clocks of your servers: one of them is wrong. Let all of them follow \
                     NTP"
                ),
            );
        }
        Finding::fine("clock", what)
    }

    fn reach(&self) -> Finding {
        match setting(&self.settings, "inter") {
            Some("NULL" | "0.0.0.0" | "::" | "") | None => Finding::warning(
                "reach",
                format!(
                    "{} listens on every address of its machine, and has no password: whoever reaches it can read and \
                     end sessions. Start it with -l and the address of a private network, or see to a firewall",
                    self.name()
                ),
            ),
            Some(address) => Finding::fine("reach", format!("{} listens on {address}", self.name())),
        }
    }

    fn latency(&self) -> Finding {
        let what = format!("{}: a round trip takes {} µs", self.name(), self.latency.as_micros());
        if self.latency > LATENCY_MAX {
            return Finding::warning(
                "latency",
                format!("{what}, and every request waits for at least one. Bring it nearer"),
            );
        }
        Finding::fine("latency", what)
    }

    fn name(&self) -> String {
        self.server.known.address.to_string()
    }

    fn number(&self, name: &str) -> u64 {
        number(&self.stats, name)
    }
}

async fn text(server: &Server, which: &'static str) -> Result<String, Error> {
    match server.call(Request::Stats(which)).await? {
        Response::Text(text) => Ok(text),
        strange => Err(server.strange(&strange)),
    }
}

fn number(stats: &str, name: &str) -> u64 {
    setting(stats, name).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}
