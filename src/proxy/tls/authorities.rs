//! A file of authorities.

use crate::proxy::trust::Trust;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::PathBuf;

/// Trust in the authorities of a file in PEM.
///
/// # Errors
/// What was found instead.
pub fn authorities(file: PathBuf, text: &[u8]) -> Result<Trust, String> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no PEM ({error})"))?;
    if certificates.is_empty() {
        return Err("no certificate".into());
    }
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates.iter().enumerate() {
        let unfit = |error| format!("a certificate (number {}) with {error}", number + 1);
        roots.add(certificate.clone()).map_err(unfit)?;
    }
    Ok(Trust::Authorities { file, certificates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_has_some() {
        let read = |text: &str| authorities("ca.pem".into(), text.as_bytes());
        assert_eq!(read("hello"), Err("no certificate".into()));
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        assert!(read(cut).is_err_and(|found| found.contains("PEM")));
        let senseless = format!("{cut}-----END CERTIFICATE-----\n");
        assert!(read(&senseless).is_err_and(|found| found.contains("number 1")));
    }
}
