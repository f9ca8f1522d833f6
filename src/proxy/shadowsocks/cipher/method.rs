//! The methods by their names in configuration files, and what each is made of.

use std::fmt;
use std::str::FromStr;

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `aes-128-gcm`
    Aes128Gcm,
    /// `aes-256-gcm`
    Aes256Gcm,
    /// `chacha20-ietf-poly1305`
    Chacha20IetfPoly1305,
    /// `2022-blake3-aes-128-gcm`
    Blake3Aes128Gcm,
    /// `2022-blake3-aes-256-gcm`
    Blake3Aes256Gcm,
    /// `2022-blake3-chacha20-poly1305`
    Blake3Chacha20Poly1305,
}

/// The protocol that a method belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// AEAD ciphers (SIP004): a password, and nothing of time.
    Sip004,
    /// Shadowsocks 2022 (SIP022): keys, and headers with the time.
    Sip022,
}

/// The AEAD that a method seals with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES-128-GCM
    Aes128Gcm,
    /// AES-256-GCM
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439)
    ChaCha20Poly1305,
}

impl Method {
    /// Every method, in the order of documentation.
    pub const ALL: [Method; 6] = [
        Method::Aes128Gcm,
        Method::Aes256Gcm,
        Method::Chacha20IetfPoly1305,
        Method::Blake3Aes128Gcm,
        Method::Blake3Aes256Gcm,
        Method::Blake3Chacha20Poly1305,
    ];

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Aes128Gcm => "aes-128-gcm",
            Method::Aes256Gcm => "aes-256-gcm",
            Method::Chacha20IetfPoly1305 => "chacha20-ietf-poly1305",
            Method::Blake3Aes128Gcm => "2022-blake3-aes-128-gcm",
            Method::Blake3Aes256Gcm => "2022-blake3-aes-256-gcm",
            Method::Blake3Chacha20Poly1305 => "2022-blake3-chacha20-poly1305",
        }
    }

    /// The protocol.
    pub const fn edition(self) -> Edition {
        match self {
            Method::Aes128Gcm | Method::Aes256Gcm | Method::Chacha20IetfPoly1305 => Edition::Sip004,
            Method::Blake3Aes128Gcm | Method::Blake3Aes256Gcm | Method::Blake3Chacha20Poly1305 => {
                Edition::Sip022
            }
        }
    }

    /// The AEAD.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Method::Aes128Gcm | Method::Blake3Aes128Gcm => Algorithm::Aes128Gcm,
            Method::Aes256Gcm | Method::Blake3Aes256Gcm => Algorithm::Aes256Gcm,
            Method::Chacha20IetfPoly1305 | Method::Blake3Chacha20Poly1305 => {
                Algorithm::ChaCha20Poly1305
            }
        }
    }

    /// Bytes of the key, and of the salt.
    pub const fn key_len(self) -> usize {
        self.algorithm().key_len()
    }
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 3] =
        [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305];

    /// Bytes of the key.
    pub const fn key_len(self) -> usize {
        match self {
            Algorithm::Aes128Gcm => 16,
            Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => 32,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        Method::ALL.into_iter().find(|method| method.name() == text).ok_or(UnknownMethod)
    }
}

/// No method has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("accepted: {}", Method::ALL.map(Method::name).join(", "))]
pub struct UnknownMethod;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
        }
        assert_eq!("rc4-md5".parse::<Method>(), Err(UnknownMethod));
        assert!(UnknownMethod.to_string().ends_with("2022-blake3-chacha20-poly1305"));
    }
}
