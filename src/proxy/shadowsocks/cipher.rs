//! The AEAD ciphers of shadowsocks: key derivation, sealing, opening. The only room that knows
//! ciphers.
//!
//! A password becomes a master key (EVP_BytesToKey with MD5, openssl), master key and salt become
//! the key of one direction of one connection (HKDF-SHA1, RFC 5869, info "ss-subkey"), and the
//! nonce is a counter in little-endian order that never comes twice (SIP004).

use crate::secret::Secret;
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use md5::{Digest, Md5};
use sha1::Sha1;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Bytes of an authentication tag, the same for every method.
pub const TAG: usize = 16;

/// Bytes of the longest salt.
pub const LONGEST_SALT: usize = 32;

const NONCE: usize = 12;

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

impl Method {
    /// Every method, in the order of documentation.
    pub const ALL: [Method; 3] =
        [Method::Aes128Gcm, Method::Aes256Gcm, Method::Chacha20IetfPoly1305];

    /// Bytes of the key, and of the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Method::Aes128Gcm => 16,
            Method::Aes256Gcm | Method::Chacha20IetfPoly1305 => 32,
        }
    }

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Aes128Gcm => "aes-128-gcm",
            Method::Aes256Gcm => "aes-256-gcm",
            Method::Chacha20IetfPoly1305 => "chacha20-ietf-poly1305",
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
#[error("accepted: aes-128-gcm, aes-256-gcm, chacha20-ietf-poly1305")]
pub struct UnknownMethod;

/// A method and the key that the password stands for.
#[derive(Clone)]
pub struct MasterKey {
    method: Method,
    bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    /// Derives the key from a password (EVP_BytesToKey, MD5, one round, no salt).
    pub fn new(method: Method, password: &Secret) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        let mut digest: Option<[u8; 16]> = None;
        for part in bytes.chunks_mut(16) {
            let mut hasher = Md5::new();
            if let Some(former) = digest {
                hasher.update(former);
            }
            hasher.update(password.expose());
            let next: [u8; 16] = hasher.finalize().into();
            part.copy_from_slice(&next);
            digest = Some(next);
        }
        MasterKey { method, bytes }
    }

    /// Bytes of the salt that opens each direction.
    pub fn salt_len(&self) -> usize {
        self.method.key_len()
    }

    /// The cipher of one direction of one connection.
    pub(super) fn session(&self, salt: &[u8]) -> Session {
        let key_len = self.method.key_len();
        let mut subkey = Zeroizing::new([0; 32]);
        let subkey = &mut subkey[..key_len];
        // HKDF refuses only outputs of more than 255 blocks.
        let _ = Hkdf::<Sha1>::new(Some(salt), &self.bytes[..key_len]).expand(b"ss-subkey", subkey);
        // The lengths fit by construction: the errors cannot come.
        let cipher = match self.method {
            Method::Aes128Gcm => {
                Aes128Gcm::new_from_slice(subkey).map(|c| Cipher::Aes128(c.into()))
            }
            Method::Aes256Gcm => {
                Aes256Gcm::new_from_slice(subkey).map(|c| Cipher::Aes256(c.into()))
            }
            Method::Chacha20IetfPoly1305 => {
                ChaCha20Poly1305::new_from_slice(subkey).map(Cipher::ChaCha20)
            }
        };
        Session { cipher: cipher.ok(), nonce: [0; NONCE] }
    }
}

/// Shows the method, never the key.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.method)
    }
}

/// The key schedules of AES are large: boxed, so that a connection is small.
enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
    ChaCha20(ChaCha20Poly1305),
}

/// One direction of one connection: a key and a nonce that counts.
pub(super) struct Session {
    /// `None` once the nonce is used up.
    cipher: Option<Cipher>,
    nonce: [u8; NONCE],
}

/// The bytes do not authenticate (or, after 2^96 of them, nothing does).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forged;

impl Session {
    /// Seals in place and returns the tag.
    pub(super) fn seal(&mut self, bytes: &mut [u8]) -> Result<[u8; TAG], Forged> {
        let tag = match self.cipher.as_ref().ok_or(Forged)? {
            Cipher::Aes128(cipher) => seal(&**cipher, &self.nonce, bytes),
            Cipher::Aes256(cipher) => seal(&**cipher, &self.nonce, bytes),
            Cipher::ChaCha20(cipher) => seal(cipher, &self.nonce, bytes),
        };
        self.step();
        tag
    }

    /// Opens in place. The bytes are worthless if this fails.
    pub(super) fn open(&mut self, bytes: &mut [u8], tag: &[u8]) -> Result<(), Forged> {
        match self.cipher.as_ref().ok_or(Forged)? {
            Cipher::Aes128(cipher) => open(&**cipher, &self.nonce, bytes, tag),
            Cipher::Aes256(cipher) => open(&**cipher, &self.nonce, bytes, tag),
            Cipher::ChaCha20(cipher) => open(cipher, &self.nonce, bytes, tag),
        }?;
        self.step();
        Ok(())
    }

    /// Counts the nonce up, least significant byte first.
    fn step(&mut self) {
        for byte in &mut self.nonce {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return;
            }
        }
        self.cipher = None;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

fn seal<C: AeadInOut>(
    cipher: &C,
    nonce: &[u8; NONCE],
    bytes: &mut [u8],
) -> Result<[u8; TAG], Forged> {
    let nonce = Nonce::<C>::try_from(&nonce[..]).map_err(|_| Forged)?;
    let tag = cipher.encrypt_inout_detached(&nonce, &[], bytes.into()).map_err(|_| Forged)?;
    tag.as_slice().try_into().map_err(|_| Forged)
}

fn open<C: AeadInOut>(
    cipher: &C,
    nonce: &[u8; NONCE],
    bytes: &mut [u8],
    tag: &[u8],
) -> Result<(), Forged> {
    let nonce = Nonce::<C>::try_from(&nonce[..]).map_err(|_| Forged)?;
    let tag = Tag::<C>::try_from(tag).map_err(|_| Forged)?;
    cipher.decrypt_inout_detached(&nonce, &[], bytes.into(), &tag).map_err(|_| Forged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn names() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
        }
        assert_eq!("rc4-md5".parse::<Method>(), Err(UnknownMethod));
    }

    /// `python3 -c "import hashlib as h; d=h.md5(b'secret').digest(); print((d+h.md5(d+b'secret').digest()).hex())"`
    #[test]
    fn master_key() {
        let key = MasterKey::new(Method::Aes256Gcm, &Secret::new("secret"));
        assert_eq!(
            hex(&key.bytes[..]),
            "5ebe2294ecd0e0f08eab7690d2a6ee6926ae5cc854e36b6bdfca366848dea6bb"
        );
        assert!(!format!("{key:?}").contains("5ebe"));
    }

    /// Made with the Python package `cryptography`: HKDF(SHA1, 32, salt=bytes(32), b"ss-subkey") of
    /// the master key of "secret", then two seals of b"hello" with nonces 0 and 1.
    #[test]
    fn sealed_by_another_implementation() {
        for (method, first, second) in [
            (
                Method::Aes128Gcm,
                "212174adfea2b2227c89f00d6824ebdad9470d6d4a",
                "d499db90c121ec3e61983f60ddde18f0fc6f71648b",
            ),
            (
                Method::Aes256Gcm,
                "59e1d65f5d384363e4a6322b31f1569450bbe9d34e",
                "4dbd6f93c7a4add6773b947aa21d896261109fd38b",
            ),
            (
                Method::Chacha20IetfPoly1305,
                "42fdff6dc0bf4a9983fd90116bc6fcc298b88d4ef2",
                "b892a0cfb8a04ce56a825f04567608ca8d7f57fdeb",
            ),
        ] {
            let key = MasterKey::new(method, &Secret::new("secret"));
            let mut session = key.session(&vec![0; key.salt_len()]);
            for expected in [first, second] {
                let mut bytes = *b"hello";
                let tag = session.seal(&mut bytes).unwrap();
                assert_eq!(format!("{}{}", hex(&bytes), hex(&tag)), expected, "{method}");
            }
        }
    }

    #[test]
    fn what_was_touched_does_not_open() {
        for method in Method::ALL {
            let key = MasterKey::new(method, &Secret::new("secret"));
            let salt = vec![7; key.salt_len()];
            let mut bytes = *b"hello";
            let tag = key.session(&salt).seal(&mut bytes).unwrap();
            key.session(&salt).open(&mut bytes.clone(), &tag).unwrap();
            let mut touched = bytes;
            touched[0] ^= 1;
            assert_eq!(key.session(&salt).open(&mut touched, &tag), Err(Forged));
            let mut second = key.session(&salt);
            second.step();
            assert_eq!(second.open(&mut bytes, &tag), Err(Forged), "another nonce");
        }
    }

    #[test]
    fn a_used_up_nonce_seals_nothing_more() {
        let key = MasterKey::new(Method::Aes128Gcm, &Secret::new("secret"));
        let mut session = key.session(&[0; 16]);
        session.nonce = [0xff; NONCE];
        session.seal(&mut [1]).unwrap();
        assert_eq!(session.seal(&mut [1]), Err(Forged));
    }
}
