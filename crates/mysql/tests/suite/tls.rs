//! Encrypted connections to a real server, whose certificate an authority of the test's own has signed.

use cloakroom::store::{Severity, Store as _};
use cloakroom_mysql::MySqlStore;
use engines::{Certificates, Engine as _};

use super::revoking::{T0, create, session};
use crate::Server;

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_connection_is_to_whom_the_authority_vouches_for() {
    let certificates = Certificates::new();
    let server = Server::with_options(&[
        &format!("--ssl-cert={}", certificates.certificate()),
        &format!("--ssl-key={}", certificates.key()),
        &format!("--ssl-ca={}", certificates.authority()),
        "--require-secure-transport=ON",
    ]);
    let local = server.url().replace("127.0.0.1", "localhost");
    for url in [&server.url(), &local] {
        let store = MySqlStore::connect(&format!("{url}?sslmode=verify&ca={}", certificates.authority()))
            .await
            .unwrap();
        if url == &local {
            create(&store, &session(1)).await;
            assert!(matches!(
                store.load(session(1).id, T0).await.unwrap(),
                cloakroom::store::Loaded::Found(_)
            ));
        }
        let findings = store.diagnose(T0).await.unwrap();
        let encryption = findings.iter().find(|finding| finding.subject == "encryption").unwrap();
        assert_eq!(encryption.severity, Severity::Fine);
    }
    let other = Certificates::new();
    for url in [
        server.url(),
        format!("{local}?sslmode=verify"),
        format!("{local}?sslmode=verify&ca={}", other.authority()),
    ] {
        let error = MySqlStore::connect(&url).await.err().unwrap_or_else(|| panic!("{url} was opened"));
        assert!(error.is_unavailable() || error.is_invalid(), "{error:?}");
    }
    let plain = Server::start();
    let url = format!("{}?sslmode=verify&ca={}", plain.url(), certificates.authority());
    assert!(
        MySqlStore::connect(&url).await.is_err(),
        "a server without encryption was spoken to in the clear"
    );
}
