//! Encrypted connections to a real server, whose certificate an authority of the test's own has signed.

use cloakroom::store::{Severity, Store as _};
use cloakroom_redis::RedisStore;
use engines::{Certificates, Redis, free_port};

use crate::fixture::{create, is_alive, prefix, run, session};

/// The bug: a build with the feature `tls` alone had no cryptography in it, and `rediss://` panicked at the first
/// connection.
#[test]
fn an_encrypted_connection_is_to_whom_the_authority_vouches_for() {
    run(async {
        let (certificates, port) = (Certificates::new(), free_port());
        let _redis = Redis::with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificates.certificate(),
            "--tls-key-file",
            &certificates.key(),
            "--tls-ca-cert-file",
            &certificates.authority(),
            "--tls-auth-clients",
            "no",
        ]);
        for host in ["localhost", "127.0.0.1"] {
            let url = format!("rediss://{host}:{port}?ca={}&prefix={}", certificates.authority(), prefix());
            let store = RedisStore::open(&url).await.unwrap();
            let record = session(1, "ada");
            create(&store, &record).await;
            assert!(is_alive(&store, &record).await);
            let findings = store.diagnose(cloakroom::Timestamp::ZERO).await.unwrap();
            let is_told = findings
                .iter()
                .any(|finding| finding.subject == "encryption" && finding.severity == Severity::Fine);
            assert!(is_told, "{findings:?}");
        }
        let other = Certificates::new();
        for url in [
            format!("rediss://localhost:{port}"),
            format!("rediss://localhost:{port}?ca={}", other.authority()),
            format!("rediss://localhost:{port}?ca=/no/such/file"),
        ] {
            let error = RedisStore::open(&url).await.err().unwrap_or_else(|| panic!("{url} was opened"));
            assert!(error.is_unavailable() || error.is_invalid(), "{error:?}");
        }
    });
}
