//! Encrypted connections, to a server with a certificate for `localhost`.
#![cfg(feature = "tls")]

use std::{fs, path::PathBuf};

use cloakroom::{
    SessionId, Timestamp,
    store::{Loaded, Store as _},
};
use cloakroom_postgres::PostgresStore;
use engines::{Breakable as _, Postgres};

struct Encrypted {
    server: Postgres,
    certificate: PathBuf,
}

impl Encrypted {
    fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let server = Postgres::with_settings(&["fsync=off"]);
        let (certificate, key) = (server.folder().join("certificate.pem"), server.folder().join("key.pem"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        server.give(&key);
        for (setting, value) in [
            ("ssl_cert_file", certificate.display().to_string()),
            ("ssl_key_file", key.display().to_string()),
            ("ssl", "on".to_owned()),
        ] {
            server.run("postgres", &format!("ALTER SYSTEM SET {setting} = '{value}'"));
        }
        server.run("postgres", "SELECT pg_reload_conf()");
        Self { server, certificate }
    }

    fn url(&self, host: &str, options: &str) -> String {
        let address = self.server.address();
        let url = self.server.url_at(address).replace("127.0.0.1", host);
        format!("{url}?{options}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_unless_it_is_said_otherwise() {
    let server = Encrypted::start();
    let checked = format!("sslrootcert={}", server.certificate.display());
    let mut refused = true;
    // It reads its settings again in its own time.
    for _ in 0..100 {
        refused = PostgresStore::connect(&server.url("localhost", "sslmode=require")).await.is_err();
        if !refused {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!refused, "the server offers no encryption");
    for (host, options) in [("localhost", &*checked), ("localhost", "sslmode=prefer")] {
        let store = PostgresStore::connect(&server.url(host, options)).await.unwrap();
        let loaded = store.load(SessionId::from_bytes([1; 16]), Timestamp::ZERO).await.unwrap();
        assert!(matches!(loaded, Loaded::Absent));
        server.server.run(
            "cloakroom",
            "SELECT 1 / count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'cloakroom'",
        );
    }
    // Another name than the certificate's; and a certificate that nobody of the system's authorities gave out.
    for (host, options) in [("127.0.0.1", &*checked), ("localhost", "sslmode=verify-full")] {
        let error = PostgresStore::connect(&server.url(host, options)).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("TLS"), "{error:?}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_encryption_is_refused() {
    let url = engines::shared::<Postgres>() + "?sslmode=require";
    let error = PostgresStore::connect(&url).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("TLS"), "{error:?}");
}
