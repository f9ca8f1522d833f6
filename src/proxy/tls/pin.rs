//! A server that is known by its key (RFC 7469, 2.4, is where the pin comes from).
//!
//! The handshake proves that the server has the private key to the certificate that it shows, so
//! the certificate's public key is all that has to be compared.

use super::trust::pin_text;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::ring::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::sync::Arc;

/// Takes the server that has the key.
#[derive(Debug)]
pub(super) struct PinnedKey {
    pin: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedKey {
    pub(super) fn new(pin: [u8; 32]) -> Self {
        PinnedKey { pin, algorithms: default_provider().signature_verification_algorithms }
    }
}

/// The server has another key.
#[derive(Debug, thiserror::Error)]
#[error("its key has the pin {0}, and not the one of tls-pin")]
struct OtherKey(String);

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let hash = sha256(&key)?;
        if hash == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let other: Arc<dyn std::error::Error + Send + Sync> = Arc::new(OtherKey(pin_text(&hash)));
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(other))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// By the hash that TLS itself uses: no other crate is needed for it.
fn sha256(bytes: &[u8]) -> Result<[u8; 32], Error> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.map(|suite| suite.common.hash_provider.hash(bytes));
    let hash = hash.and_then(|hash| hash.as_ref().try_into().ok());
    hash.ok_or_else(|| Error::General("there is no SHA-256".into()))
}
