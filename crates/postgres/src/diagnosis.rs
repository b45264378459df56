//! What is wrong, or could go wrong, with the server and how it is set up.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cloakroom::store::Finding;
use tokio_postgres::Row;

use crate::{failure::Failure, line::Line};

const SKEW_MAX: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_millis(20);

/// What the store knows of itself.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    pub(crate) connections: usize,
    pub(crate) can_prepare: bool,
}

pub(crate) async fn diagnose(line: Arc<Line>, own: Own) -> Result<Vec<Finding>, Failure> {
    let mut findings = vec![version(&line).await?, clock(&line).await?, rights(&line).await?];
    findings.push(durability(&line).await?);
    findings.push(replication(&line).await?);
    findings.push(connections(&line, own.connections).await?);
    findings.push(upkeep(&line).await?);
    findings.push(pooler(own.can_prepare));
    findings.push(latency(&line).await?);
    Ok(findings)
}

async fn version(line: &Line) -> Result<Finding, Failure> {
    let row = ask(line, "SELECT current_setting('server_version_num')::bigint").await?;
    Ok(of_version(row.try_get(0)?))
}

/// The oldest that its makers still mend.
const OLDEST: i64 = 14;

fn of_version(number: i64) -> Finding {
    let (major, minor) = (number / 10_000, number % 10_000);
    if major >= OLDEST {
        return Finding::fine("version", format!("PostgreSQL {major}.{minor}"));
    }
    Finding::problem(
        "version",
        format!(
            "this is PostgreSQL {major}.{minor}, and nothing before {OLDEST} is tested, nor mended by its makers: upgrade \
             the server"
        ),
    )
}

/// Nothing of ours goes by the server's clock; but where clocks differ, those of the applications may, too.
async fn clock(line: &Line) -> Result<Finding, Failure> {
    let row = ask(line, "SELECT extract(epoch FROM clock_timestamp())::float8").await?;
    let theirs: f64 = row.try_get(0)?;
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let skew = (theirs - ours).abs();
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

/// The rights that the documentation names.
const RIGHTS: &str = "SELECT string_agg(format('%s ON %s', kind, name), ', ')
    FROM (VALUES
        ('cloakroom_session', 'SELECT'), ('cloakroom_session', 'INSERT'),
        ('cloakroom_session', 'UPDATE'), ('cloakroom_session', 'DELETE'),
        ('cloakroom_revocation', 'SELECT'), ('cloakroom_revocation', 'INSERT'),
        ('cloakroom_revocation', 'UPDATE'), ('cloakroom_revocation', 'DELETE'),
        ('cloakroom_setting', 'SELECT'), ('cloakroom_setting', 'UPDATE'),
        ('cloakroom_migration', 'SELECT')
    ) AS needed (name, kind)
    WHERE NOT has_table_privilege(name, kind)";

async fn rights(line: &Line) -> Result<Finding, Failure> {
    let missing: Option<String> = ask(line, RIGHTS).await?.try_get(0)?;
    Ok(match missing {
        None => Finding::fine("rights", "all that are needed"),
        Some(missing) => {
            Finding::problem("rights", format!("the user lacks {missing}: sessions can't be kept; GRANT it"))
        }
    })
}

async fn durability(line: &Line) -> Result<Finding, Failure> {
    let row = ask(
        line,
        "SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on',
            current_setting('synchronous_commit') <> 'off'",
    )
    .await?;
    Ok(match (row.try_get(0)?, row.try_get(1)?) {
        (true, true) => Finding::fine("durability", "what is acknowledged is on disk"),
        (false, _) => Finding::problem(
            "durability",
            "fsync or full_page_writes is off: a crash of the machine can damage the whole database; set both to on",
        ),
        (true, false) => Finding::warning(
            "durability",
            "synchronous_commit is off: a crash of the server can lose the last second of logins, logouts and writes that \
             were acknowledged, and so bring a session back; ALTER ROLE or DATABASE … SET synchronous_commit = on",
        ),
    })
}

async fn replication(line: &Line) -> Result<Finding, Failure> {
    let row = ask(
        line,
        "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
            current_setting('synchronous_standby_names') <> '',
            (SELECT count(*) FROM pg_stat_replication)",
    )
    .await?;
    let (is_read_only, is_synchronous, standbys): (bool, bool, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(match (is_read_only, standbys, is_synchronous) {
        (true, ..) => Finding::problem(
            "replication",
            "this server takes no changes: it is a standby, or set to read only. Name the primary in the URL; with all of \
             them there, separated by commas, the store finds it by itself",
        ),
        (false, 0, _) => Finding::fine("replication", "a primary, with no standby connected"),
        (false, standbys, true) => {
            Finding::fine("replication", format!("a primary, with {standbys} standbys, synchronous"))
        }
        (false, standbys, false) => Finding::warning(
            "replication",
            format!(
                "a primary with {standbys} standbys, none of which it waits for: a failover can lose the last logins and \
                 logouts, and so bring a session back; name some in synchronous_standby_names"
            ),
        ),
    })
}

async fn connections(line: &Line, own: usize) -> Result<Finding, Failure> {
    let row = ask(
        line,
        "SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint,
            (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
            (SELECT rolconnlimit::bigint FROM pg_roles WHERE rolname = current_user)",
    )
    .await?;
    let (server, used, role): (i64, i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let room = role.filter(|limit| *limit >= 0).map_or(server, |limit| limit.min(server));
    let own = i64::try_from(own).unwrap_or(i64::MAX);
    Ok(if own <= room / 2 {
        Finding::fine("connections", format!("{used} of {server} in use; each process of yours takes {own}"))
    } else {
        Finding::warning(
            "connections",
            format!(
                "each process of yours takes up to {own} connections, and this user can have {room}: two processes are one \
                 too many. Lower `connections` in the URL, or raise max_connections or the role's limit"
            ),
        )
    })
}

/// A session that is used leaves old rows behind, which only VACUUM makes room of.
async fn upkeep(line: &Line) -> Result<Finding, Failure> {
    let row = ask(
        line,
        "SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on', n_live_tup, n_dead_tup
        FROM (SELECT 1) AS one
        LEFT JOIN pg_stat_user_tables ON relid = 'cloakroom_session'::regclass",
    )
    .await?;
    let (is_on, live, dead): (bool, Option<i64>, Option<i64>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (live, dead) = (live.unwrap_or(0), dead.unwrap_or(0));
    Ok(if !is_on {
        Finding::problem(
            "autovacuum",
            "it is off: the session tables grow without end, and get slower; set autovacuum and track_counts to on",
        )
    } else if dead > DEAD_MIN && dead > live {
        Finding::warning(
            "autovacuum",
            format!(
                "it can't keep up: {dead} rows are dead beside {live} living ones. End transactions that were left open, or \
                 raise autovacuum_vacuum_cost_limit"
            ),
        )
    } else {
        Finding::fine("autovacuum", format!("on; {live} rows, and {dead} dead ones"))
    })
}

/// Of a small table nothing can be told.
const DEAD_MIN: i64 = 10_000;

fn pooler(can_prepare: bool) -> Finding {
    if can_prepare {
        return Finding::fine("statements", "prepared once for each connection");
    }
    Finding::warning(
        "statements",
        "each is planned anew at each call, which takes about twice as long: `prepared=false` was said, or a pooler stands \
         between that hands out servers for a transaction each. From PgBouncer 1.21 on, set max_prepared_statements there",
    )
}

async fn latency(line: &Line) -> Result<Finding, Failure> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        ask(line, "SELECT 1").await?;
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

/// Not prepared: it is asked once.
async fn ask(line: &Line, query: &str) -> Result<Row, Failure> {
    Ok(line.client().query_typed_one(query, &[]).await?)
}

#[cfg(test)]
mod tests {
    use cloakroom::store::Severity;

    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (number, severity, name) in [
            (150_018, Severity::Fine, "15.18"),
            (140_000, Severity::Fine, "14.0"),
            (180_001, Severity::Fine, "18.1"),
            (130_023, Severity::Problem, "13.23"),
        ] {
            let finding = of_version(number);
            assert_eq!(finding.severity, severity, "{number}");
            assert!(finding.message.contains(name), "{}", finding.message);
        }
    }
}
