//! TLS to name servers: the certificate has to be valid for the name that the operator gave, and be
//! signed by an authority that Mozilla trusts (the list is compiled in: a router has none).

use crate::proxy::Stream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Two round trips through a proxy around the world take less.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Makes TLS connections.
#[derive(Clone)]
pub(in crate::dns) struct Tls {
    roots: Arc<RootCertStore>,
}

impl Default for Tls {
    fn default() -> Self {
        Tls::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }
}

impl Tls {
    /// Trusts these authorities.
    pub(in crate::dns) fn new(roots: RootCertStore) -> Self {
        Tls { roots: Arc::new(roots) }
    }

    /// Speaks TLS over a connection; `protocol` is what will be spoken inside (ALPN).
    ///
    /// # Errors
    /// A handshake that fails or takes too long, a certificate of somebody else.
    pub(in crate::dns) async fn connect(
        &self,
        name: &str,
        protocol: &[u8],
        stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let tls = timeout(HANDSHAKE, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Box::new(tls))
    }
}
