//! What the verifiers of servers have in common, beside what each says of a certificate.
//!
//! That the server has the key to the certificate which it shows is proved by its signature of the
//! handshake (RFC 8446, 4.4.3), in the same way for all of them.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::fmt::Debug;
use std::sync::Arc;

/// What a server shows in its handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownCertificate<'a> {
    pub(super) certificate: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    /// Of the server, as it was dialled.
    pub(super) name: &'a ServerName<'a>,
    pub(super) now: UnixTime,
}

/// Whose certificates count.
pub(super) trait CertificateCheck: Debug + Send + Sync + 'static {
    /// Whether this one does.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, shown: &ShownCertificate<'_>) -> Result<ServerCertVerified, Error>;
}

/// The verifier for rustls.
pub(super) fn verifier(check: impl CertificateCheck) -> Arc<dyn ServerCertVerifier> {
    let algorithms = default_provider().signature_verification_algorithms;
    Arc::new(SignedHandshake { check, algorithms })
}

#[derive(Debug)]
struct SignedHandshake<C> {
    check: C,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<C: CertificateCheck> ServerCertVerifier for SignedHandshake<C> {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check.check(&ShownCertificate { certificate, intermediates, name, now })
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
