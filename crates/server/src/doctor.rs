//! `cloakroom doctor URL`: what is wrong, or could go wrong, with a store and how it is set up.

use std::io::{self, Write as _};
use std::time::Duration;

use cloakroom::clock::{Clock as _, SystemClock};
use cloakroom::keyring::RingSource as _;
use cloakroom::store::{Finding, Severity};
use cloakroom_stores::{RingPlace, StoreUrl};

use crate::run::Failure;
use crate::settings::Settings;

/// How long a store may take to open, and to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connects, looks, and says in plain words what it found: of the store of this URL, or of that in the settings; and of the
/// store that its key ring is in. A problem is a failure, so that scripts can tell.
pub(crate) fn run(url: Option<&str>, settings: &Settings) -> Result<(), Failure> {
    let (url, ring) = match url {
        Some(url) => (StoreUrl::parse(url)?, None),
        None => (settings.store.value.clone(), settings.keys_file()?),
    };
    let ring = match ring {
        Some(ring) => Some(ring),
        None => url.ring()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{url}")?;
    let mut worst = tell(&mut out, &runtime.block_on(examine(&url)))?;
    if let Some(ring) = ring {
        writeln!(out, "The key ring, {ring}")?;
        worst = worst.max(tell(&mut out, &runtime.block_on(examine_ring(&ring)))?);
    }
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

/// Answers how bad the worst of them is.
fn tell(out: &mut impl io::Write, findings: &[Finding]) -> io::Result<Severity> {
    for finding in findings {
        writeln!(out, "{}", line(finding))?;
    }
    Ok(findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Fine))
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
    findings.extend(diagnosed(store.diagnose(SystemClock.now())).await);
    let can = |is_so: bool, what: &str| if is_so { what.to_owned() } else { format!("not: {what}") };
    let abilities = [
        can(store.revoke().is_some(), "log out everywhere"),
        can(store.index().is_some(), "list a user's sessions"),
    ];
    findings.push(Finding::fine("abilities", abilities.join("; ")));
    let _ = tokio::time::timeout(PATIENCE, store.close()).await;
    findings
}

async fn examine_ring(place: &RingPlace) -> Vec<Finding> {
    let looked_at = async {
        let kept = place.inspect().await?;
        let ring = kept.load().await?;
        Ok::<_, cloakroom::Error>((kept, ring))
    };
    let (kept, ring) = match tokio::time::timeout(PATIENCE, looked_at).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return vec![Finding::problem("ring", reason(&error))],
        Err(_) => return vec![Finding::problem("ring", silence())],
    };
    let message = format!("it is there, and the key {} seals", ring.primary().id());
    let mut findings = vec![Finding::fine("ring", message)];
    findings.extend(diagnosed(kept.diagnose()).await);
    findings
}

async fn diagnosed(diagnosis: impl Future<Output = Result<Vec<Finding>, cloakroom::Error>>) -> Vec<Finding> {
    match tokio::time::timeout(PATIENCE, diagnosis).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => vec![Finding::problem("diagnosis", reason(&error))],
        Err(_) => vec![Finding::problem("diagnosis", silence())],
    }
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
        let settings = Settings::load(crate::settings::Flags::default(), &[]).unwrap();
        run(Some("memory:"), &settings).unwrap();
        assert!(matches!(run(Some("sqlite:/no/such/folder/sessions.db"), &settings), Err(Failure::Doctor)));
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
