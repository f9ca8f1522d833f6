//! What the operator takes for the proof that a server is the one that is meant.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use std::path::PathBuf;

/// Bytes of a SHA-256.
const HASH: usize = 32;

/// Who a server that speaks TLS has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServer {
    /// The name that its certificate has to be for, and that it is told (SNI): a host name, or an
    /// address without brackets, which it is not told.
    pub name: String,
    /// What proves it.
    pub trust: Trust,
}

/// What proves that a server is the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A certificate for its name by an authority that Mozilla trusts.
    Public,
    /// One by these authorities, and by no others.
    Authorities {
        /// Where they were read.
        file: PathBuf,
        /// Each is fit to be one.
        certificates: Vec<CertificateDer<'static>>,
    },
    /// That it has this key: the SHA-256 of its public key with the key's type (SPKI, RFC 5280,
    /// 4.1.2.7). Neither the authority nor the name nor the time of the certificate matter then: a
    /// server that signed its own is meant.
    Key([u8; HASH]),
}

impl Trust {
    /// A key by its pin in base64, with curl's `sha256//` before it or without.
    ///
    /// # Errors
    /// What was found instead.
    pub fn key(text: &str) -> Result<Self, String> {
        let encoded = text.strip_prefix("sha256//").unwrap_or(text);
        let bytes = STANDARD.decode(encoded).map_err(|_| "a text that is no base64".to_owned())?;
        let found = |bytes: Vec<u8>| format!("base64 of {} bytes", bytes.len());
        bytes.try_into().map(Trust::Key).map_err(found)
    }
}

/// A pin as the file has it.
pub fn pin_text(pin: &[u8; HASH]) -> String {
    STANDARD.encode(pin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_has_32_bytes() {
        let text = STANDARD.encode([7; HASH]);
        assert_eq!(Trust::key(&text), Ok(Trust::Key([7; HASH])));
        assert_eq!(Trust::key(&format!("sha256//{text}")), Ok(Trust::Key([7; HASH])));
        assert_eq!(Trust::key(&STANDARD.encode([7; 20])), Err("base64 of 20 bytes".into()));
        assert_eq!(Trust::key("ab:cd"), Err("a text that is no base64".into()));
    }
}
