//! Encrypted connections.

#[cfg(feature = "tls")]
pub(crate) use with::{Tls, of};
#[cfg(not(feature = "tls"))]
pub(crate) use without::{Tls, of};

/// What is asked of an encrypted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Anybody who answers.
    Anybody,
    /// Whoever has a certificate for the host's name, from one of these authorities: those of the system, or a file's.
    Authorities(Option<String>),
}

#[cfg(not(feature = "tls"))]
mod without {
    use cloakroom::Error;
    use tokio_postgres::tls::NoTls;

    /// There is none: this program was built without.
    #[derive(Debug)]
    pub(crate) struct Tls;

    impl Tls {
        pub(crate) fn maker(&self) -> NoTls {
            NoTls
        }
    }

    pub(crate) fn of(_: &super::Trust) -> Result<Tls, Error> {
        Err(Error::invalid(
            "this program was built without TLS for PostgreSQL: build it with the feature `tls` of cloakroom-postgres; or, if \
             nobody can listen on the way to the server, say `sslmode=disable`",
        ))
    }
}

#[cfg(feature = "tls")]
mod with {
    use std::{future::Future, io, pin::Pin, sync::Arc};

    use cloakroom::Error;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
    use tokio_rustls::{
        TlsConnector,
        client::TlsStream as RustlsStream,
        rustls::{
            self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
            client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
            crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
            pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
        },
    };

    use super::Trust;

    /// Encrypts connections.
    #[derive(Clone)]
    pub(crate) struct Tls(Arc<ClientConfig>);

    impl Tls {
        /// What the driver asks for encryption.
        pub(crate) fn maker(&self) -> Self {
            self.clone()
        }
    }

    pub(crate) fn of(trust: &Trust) -> Result<Tls, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::invalid(format!("TLS can't be set up: {error}")))?;
        let config = match trust {
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            }
            Trust::Authorities(file) => builder.with_root_certificates(roots(file.as_deref())?),
        };
        Ok(Tls(Arc::new(config.with_no_client_auth())))
    }

    fn roots(file: Option<&str>) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(file) => {
                let unreadable = |error: &dyn std::fmt::Display| {
                    Error::invalid(format!("the file of `sslrootcert` can't be read: {error}"))
                };
                for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
                    let certificate = certificate.map_err(|error| unreadable(&error))?;
                    roots.add(certificate).map_err(|error| unreadable(&error))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err(Error::invalid(
                "no certificate authority was found to check the server by with TLS: name a file by `sslrootcert`",
            ));
        }
        Ok(roots)
    }

    impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
        type Stream = Stream<S>;
        type TlsConnect = Connect;
        type Error = rustls::pki_types::InvalidDnsNameError;

        fn make_tls_connect(&mut self, host: &str) -> Result<Connect, Self::Error> {
            // A socket of this machine has no name, and isn't encrypted.
            let host = if host.is_empty() { "localhost" } else { host };
            Ok(Connect(TlsConnector::from(Arc::clone(&self.0)), ServerName::try_from(host)?.to_owned()))
        }
    }

    /// One connection's handshake.
    pub(crate) struct Connect(TlsConnector, ServerName<'static>);

    impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connect {
        type Stream = Stream<S>;
        type Error = io::Error;
        type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

        fn connect(self, stream: S) -> Self::Future {
            let Self(connector, host) = self;
            Box::pin(async move { connector.connect(host, stream).await.map(Stream) })
        }
    }

    /// An encrypted connection.
    pub(crate) struct Stream<S>(RustlsStream<S>);

    impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
        /// The certificate was checked already, or deliberately not; passwords need no binding to it.
        fn channel_binding(&self) -> ChannelBinding {
            ChannelBinding::none()
        }
    }

    impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(
            mut self: Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    /// Takes any certificate, as long as the server holds its key: what `prefer` and `require` ask for.
    #[derive(Debug)]
    struct Unverified(Arc<CryptoProvider>);

    impl ServerCertVerifier for Unverified {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
