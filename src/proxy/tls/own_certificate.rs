//! Servers whose certificate stands in the operator's file itself.
//!
//! `openssl req -x509` marks what it signs as an authority, and most servers with a certificate of
//! their own have such a one. webpki takes no authority for a server (RFC 5280, 4.2.1.9, forbids
//! only the reverse); OpenSSL, and so curl, take it, since it is the one that was given to them. So
//! do we: if it is exactly one of the file, and everything else is right.

use super::shown_certificate::{CertificateCheck, ShownCertificate};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use std::sync::Arc;

/// What webpki says of an authority that is a server. It looks at the time before, and at the name
/// after that (`verify_cert.rs`, `subject_name.rs`).
const AN_AUTHORITY: &str = "CaUsedAsEndEntity";

/// As webpki, and takes a certificate of the file for itself.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    webpki: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl OwnCertificate {
    /// `None`: none of them is fit to be an authority.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Some(OwnCertificate { webpki: webpki.build().ok()?, certificates })
    }
}

impl CertificateCheck for OwnCertificate {
    fn check(&self, shown: &ShownCertificate<'_>) -> Result<ServerCertVerified, Error> {
        let ShownCertificate { certificate, intermediates, name, now } = *shown;
        let checked = self.webpki.verify_server_cert(certificate, intermediates, name, &[], now);
        let refused = match checked {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        let is_authority = matches!(&refused,
            Error::InvalidCertificate(CertificateError::Other(other))
                if format!("{other:?}").contains(AN_AUTHORITY));
        if !is_authority || !self.certificates.iter().any(|own| own == certificate) {
            return Err(refused);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{ServerName, UnixTime};
    use std::time::Duration;

    /// Made by `openssl req -x509`, for the name "self.example", for a hundred years; and another
    /// one of the same kind.
    const OWN: &[u8] = include_bytes!("own_certificate.pem");

    /// In 2030.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));

    fn verify(file: usize, shown: usize, name: &str, now: UnixTime) -> Result<(), Error> {
        let both: Vec<_> = CertificateDer::pem_slice_iter(OWN).collect::<Result<_, _>>().unwrap();
        let verifier = OwnCertificate::new(vec![both[file].clone()]).unwrap();
        let name = &ServerName::try_from(name).unwrap();
        let certificate = &both[shown];
        let shown = ShownCertificate { certificate, intermediates: &[], name, now };
        verifier.check(&shown).map(drop)
    }

    #[test]
    fn only_the_very_one_of_the_file() {
        assert_eq!(verify(0, 0, "self.example", NOW), Ok(()));
        assert!(verify(0, 1, "self.example", NOW).is_err(), "another one of this name");
        assert!(verify(0, 0, "other.example", NOW).is_err(), "for another name");
        let past = UnixTime::since_unix_epoch(Duration::from_secs(1_000_000_000));
        assert!(verify(0, 0, "self.example", past).is_err(), "of another time");
    }
}
