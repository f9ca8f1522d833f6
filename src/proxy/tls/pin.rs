//! A server that is known by its key (RFC 7469, 2.4, is where the pin comes from).
//!
//! The handshake proves that the server has the private key to the certificate that it shows, so
//! the certificate's public key is all that has to be compared.

use super::shown_certificate::{CertificateCheck, ShownCertificate};
use crate::proxy::trust::pin_text;
use rustls::client::danger::ServerCertVerified;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError};
use std::sync::Arc;

/// Takes the server that has the key.
#[derive(Debug)]
pub(super) struct PinnedKey {
    pin: [u8; 32],
}

impl PinnedKey {
    pub(super) fn new(pin: [u8; 32]) -> Self {
        PinnedKey { pin }
    }
}

/// The server has another key.
#[derive(Debug, thiserror::Error)]
#[error("its key has the pin {0}, and not the one of tls-pin")]
struct OtherKey(String);

impl CertificateCheck for PinnedKey {
    fn check(&self, shown: &ShownCertificate<'_>) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(shown.certificate)?.subject_public_key_info();
        let hash = sha256(&key)?;
        if hash == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let other: Arc<dyn std::error::Error + Send + Sync> = Arc::new(OtherKey(pin_text(&hash)));
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(other))))
    }
}

/// By the hash that TLS itself uses: no other crate is needed for it.
fn sha256(bytes: &[u8]) -> Result<[u8; 32], Error> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.map(|suite| suite.common.hash_provider.hash(bytes));
    let hash = hash.and_then(|hash| hash.as_ref().try_into().ok());
    hash.ok_or_else(|| Error::General("there is no SHA-256".into()))
}
