//! Certificates on a machine whose clock is not set: a router without a battery boots in 1970, or
//! when its image was built, and every certificate is of the future then.
//!
//! One that is not valid yet is looked at again at times that are certainly past, if this machine's
//! clock says an earlier one ([`clock::passed`]). Nothing is believed that way that has expired.

use super::shown_certificate::{CertificateCheck, ShownCertificate};
use crate::clock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error, RootCertStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::warn;

/// As webpki, whatever the clock says of the past.
#[derive(Debug)]
pub(super) struct TimelyVerifier {
    webpki: Arc<WebPkiServerVerifier>,
}

impl TimelyVerifier {
    /// `None`: there are no authorities.
    pub(super) fn new(roots: RootCertStore) -> Option<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Some(TimelyVerifier { webpki: webpki.build().ok()? })
    }

    fn verify(
        &self,
        shown: &ShownCertificate<'_>,
        passed: impl Iterator<Item = SystemTime>,
    ) -> Result<(ServerCertVerified, bool), Error> {
        let ShownCertificate { certificate, intermediates, name, now } = *shown;
        let at = |time| self.webpki.verify_server_cert(certificate, intermediates, name, &[], time);
        let refused = match at(now) {
            Ok(verified) => return Ok((verified, false)),
            Err(refused) => refused,
        };
        let is_early = matches!(
            refused,
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
            )
        );
        if !is_early {
            return Err(refused);
        }
        let since_epoch = passed.filter_map(|time| time.duration_since(UNIX_EPOCH).ok());
        let mut later = since_epoch.map(UnixTime::since_unix_epoch).filter(|time| *time > now);
        later.find_map(|time| at(time).ok()).map(|verified| (verified, true)).ok_or(refused)
    }
}

impl CertificateCheck for TimelyVerifier {
    fn check(&self, shown: &ShownCertificate<'_>) -> Result<ServerCertVerified, Error> {
        static SAID: AtomicBool = AtomicBool::new(false);
        let passed = clock::passed().into_iter();
        let (verified, is_wrong) = self.verify(shown, passed)?;
        if is_wrong && !SAID.swap(true, Ordering::Relaxed) {
            warn!(
                "this machine's clock says {}, which is past: until it is set, certificates are \
                 checked by the time of the last run, or of this program",
                clock::date(Duration::from_secs(shown.now.as_secs()))
            );
        }
        Ok(verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, ServerName};

    /// Valid from 2026 to 2126.
    const AUTHORITY: &[u8] = include_bytes!("../../dns/tests/certificates/authority.der");
    const CERTIFICATE: &[u8] = include_bytes!("../../dns/tests/certificates/dns.example.der");

    const YEAR: u64 = 31_557_600;

    fn verify(clock: u64, passed: &[u64]) -> Result<bool, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(AUTHORITY)).unwrap();
        let verifier = TimelyVerifier::new(roots).unwrap();
        let name = &ServerName::try_from("dns.example").unwrap();
        let at = |year: u64| Duration::from_secs((year - 1970) * YEAR);
        let passed = passed.iter().map(|year| UNIX_EPOCH + at(*year));
        let now = UnixTime::since_unix_epoch(at(clock));
        let certificate = &CertificateDer::from(CERTIFICATE);
        let shown = ShownCertificate { certificate, intermediates: &[], name, now };
        verifier.verify(&shown, passed).map(|(_, is_wrong)| is_wrong)
    }

    #[test]
    fn a_clock_that_is_behind_is_helped() {
        assert_eq!(verify(2030, &[]), Ok(false));
        assert_eq!(verify(1970, &[2030]), Ok(true), "by the time of the last run");
        assert_eq!(verify(2020, &[1970, 2300, 2030]), Ok(true), "one of them is nonsense");
        for passed in [&[][..], &[2025], &[2300], &[1970]] {
            assert!(verify(1970, passed).is_err(), "{passed:?}");
        }
        assert!(verify(2300, &[2030]).is_err(), "what has expired is not revived");
    }
}
