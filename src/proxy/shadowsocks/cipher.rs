//! The AEAD ciphers of shadowsocks: key derivation, sealing, opening. The only room that knows ciphers.

/// An AEAD method (SIP004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `aes-128-gcm`
    Aes128Gcm,
    /// `aes-256-gcm`
    Aes256Gcm,
    /// `chacha20-ietf-poly1305`
    Chacha20IetfPoly1305,
}
