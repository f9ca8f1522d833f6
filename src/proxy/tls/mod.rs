//! TLS on top of a connection: to name servers, and to proxy servers that want it.
//!
//! The certificate has to be valid for the name that the operator gave, and be signed by an
//! authority that Mozilla trusts (the list is compiled in: a router has none), unless the operator
//! trusts something else ([`Trust`]). TLS 1.2 or 1.3.

mod authorities;
mod own_certificate;
mod pin;
mod shown_certificate;
mod timely;
mod unspoken;

pub use authorities::authorities;

use super::Stream;
use super::trust::Trust;
use crate::fault;
use own_certificate::OwnCertificate;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, WantsVerifier};
use shown_certificate::verifier;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use timely::TimelyVerifier;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For a handshake: two round trips through a proxy around the world take less.
pub const HANDSHAKE: Duration = Duration::from_secs(3);

/// Makes TLS connections. Sessions are kept and resumed, which saves a server's certificate and a
/// round trip or two.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Without a protocol. Copies of it share the sessions.
    config: Arc<ClientConfig>,
}

impl Default for Tls {
    fn default() -> Self {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        fault::roots(|authority| {
            // Only tests have one; without it their server is not trusted, and they fail.
            let _ = roots.add(authority.into());
        });
        Tls::new(roots)
    }
}

/// The first bytes of a handshake with a server at this address, which every server of TLS answers,
/// if only by an alert. It names nobody.
///
/// # Errors
/// The operating system gives no random bytes.
pub fn hello(server: IpAddr) -> io::Result<Vec<u8>> {
    let config = Arc::clone(&Tls::new(RootCertStore::empty()).config);
    let mut connection = ClientConnection::new(config, server.into()).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes)
}

impl Tls {
    /// Trusts these authorities.
    ///
    /// # Panics
    /// Never: ring can do both versions.
    pub fn new(roots: RootCertStore) -> Self {
        let config = match TimelyVerifier::new(roots) {
            Some(check) => builder()
                .dangerous()
                .with_custom_certificate_verifier(verifier(check))
                .with_no_client_auth(),
            // Nobody is trusted.
            None => builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        };
        Tls { config: Arc::new(config) }
    }

    /// Trusts what the operator trusts, and offers these protocols, best first (ALPN), in
    /// [`open`](Self::open).
    pub fn trusting(trust: &Trust, protocols: &[&[u8]]) -> Self {
        let mut config = match trust {
            Trust::Public => ClientConfig::clone(&Tls::default().config),
            // A file without any is refused where it is read.
            Trust::Authorities { certificates, .. } => {
                match OwnCertificate::new(certificates.clone()) {
                    Some(check) => builder()
                        .dangerous()
                        .with_custom_certificate_verifier(verifier(check))
                        .with_no_client_auth(),
                    None => ClientConfig::clone(&Tls::new(RootCertStore::empty()).config),
                }
            }
            Trust::Key(pin) => builder()
                .dangerous()
                .with_custom_certificate_verifier(verifier(pin::PinnedKey::new(*pin)))
                .with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Tls { config: Arc::new(config) }
    }

    /// Speaks TLS over `tcp` with the server `name`. Has no time-out.
    ///
    /// # Errors
    /// A name that is none, a handshake that fails or shows a certificate that is not trusted.
    pub async fn open(&self, name: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await
    }

    /// Speaks TLS over `stream` with the server `name`; `protocol` is what is spoken inside (ALPN).
    ///
    /// # Errors
    /// A name that is none, a handshake that fails, takes longer than `patience` (`TimedOut`) or
    /// shows a certificate that is not valid for `name`.
    pub async fn connect(
        &self,
        name: &str,
        protocol: &[u8],
        stream: Box<dyn Stream>,
        patience: Duration,
    ) -> io::Result<Box<dyn Stream>> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let tls = timeout(patience, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Box::new(tls))
    }
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring can do both versions")
}
