//! `cloakroom doctor URL`: what is wrong, or could go wrong, with a store and how it is set up.

use std::io::{self, Write as _};
use std::time::Duration;

use cloakroom::clock::{Clock as _, SystemClock};
use cloakroom::store::{Finding, Severity};
use cloakroom_stores::StoreUrl;

use crate::run::Failure;

/// How long a store may take to open, and to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connects, looks, and says in plain words what it found. A problem is a failure, so that scripts can tell.
pub(crate) fn run(url: &StoreUrl) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(examine(url));
    let mut out = io::stdout().lock();
    writeln!(out, "{url}")?;
    for finding in &findings {
        writeln!(out, "{}", line(finding))?;
    }
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Fine);
    let closing = match worst {
        Severity::Fine => "All is well.",
        Severity::Warning => "It works. What is marked with ! is weaker than it could be.",
        Severity::Problem => "What is marked with X must be mended.",
    };
    writeln!(out, "{closing}")?;
    match worst {
        Severity::Problem => Err(Failure::Doctor),
        Severity::Fine | Severity::Warning => Ok(()),
    }
}

async fn examine(url: &StoreUrl) -> Vec<Finding> {
    let store = match tokio::time::timeout(PATIENCE, url.inspect()).await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return vec![Finding::problem("connection", reason(&error))],
        Err(_) => return vec![Finding::problem("connection", silence())],
    };
    let mut findings =
        vec![Finding::fine("connection", format!("a {} store is there, and open", store.kind()))];
    // Opening may have taken long, and the clock is compared with the engine's.
    match tokio::time::timeout(PATIENCE, store.diagnose(SystemClock.now())).await {
        Ok(Ok(found)) => findings.extend(found),
        Ok(Err(error)) => findings.push(Finding::problem("diagnosis", reason(&error))),
        Err(_) => findings.push(Finding::problem("diagnosis", silence())),
    }
    let can = |is_so: bool, what: &str| if is_so { what.to_owned() } else { format!("not: {what}") };
    let abilities = [
        can(store.revoke().is_some(), "log out everywhere"),
        can(store.index().is_some(), "list a user's sessions"),
    ];
    findings.push(Finding::fine("abilities", abilities.join("; ")));
    let _ = tokio::time::timeout(PATIENCE, store.close()).await;
    findings
}

/// The error and what it came from: an operator needs both.
fn reason(error: &cloakroom::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}

fn silence() -> String {
    format!(
        "the store didn't answer within {} s: see whether it runs, hangs, or is kept away by a firewall",
        PATIENCE.as_secs()
    )
}

fn line(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Fine => ' ',
        Severity::Warning => '!',
        Severity::Problem => 'X',
    };
    format!("{mark} {}: {}", finding.subject, finding.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_well_is_a_success_and_one_that_isnt_there_a_failure() {
        run(&StoreUrl::parse("memory:").unwrap()).unwrap();
        let missing = StoreUrl::parse("sqlite:/no/such/folder/sessions.db").unwrap();
        assert!(matches!(run(&missing), Err(Failure::Doctor)));
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_with_its_cause() {
        let missing = StoreUrl::parse("sqlite:/no/such/folder/sessions.db").unwrap();
        let findings = examine(&missing).await;
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Problem));
        assert!(findings[0].message.contains("/no/such/folder"), "{}", findings[0].message);
        let well = examine(&StoreUrl::parse("memory:").unwrap()).await;
        assert!(well.iter().any(|finding| finding.message == "log out everywhere; list a user's sessions"));
        assert_eq!(line(&Finding::warning("clock", "late")), "! clock: late");
    }
}
