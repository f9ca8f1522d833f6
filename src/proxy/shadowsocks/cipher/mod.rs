//! The AEAD ciphers of shadowsocks: key derivation, sealing, opening. This module and the two
//! below it, one for each library, are the only room that knows ciphers.
//!
//! A password becomes a master key (EVP_BytesToKey with MD5, openssl), master key and salt become
//! the key of one direction of one connection (HKDF-SHA1, RFC 5869, info "ss-subkey"), and the
//! nonce is a counter in little-endian order that never comes twice (SIP004). A datagram has a salt
//! and so a key of its own, and the nonce zero.

#[cfg(any(test, not(feature = "ring")))]
mod portable;
#[cfg(feature = "ring")]
mod ring;

use crate::secret::Secret;
use hkdf::Hkdf;
use md5::{Digest, Md5};
use sha1::Sha1;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

#[cfg(not(feature = "ring"))]
use portable::PortableKey as Key;
#[cfg(feature = "ring")]
use ring::RingKey as Key;

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
        Session {
            method: self.method,
            subkey: self.subkey(salt),
            key: None,
            nonce: [0; NONCE],
            is_spent: false,
        }
    }

    /// Seals one packet in place under a salt of its own, and returns the tag.
    pub(super) fn seal_packet(&self, salt: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG], Forged> {
        self.packet_key(salt)?.seal([0; NONCE], bytes)
    }

    /// Opens one packet in place, with the tag at the end of `bytes`. All of them are worthless if
    /// this fails.
    pub(super) fn open_packet(&self, salt: &[u8], bytes: &mut [u8]) -> Result<(), Forged> {
        self.packet_key(salt)?.open([0; NONCE], bytes, 0)
    }

    fn packet_key(&self, salt: &[u8]) -> Result<Key, Forged> {
        // The length fits by construction: `None` cannot come.
        Key::new(self.method, &self.subkey(salt)[..self.method.key_len()]).ok_or(Forged)
    }

    fn subkey(&self, salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let key_len = self.method.key_len();
        let mut bytes = Zeroizing::new([0; 32]);
        let subkey = &mut bytes[..key_len];
        // HKDF refuses only outputs of more than 255 blocks.
        let _ = Hkdf::<Sha1>::new(Some(salt), &self.bytes[..key_len]).expand(b"ss-subkey", subkey);
        bytes
    }
}

/// Shows the method, never the key.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.method)
    }
}

/// One direction of one connection: a key and a nonce that counts.
pub(super) struct Session {
    method: Method,
    subkey: Zeroizing<[u8; 32]>,
    /// Ready for use: for AES half a kilobyte, boxed since the pair of a connection moves through
    /// several futures. Made when it is needed; see [`rest`](Self::rest).
    key: Option<Box<Key>>,
    nonce: [u8; NONCE],
    /// The nonce has come round.
    is_spent: bool,
}

/// The bytes do not authenticate (or, after 2^96 of them, nothing does).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forged;

impl Session {
    /// Seals in place and returns the tag.
    pub(super) fn seal(&mut self, bytes: &mut [u8]) -> Result<[u8; TAG], Forged> {
        let nonce = self.nonce;
        let tag = self.key()?.seal(nonce, bytes);
        self.step();
        tag
    }

    /// Opens what lies behind the first `gap` bytes, with the tag at the end of `bytes`, and puts
    /// the plain bytes at the front. All bytes are worthless if this fails.
    pub(super) fn open(&mut self, bytes: &mut [u8], gap: usize) -> Result<(), Forged> {
        let nonce = self.nonce;
        self.key()?.open(nonce, bytes, gap)?;
        self.step();
        Ok(())
    }

    /// Gives back what can be made again (with the instructions of a processor for AES in less time
    /// than a system call takes).
    pub(super) fn rest(&mut self) {
        self.key = None;
    }

    fn key(&mut self) -> Result<&Key, Forged> {
        if self.is_spent {
            return Err(Forged);
        }
        if self.key.is_none() {
            self.key = Key::new(self.method, &self.subkey[..self.method.key_len()]).map(Box::new);
        }
        // The length fits by construction: `None` cannot come.
        self.key.as_deref().ok_or(Forged)
    }

    /// Counts the nonce up, least significant byte first.
    fn step(&mut self) {
        for byte in &mut self.nonce {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return;
            }
        }
        self.is_spent = true;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
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

    /// Computed with Python's hashlib: `d = md5(b'secret').digest()`, then
    /// `(d + md5(d + b'secret').digest()).hex()`.
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
            let sealed = [&bytes[..], &tag].concat();
            key.session(&salt).open(&mut sealed.clone(), 0).unwrap();
            for byte in 0..sealed.len() {
                let mut touched = sealed.clone();
                touched[byte] ^= 1;
                assert_eq!(key.session(&salt).open(&mut touched, 0), Err(Forged), "byte {byte}");
            }
            let mut second = key.session(&salt);
            second.step();
            assert_eq!(second.open(&mut sealed.clone(), 0), Err(Forged), "another nonce");
            assert_eq!(key.session(&salt).open(&mut sealed.clone()[..9], 0), Err(Forged), "short");
        }
    }

    /// What one library seals the other seals alike and opens, wherever the bytes lie.
    #[cfg(feature = "ring")]
    #[test]
    fn both_libraries_agree() {
        use proptest::prelude::*;
        proptest!(|(
            key: [u8; 32],
            nonce: [u8; NONCE],
            text in prop::collection::vec(any::<u8>(), 0..3000),
            gap in 0usize..60,
            flipped: prop::sample::Index,
        )| {
            for method in Method::ALL {
                let key = &key[..method.key_len()];
                let (ours, theirs) = (
                    ring::RingKey::new(method, key).unwrap(),
                    portable::PortableKey::new(method, key).unwrap(),
                );
                let (mut one, mut other) = (text.clone(), text.clone());
                let tag = ours.seal(nonce, &mut one).unwrap();
                prop_assert_eq!(tag, theirs.seal(nonce, &mut other).unwrap());
                prop_assert_eq!(&one, &other);
                let sealed = [&vec![9; gap][..], &one, &tag].concat();
                let (mut one, mut other) = (sealed.clone(), sealed.clone());
                ours.open(nonce, &mut one, gap).unwrap();
                theirs.open(nonce, &mut other, gap).unwrap();
                prop_assert_eq!(&one[..text.len()], &text[..]);
                prop_assert_eq!(&other[..text.len()], &text[..]);
                let mut bad = sealed;
                let at = gap + flipped.index(bad.len() - gap);
                bad[at] ^= 0x80;
                prop_assert_eq!(ours.open(nonce, &mut bad.clone(), gap), Err(Forged));
                prop_assert_eq!(theirs.open(nonce, &mut bad, gap), Err(Forged));
            }
        });
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
