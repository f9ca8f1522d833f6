//! What snet shows to the programs that ask it over TLS or HTTPS.

use super::identity_error::IdentityError;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// DNS over TLS, in ALPN (RFC 7858 has none, IANA registered it later). Who offers nothing is
/// served too.
const TLS: &[&[u8]] = &[b"dot"];

/// DNS over HTTPS: RFC 8484 recommends HTTP/2; RouterOS and old programs speak HTTP/1.1.
const HTTPS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// A certificate with its key: equal if the certificates are.
#[derive(Clone)]
pub struct ServerIdentity {
    chain: Vec<CertificateDer<'static>>,
    tls: Arc<ServerConfig>,
    https: Arc<ServerConfig>,
}

impl ServerIdentity {
    /// Of two files in PEM: the certificate with those that lead to its authority, and its key.
    ///
    /// # Errors
    /// What was found instead.
    ///
    /// # Panics
    /// Never: ring can do both versions of TLS.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| IdentityError::Certificate(format!("no PEM ({error})")))?;
        if chain.is_empty() {
            return Err(IdentityError::Certificate("no certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| IdentityError::Key(format!("no private key in PEM ({error})")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring can do both versions")
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .map_err(|error| match error {
                rustls::Error::InvalidCertificate(_) => {
                    IdentityError::Certificate(format!("a certificate that is none ({error})"))
                }
                _ => IdentityError::Key(format!("a key that does not fit ({error})")),
            })?;
        let speaking = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        Ok(ServerIdentity { tls: speaking(TLS), https: speaking(HTTPS), chain })
    }

    /// Shakes hands with a client of DNS over TLS. Has no time-out.
    pub(super) async fn accept_tls(&self, client: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.tls)).accept(client).await
    }

    /// The same over HTTPS.
    pub(super) async fn accept_https(&self, client: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.https)).accept(client).await
    }
}

impl PartialEq for ServerIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerIdentity({} certificates)", self.chain.len())
    }
}
