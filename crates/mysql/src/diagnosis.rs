//! What is wrong, or could go wrong, with the server and how it is set up.

use std::time::{Duration, Instant};

use cloakroom::{Timestamp, store::Finding};
use mysql_async::{Conn, prelude::Queryable as _};

use crate::{address::Privacy, failure::Failure, schema};

const SKEW_MAX: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_millis(20);

pub(crate) async fn diagnose(
    db: &mut Conn,
    _now: Timestamp,
    privacy: Privacy,
) -> Result<Vec<Finding>, Failure> {
    let version: Option<String> = db.query_first("SELECT VERSION()").await?;
    let mut findings = vec![of_version(&version.unwrap_or_default())];
    findings.push(clock(db).await?);
    match schema::fault(db).await? {
        Some(fault) => findings.push(Finding::problem("tables", fault.to_string())),
        None => {
            findings.push(Finding::fine("tables", "they are there, and of this version"));
            findings.push(rights(db).await?);
        }
    }
    findings.push(durability(db).await?);
    findings.extend(replication(db).await?);
    findings.push(encryption(privacy));
    findings.push(room(db).await?);
    findings.push(latency(db).await?);
    Ok(findings)
}

/// MariaDB says so in its version; MySQL doesn't say anything.
fn of_version(version: &str) -> Finding {
    let is_mariadb = version.to_lowercase().contains("mariadb");
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (name, least) = if is_mariadb { ("MariaDB", (10, 5)) } else { ("MySQL", (8, 0)) };
    if number >= least {
        Finding::fine("version", format!("{name} {version}"))
    } else {
        let (major, minor) = least;
        Finding::problem(
            "version",
            format!(
                "this is {name} {version}, and nothing before {major}.{minor} is tested: upgrade the server"
            ),
        )
    }
}

/// Nothing of ours goes by the server's clock; but where clocks differ, those of the applications may, too.
async fn clock(db: &mut Conn) -> Result<Finding, Failure> {
    let begun = std::time::SystemTime::now();
    let theirs: Option<f64> = db.query_first("SELECT UNIX_TIMESTAMP(NOW(3)) + 0e0").await?;
    let ours = begun.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let skew = (theirs.unwrap_or(0.0) - ours).abs();
    Ok(if skew <= SKEW_MAX.as_secs_f64() {
        Finding::fine("clock", format!("{:.0} ms from this machine's", skew * 1_000.0))
    } else {
        Finding::warning(
            "clock",
            format!(
                "the server's clock is {skew:.1} s from this machine's. Timeouts go by the clocks of the applications, \
                 which must agree: let all machines follow the same time (NTP)"
            ),
        )
    })
}

/// Each right is tried by a statement that changes nothing.
async fn rights(db: &mut Conn) -> Result<Finding, Failure> {
    let tries = [
        ("SELECT on cloakroom_session", "SELECT 1 FROM cloakroom_session LIMIT 0"),
        ("SELECT on cloakroom_revocation", "SELECT 1 FROM cloakroom_revocation LIMIT 0"),
        ("SELECT on cloakroom_setting", "SELECT 1 FROM cloakroom_setting LIMIT 0"),
        (
            "INSERT on cloakroom_session",
            "INSERT INTO cloakroom_session (id, version, created_ms, started_ms, active_ms, end_ms, idle_s) SELECT id, version, created_ms, started_ms, active_ms, end_ms, idle_s FROM cloakroom_session WHERE FALSE",
        ),
        ("UPDATE on cloakroom_session", "UPDATE cloakroom_session SET active_ms = active_ms WHERE FALSE"),
        ("DELETE on cloakroom_session", "DELETE FROM cloakroom_session WHERE FALSE"),
        (
            "INSERT on cloakroom_revocation",
            "INSERT INTO cloakroom_revocation (subject, at_ms, why, version, kept_to_ms) SELECT subject, at_ms, why, version, kept_to_ms FROM cloakroom_revocation WHERE FALSE",
        ),
        ("UPDATE on cloakroom_revocation", "UPDATE cloakroom_revocation SET at_ms = at_ms WHERE FALSE"),
        ("DELETE on cloakroom_revocation", "DELETE FROM cloakroom_revocation WHERE FALSE"),
        (
            "UPDATE on cloakroom_setting",
            "UPDATE cloakroom_setting SET started_before_ms = started_before_ms WHERE FALSE",
        ),
    ];
    let mut missing = Vec::new();
    for (right, statement) in tries {
        match db.query_drop(statement).await {
            Ok(()) => {}
            Err(mysql_async::Error::Server(_)) => missing.push(right),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if missing.is_empty() {
        Finding::fine("rights", "all that are needed")
    } else {
        let missing = missing.join(", ");
        Finding::problem("rights", format!("the user lacks {missing}: sessions can't be kept; GRANT it"))
    })
}

async fn durability(db: &mut Conn) -> Result<Finding, Failure> {
    let flush: Option<u64> = db.query_first("SELECT @@innodb_flush_log_at_trx_commit").await?;
    Ok(match flush {
        Some(1) => Finding::fine("durability", "what is acknowledged is on disk"),
        _ => Finding::warning(
            "durability",
            "innodb_flush_log_at_trx_commit isn't 1: a crash of the server can lose a second of logins, logouts and \
             writes that were acknowledged, and so bring a session back; set it to 1",
        ),
    })
}

/// What a replica is told: by statements, it is told too little for how this store reads.
async fn replication(db: &mut Conn) -> Result<Option<Finding>, Failure> {
    let settings: Option<(bool, String, u64)> =
        db.query_first("SELECT @@log_bin, @@global.binlog_format, @@sync_binlog").await?;
    Ok(match settings {
        Some((true, format, _)) if format == "STATEMENT" => Some(Finding::problem(
            "replication",
            "binlog_format is STATEMENT, with which the server refuses every change of this store (error 1665): set it to \
             ROW or MIXED",
        )),
        Some((true, _, sync)) if sync != 1 => Some(Finding::warning(
            "replication",
            "sync_binlog isn't 1: after a crash replicas may lack changes that were acknowledged; set it to 1",
        )),
        Some((true, ..)) => Some(Finding::fine(
            "replication",
            "a failover loses what the replica hadn't received, logouts among it, unless replication is \
             semi-synchronous",
        )),
        _ => None,
    })
}

fn encryption(privacy: Privacy) -> Finding {
    match privacy {
        Privacy::Kept => Finding::fine("encryption", "what is sent stays on this machine, or is encrypted"),
        Privacy::None => Finding::warning(
            "encryption",
            "sessions cross the network in the clear: add sslmode=verify to the URL unless the network is trusted",
        ),
    }
}

async fn room(db: &mut Conn) -> Result<Finding, Failure> {
    let room: Option<(u64, u64)> = db.query_first("SELECT @@max_connections, @@max_allowed_packet").await?;
    let (connections, packet) = room.unwrap_or_default();
    Ok(if packet < 1024 * 1024 {
        Finding::problem(
            "room",
            format!(
                "max_allowed_packet is {packet} bytes: large sessions are refused; set it to 16M or more"
            ),
        )
    } else {
        Finding::fine("room", format!("{connections} connections, packets of {} MB", packet >> 20))
    })
}

async fn latency(db: &mut Conn) -> Result<Finding, Failure> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        db.query_drop("SELECT 1").await?;
        best = best.min(begun.elapsed());
    }
    let took = format!("{:.1} ms to the server and back", best.as_secs_f64() * 1_000.0);
    Ok(if best <= SLOW {
        Finding::fine("latency", took)
    } else {
        Finding::warning(
            "latency",
            format!("{took}: every request with a session waits that long; move them closer"),
        )
    })
}

#[cfg(test)]
mod tests {
    use cloakroom::store::Severity;

    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (version, severity) in [
            ("8.0.36", Severity::Fine),
            ("8.4.0", Severity::Fine),
            ("10.11.6-MariaDB-0+deb12u1", Severity::Fine),
            ("5.7.44-log", Severity::Problem),
            ("10.4.1-MariaDB", Severity::Problem),
            ("", Severity::Problem),
        ] {
            assert_eq!(of_version(version).severity, severity, "{version}");
        }
    }
}
