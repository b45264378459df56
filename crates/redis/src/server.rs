//! What a server tells of itself, and whether it is one that the store can use.

use std::{collections::HashMap, fmt};

use redis::Value;

use crate::{
    address::{Address, Endpoint, Servers},
    failure::Failure,
    link::Link,
};

/// The oldest version whose scripts can say that they free memory, and whose keys can be given a later time to live and
/// never an earlier one.
pub(crate) const LEAST: Version = Version(7, 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32);

/// The lines of `INFO`.
pub(crate) struct Info(HashMap<String, String>);

impl Info {
    /// Of this node of a cluster, or of any; or of the one server there is.
    pub(crate) async fn of(link: &Link, node: Option<&Endpoint>) -> Result<Self, Failure> {
        let text = text(link.ask(&redis::cmd("INFO"), node).await?);
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Ok(Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    pub(crate) fn line(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.line(name)?.parse().ok()
    }

    /// As Redis counts; Valkey tells which version it is compatible with.
    pub(crate) fn version(&self) -> Option<Version> {
        let mut parts = self.line("redis_version")?.split('.').map(|part| part.parse().ok());
        Some(Version(parts.next()??, parts.next()??))
    }

    /// Whether it throws keys away that have yet to expire, when memory is short.
    pub(crate) fn evicts(&self) -> bool {
        self.number("maxmemory").is_some_and(|most| most > 0) && self.policy() != "noeviction"
    }

    /// What comes of it, and what to do. Every key of the store has a time to live, so all policies mean its keys.
    pub(crate) fn eviction(&self) -> String {
        format!(
            "{}: when memory is short, the server throws away sessions before their time; and the lists of who has \
             which sessions, so that logging out everywhere misses some and says nothing. Set maxmemory-policy \
             noeviction, on a server for sessions alone if need be",
            self.policy()
        )
    }

    pub(crate) fn policy(&self) -> &str {
        self.line("maxmemory_policy").unwrap_or("an unknown eviction policy")
    }

    /// What people call it: `Redis 7.0.15`, `Valkey 9.1.2`.
    pub(crate) fn name(&self) -> String {
        match (self.line("valkey_version"), self.line("redis_version")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, Some(version)) => format!("Redis {version}"),
            (None, None) => "a server of unknown version".to_owned(),
        }
    }
}

/// Connects, and sees whether the server will do.
pub(crate) async fn open(address: Address) -> Result<Link, Failure> {
    let link = Link::open(address).await?;
    check(&link).await?;
    Ok(link)
}

/// Refuses a server that the URL doesn't fit. One that won't tell is given the benefit of the doubt.
async fn check(link: &Link) -> Result<(), Failure> {
    let info = match Info::of(link, None).await {
        Ok(info) => info,
        Err(failure) if failure.is_refusal() => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let is_cluster = matches!(link.address().servers, Servers::Cluster(_));
    if info.version().is_some_and(|version| version < LEAST) {
        let name = info.name();
        return Err(Failure::unfit(format!(
            "is {name}, which is too old: {LEAST} is the least, or any Valkey"
        )));
    }
    if !is_cluster && info.line("cluster_enabled") == Some("1") {
        return Err(Failure::unfit("is a node of a cluster: write redis+cluster:// in place of redis://"));
    }
    if !is_cluster && info.line("role") == Some("slave") {
        return Err(Failure::unfit(
            "is a replica, which takes no changes: give the master's address, or ask the sentinels for it by \
             redis+sentinel://",
        ));
    }
    if info.evicts() {
        tracing::warn!(target: "cloakroom", "{}: {}", link.address(), info.eviction());
    }
    Ok(())
}

pub(crate) fn text(value: Value) -> String {
    redis::from_redis_value(value).unwrap_or_default()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis {}.{}", self.0, self.1)
    }
}
