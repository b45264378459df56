//! Certificates for servers of this machine, signed by an authority of their own.

use std::process::Command;

use crate::{Folder, program};

/// An authority, and a certificate it signed for `localhost` and 127.0.0.1; as PEM files, made by the `openssl` command.
#[derive(Debug)]
pub struct Certificates {
    folder: Folder,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Panics
    /// If `openssl` isn't installed.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let certificates = Self { folder: Folder::new("certificates") };
        let authority = certificates.authority();
        let (authority_key, days) = (certificates.file("authority.key"), ["-days", "7"]);
        make(&["-subj", "/CN=authority of a test", "-keyout", &authority_key, "-out", &authority], &days);
        let signed_by = ["-CA", &authority, "-CAkey", &authority_key];
        let names = [
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        let (key, certificate) = (certificates.key(), certificates.certificate());
        let own = ["-subj", "/CN=localhost", "-keyout", &key, "-out", &certificate];
        make(&[&own[..], &signed_by, &names].concat(), &days);
        certificates
    }

    /// The authority's certificate.
    #[must_use]
    pub fn authority(&self) -> String {
        self.file("authority.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.file("server.pem")
    }

    /// The server's key.
    #[must_use]
    pub fn key(&self) -> String {
        self.file("server.key")
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn make(arguments: &[&str], more: &[&str]) {
    let made = Command::new(program("openssl"))
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(arguments)
        .args(more)
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}
