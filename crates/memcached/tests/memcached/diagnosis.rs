//! What the store finds out about its servers.

use std::{sync::Arc, time::SystemTime};

use cloakroom::{
    Timestamp,
    store::{Finding, Severity, Store as _},
};
use cloakroom_memcached::MemcachedStore;
use engines::Memcached;

use crate::fixture::{T0, filled, open, ring_url, session};

fn today() -> Timestamp {
    Timestamp::ZERO + SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

fn about<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.subject == subject).unwrap()
}

#[tokio::test]
async fn a_server_that_is_set_up_well_has_nothing_to_mend() {
    let server = Memcached::with(&["-m", "256"]);
    let findings = open(&server).await.diagnose(today()).await.unwrap();
    let subjects: Vec<_> = findings.iter().map(|finding| finding.subject).collect();
    assert_eq!(subjects, ["version", "memory", "item size", "clock", "reach", "latency"]);
    for finding in &findings {
        println!("{finding:?}");
        // A loaded machine may well be slow.
        assert!(finding.severity == Severity::Fine || finding.subject == "latency", "{finding:?}");
        assert!(finding.message.contains(&server.address().to_string()), "{finding:?}");
    }
    assert!(about(&findings, "version").message.contains("1.6"));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_what_to_do() {
    let server = Memcached::with(&["-m", "16", "-M", "-I", "16k", "-o", "slab_chunk_max=8"]);
    let findings = open(&server).await.diagnose(T0).await.unwrap();
    for (subject, severity, remedy) in [
        ("memory", Severity::Problem, "-M"),
        ("item size", Severity::Problem, "-I 1m"),
        ("clock", Severity::Warning, "NTP"),
    ] {
        let finding = about(&findings, subject);
        assert!(finding.severity == severity && finding.message.contains(remedy), "{finding:?}");
    }
}

#[tokio::test]
async fn evictions_are_told() {
    let server = Memcached::with(&["-m", "8"]);
    let store = open(&server).await;
    for n in 0..2_000 {
        let _ = store.create(Arc::new(filled(&session(n), 8 * 1024)), T0).await;
    }
    let findings = store.diagnose(today()).await.unwrap();
    let memory = about(&findings, "memory");
    assert!(memory.severity == Severity::Warning && memory.message.contains("-m"), "{memory:?}");
    assert!(!memory.message.contains(" 0 evictions"), "{memory:?}");
}

#[tokio::test]
async fn a_server_that_is_down_is_a_problem_of_its_own() {
    let (up, mut down) = (Memcached::with(&["-m", "256"]), Memcached::with(&[]));
    let store = MemcachedStore::open(&ring_url(&[&up, &down])).await.unwrap();
    down.process().kill();
    let findings = store.diagnose(today()).await.unwrap();
    let server = about(&findings, "server");
    assert!(server.severity == Severity::Problem && server.message.contains(&down.address().to_string()));
    assert_eq!(findings.iter().filter(|finding| finding.subject == "version").count(), 1);
}
