//! Encrypted connections, for builds with the feature `tls`.

use redis::{Client, ConnectionInfo, RedisResult, cluster::ClusterClientBuilder};

use crate::address::Address;

#[cfg(feature = "tls")]
impl Address {
    /// A client that trusts the authority of the URL, or those of the system.
    pub(crate) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match self.certificates()? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    pub(crate) fn trusting(&self, builder: ClusterClientBuilder) -> RedisResult<ClusterClientBuilder> {
        Ok(match self.certificates()? {
            Some(certificates) => builder.certs(certificates),
            None => builder,
        })
    }

    /// Read anew for each connection: an authority's certificate is replaced from time to time.
    fn certificates(&self) -> RedisResult<Option<redis::TlsCertificates>> {
        if self.is_encrypted {
            // Unless the application has chosen another already. Without any, the client would panic.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let Some(file) = &self.authority else { return Ok(None) };
        let authority = std::fs::read(file)
            .map_err(|error| std::io::Error::new(error.kind(), format!("`ca`: {error}")))?;
        Ok(Some(redis::TlsCertificates { client_tls: None, root_cert: Some(authority) }))
    }
}

#[cfg(not(feature = "tls"))]
impl Address {
    pub(crate) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }

    pub(crate) fn trusting(&self, builder: ClusterClientBuilder) -> RedisResult<ClusterClientBuilder> {
        Ok(builder)
    }
}
