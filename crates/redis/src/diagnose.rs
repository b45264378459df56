//! What is wrong, or could go wrong, with the engine and how it is set up.

use std::time::{Duration, Instant};

use cloakroom::{Error, Timestamp, store::Finding};
use redis::Value;

use crate::{
    RedisStore,
    address::{Endpoint, Servers},
    failure::Failure,
    server::{Info, LEAST, text},
};

/// Clocks further apart are worth a word; and further than that, index entries are written for nothing.
const SKEW_WARNING: Duration = Duration::from_secs(5);
const SKEW_PROBLEM: Duration = Duration::from_secs(60);

/// An answer in a data centre comes in less than one.
const SLOW: Duration = Duration::from_millis(10);

const PINGS: usize = 5;

const RIGHTS: &str = include_str!("lua/rights.lua");

impl RedisStore {
    pub(crate) async fn examine(&self, now: Timestamp) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let begun = Instant::now();
        let nodes = self.nodes().await.map_err(|failure| self.error(failure))?;
        for node in &nodes {
            let (mut own, began) = (Vec::new(), now + begun.elapsed());
            self.examine_node(node.as_ref(), began, &mut own).await.map_err(|failure| self.error(failure))?;
            if let Some(node) = node {
                own.iter_mut().for_each(|finding| finding.message = format!("{node}: {}", finding.message));
            }
            findings.append(&mut own);
        }
        findings.push(self.rights().await);
        findings.push(self.encryption());
        findings.extend(self.failovers());
        Ok(findings)
    }

    /// The masters of a cluster. A server that is alone has no need of a name.
    async fn nodes(&self) -> Result<Vec<Option<Endpoint>>, Failure> {
        if !self.link.is_cluster() {
            return Ok(vec![None]);
        }
        let mut command = redis::cmd("CLUSTER");
        command.arg("NODES");
        let told = text(self.link.ask(&command, None).await?);
        let masters = told.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let (place, flags) = (words.nth(1)?, words.next()?);
            let is_master = flags.split(',').any(|flag| flag == "master") && !flags.contains("fail");
            let (host, port) = place.split_once('@').map_or(place, |(place, _)| place).rsplit_once(':')?;
            let endpoint = Endpoint { host: host.to_owned(), port: port.parse().ok()? };
            is_master.then_some(Some(endpoint))
        });
        Ok(masters.collect())
    }

    async fn examine_node(
        &self,
        node: Option<&Endpoint>,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let told = self.link.ask(&redis::cmd("TIME"), node).await;
        let took = begun.elapsed();
        findings.push(told.map_or_else(unknown("clock"), |told| clock(told, now + took / 2)));
        findings.push(self.latency(node).await?);
        let info = match Info::of(&self.link, node).await {
            Ok(info) => info,
            Err(failure) if failure.is_refusal() => {
                findings.push(Finding::warning(
                    "version",
                    "this user may not run INFO, so version, memory, persistence and replication weren't looked at: \
                     grant +info for a full diagnosis",
                ));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        findings.push(version(&info));
        findings.push(eviction(&info));
        findings.push(persistence(&info, self.setting("save", node).await));
        findings.push(self.replication(&info, self.setting("min-replicas-to-write", node).await));
        Ok(())
    }

    async fn latency(&self, node: Option<&Endpoint>) -> Result<Finding, Failure> {
        let mut times = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            let begun = Instant::now();
            self.link.ask(&redis::cmd("PING"), node).await?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let median = times[PINGS / 2];
        let told = format!("an answer takes {:.2} ms", median.as_secs_f64() * 1e3);
        Ok(if median <= SLOW {
            Finding::fine("latency", told)
        } else {
            Finding::warning(
                "latency",
                format!(
                    "{told}: each request with a session waits that long; bring the server nearer, or look for slow \
                     commands (SLOWLOG GET)"
                ),
            )
        })
    }

    /// None: this user may not ask, as with many hosted servers.
    async fn setting(&self, name: &str, node: Option<&Endpoint>) -> Option<String> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(name);
        let values: Vec<String> = redis::from_redis_value(self.link.ask(&command, node).await.ok()?).ok()?;
        values.into_iter().nth(1)
    }

    fn replication(&self, info: &Info, least: Option<String>) -> Finding {
        const SUBJECT: &str = "replication";
        let replicas = info.number("connected_slaves").unwrap_or(0);
        let is_alone = matches!(self.link.address().servers, Servers::One(_) | Servers::Socket(_));
        match (replicas, least.as_deref()) {
            (0, _) if is_alone => Finding::fine(SUBJECT, "there is no replica, and so no failover"),
            (0, _) => Finding::warning(
                SUBJECT,
                "the master has no replica: when it dies nothing takes its place; add one",
            ),
            (_, Some("0") | None) => Finding::warning(
                SUBJECT,
                format!(
                    "{replicas} replicas, and the master waits for none of them (min-replicas-to-write 0): a failover \
                     loses the changes of its last moments, logouts among them, and a master that is cut off goes on \
                     taking changes that will be lost; set min-replicas-to-write 1 and min-replicas-max-lag 2"
                ),
            ),
            (_, Some(least)) => Finding::fine(
                SUBJECT,
                format!("{replicas} replicas; a change is taken while {least} of them follow"),
            ),
        }
    }

    async fn rights(&self) -> Finding {
        const SUBJECT: &str = "permissions";
        let (string, set) = (self.keys.probe("string"), self.keys.probe("set"));
        let mut by_text = redis::cmd("EVAL");
        by_text.arg(RIGHTS).arg(2).arg(&string).arg(&set);
        // The hash of no script: who may run scripts by hash is told that there is none.
        let mut by_hash = redis::cmd("EVALSHA");
        by_hash.arg("0".repeat(40)).arg(1).arg(&string);
        let is_refused = |asked: Result<_, Failure>| asked.is_err_and(|failure| failure.is_refusal());
        let mut refused: Vec<String> = match self.link.call(&by_text).await {
            Ok(answer) => redis::from_redis_value(answer.value).unwrap_or_default(),
            Err(failure) if failure.is_refusal() => vec!["EVAL".to_owned()],
            Err(failure) => {
                return Finding::problem(
                    SUBJECT,
                    format!("scripts can't be run: {}", failure.into_error(self.link.address())),
                );
            }
        };
        for (name, keys) in [("MGET", &[&string, &string][..]), ("GET", &[&string][..])] {
            let mut command = redis::cmd(name);
            command.arg(keys);
            if is_refused(self.link.call(&command).await) {
                refused.push(name.to_owned());
            }
        }
        if is_refused(self.link.call(&by_hash).await) {
            refused.push("EVALSHA".to_owned());
        }
        if refused.is_empty() {
            return Finding::fine(SUBJECT, "the user may run every command that the store needs");
        }
        refused.sort_unstable();
        refused.dedup();
        let (grants, prefix) = (format!("+{}", refused.join(" +")).to_lowercase(), self.keys.prefix());
        Finding::problem(
            SUBJECT,
            format!(
                "the user may not run {}, or not on keys that begin with {prefix}: sessions can't be kept; ACL SETUSER \
                 <name> ~{prefix}* {grants}",
                refused.join(", ")
            ),
        )
    }

    fn encryption(&self) -> Finding {
        const SUBJECT: &str = "encryption";
        let address = self.link.address();
        let is_near = |endpoint: &Endpoint| {
            endpoint.host == "localhost" || endpoint.host == "::1" || endpoint.host.starts_with("127.")
        };
        let is_local = match &address.servers {
            Servers::Socket(_) => true,
            Servers::One(endpoint) => is_near(endpoint),
            Servers::Cluster(nodes) | Servers::Sentinel { sentinels: nodes, .. } => nodes.iter().all(is_near),
        };
        if address.is_encrypted || is_local {
            return Finding::fine(SUBJECT, "what is sent stays on this machine, or is encrypted");
        }
        Finding::warning(
            SUBJECT,
            "sessions and the password cross the network in the clear: use rediss:// unless the network is trusted",
        )
    }

    fn failovers(&self) -> Option<Finding> {
        let failovers = self.seen().failovers;
        (failovers > 0).then(|| {
            Finding::warning(
                "failovers",
                format!(
                    "another server became the master {failovers} times since this store was opened: each time the \
                     changes of the last moments may have been lost"
                ),
            )
        })
    }
}

fn unknown(subject: &'static str) -> impl Fn(Failure) -> Finding {
    move |_| Finding::warning(subject, "this user may not ask for it")
}

fn clock(told: Value, now: Timestamp) -> Finding {
    const SUBJECT: &str = "clock";
    let Ok((seconds, micros)) = redis::from_redis_value::<(u64, u64)>(told) else {
        return Finding::warning(SUBJECT, "the server doesn't tell its time");
    };
    let its = Timestamp::from_millis(seconds * 1_000 + micros / 1_000);
    let skew = its.since(now).max(now.since(its));
    let told = format!("the server's clock and this machine's are {:.1} s apart", skew.as_secs_f64());
    if skew < SKEW_WARNING {
        return Finding::fine(SUBJECT, told);
    }
    let advice = format!(
        "{told}: sessions end by the clocks of the application's machines, which may be as far apart; run a time service \
         (NTP) on all of them"
    );
    if skew < SKEW_PROBLEM { Finding::warning(SUBJECT, advice) } else { Finding::problem(SUBJECT, advice) }
}

fn version(info: &Info) -> Finding {
    const SUBJECT: &str = "version";
    let name = info.name();
    match info.version() {
        Some(version) if version >= LEAST => Finding::fine(SUBJECT, name),
        Some(_) => {
            Finding::problem(SUBJECT, format!("{name} is too old: {LEAST} is the least, or any Valkey"))
        }
        None => Finding::warning(SUBJECT, format!("{name}: {LEAST} is the least, or any Valkey")),
    }
}

fn eviction(info: &Info) -> Finding {
    const SUBJECT: &str = "eviction policy";
    if info.policy() == "noeviction" {
        return Finding::fine(SUBJECT, "noeviction: what is stored stays until it expires");
    }
    if info.evicts() {
        return Finding::problem(SUBJECT, info.eviction());
    }
    Finding::warning(SUBJECT, format!("there is no maxmemory yet; once there is one, {}", info.eviction()))
}

fn persistence(info: &Info, save: Option<String>) -> Finding {
    const SUBJECT: &str = "persistence";
    let failed = |name: &str| info.line(name) == Some("err");
    if failed("aof_last_write_status") || failed("rdb_last_bgsave_status") {
        return Finding::problem(
            SUBJECT,
            "the last write to disk failed: see the server's log, and its disk",
        );
    }
    if info.line("aof_enabled") == Some("1") {
        return Finding::fine(
            SUBJECT,
            "appendonly: a restart keeps the sessions, but for the last second's changes",
        );
    }
    if save.as_deref() == Some("") {
        return Finding::warning(
            SUBJECT,
            "nothing is written to disk: when the server restarts, everybody is logged out; set appendonly yes",
        );
    }
    Finding::warning(
        SUBJECT,
        "only snapshots are written to disk: after a crash the changes since the last one are lost, logouts among them, \
         so that sessions that had ended are back; set appendonly yes",
    )
}
