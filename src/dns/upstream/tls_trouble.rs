//! Why TLS with a name server does not come to be, in words that an operator can act on.

use crate::clock::{self, ClockError};
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};
use std::time::Duration;

/// Our clock is wrong for certain if others say so much else.
const CLOCK_ERROR: Duration = Duration::from_secs(12 * 3600);

/// What a handshake tells that failed.
pub(super) struct TlsTrouble {
    /// The same cause has the same kind.
    pub(super) kind: &'static str,
    /// In words that follow the name of the server.
    pub(super) text: String,
    /// It is no matter of one try.
    pub(super) lasts: bool,
}

/// What a failed handshake with the server of this name tells.
pub(super) fn of(name: &str, error: &Error) -> TlsTrouble {
    let certificate = match error {
        Error::InvalidCertificate(certificate) => certificate,
        other => {
            let text = format!("does not come to TLS: {other}");
            return TlsTrouble { kind: "tls", text, lasts: false };
        }
    };
    let (kind, text) = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("expired", format!("has a certificate that has expired{}", expiry(certificate)))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("not yet valid", format!("has a certificate that is not valid{}", begin(certificate)))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("name", format!("has a certificate for other names than {name}{}", names(certificate)))
        }
        CertificateError::UnknownIssuer => (
            "issuer",
            "has a certificate of an authority that is not trusted; is it the server itself that \
             answers?"
                .into(),
        ),
        other => ("certificate", format!("has a certificate that is not valid ({other:?})")),
    };
    TlsTrouble { kind, text, lasts: true }
}

fn names(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let shown: Vec<_> = presented.iter().take(3).map(String::as_str).collect();
            format!(" (it is for {})", shown.join(", "))
        }
        _ => String::new(),
    }
}

/// Until when, and what is known of the clock that says so.
fn expiry(error: &CertificateError) -> String {
    let CertificateError::ExpiredContext { time, not_after } = error else { return String::new() };
    let clock = match clock::error() {
        Some(ahead @ ClockError::Ahead(by)) if by > CLOCK_ERROR => {
            format!("; but {ahead}: set it (NTP)")
        }
        _ => format!(" (by this machine's clock it is {})", date(*time)),
    };
    format!(" on {}{clock}", date(*not_after))
}

/// From when, and what is known of the clock that says so.
fn begin(error: &CertificateError) -> String {
    let CertificateError::NotValidYetContext { time, not_before } = error else {
        return String::new();
    };
    let (time, from) = (date(*time), date(*not_before));
    let is_behind = clock::behind().is_some()
        || matches!(clock::error(), Some(ClockError::Behind(by)) if by > CLOCK_ERROR);
    match is_behind {
        true => format!(" before {from}; but this machine's clock ({time}) is wrong: set it (NTP)"),
        false => format!(" before {from}; is this machine's clock right ({time})?"),
    }
}

fn date(time: UnixTime) -> String {
    clock::date(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::upstream::trouble::Trouble;
    use rustls::pki_types::ServerName;
    use std::io::{self, ErrorKind};

    fn tls(error: CertificateError) -> Trouble {
        let error = io::Error::new(ErrorKind::InvalidData, Error::InvalidCertificate(error));
        Trouble::of_dial(Some("dns.example"), &error).unwrap()
    }

    fn at(days: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400))
    }

    #[test]
    fn certificates_tell_what_is_wrong_with_them() {
        let expired =
            tls(CertificateError::ExpiredContext { time: at(30_000), not_after: at(20_000) });
        assert_eq!((expired.kind, expired.patience), ("expired", 1));
        assert!(expired.text.contains("expired on Fri, 04 Oct 2024"), "{}", expired.text);
        let early =
            tls(CertificateError::NotValidYetContext { time: at(0), not_before: at(30_000) });
        assert!(early.text.contains("clock"), "{}", early.text);
        assert_ne!(early.kind, expired.kind);
        let name = ServerName::try_from("dns.example").unwrap();
        let other = tls(CertificateError::NotValidForNameContext {
            expected: name.to_owned(),
            presented: vec!["DnsName(\"other.example\")".into()],
        });
        assert!(other.text.contains("than dns.example (it is for"), "{}", other.text);
        let stranger = tls(CertificateError::UnknownIssuer);
        assert!(stranger.text.contains("not trusted"));
    }
}
