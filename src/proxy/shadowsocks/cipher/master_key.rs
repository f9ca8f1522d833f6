//! What the operator wrote of a server, and the keys that it stands for.
//!
//! - SIP004: a password becomes a key (EVP_BytesToKey with MD5, openssl), and key and salt become
//!   that of one direction of one connection (HKDF-SHA1, RFC 5869, info "ss-subkey").
//! - SIP022: the password is the key itself in base64, behind those of the servers on the way
//!   (`server:user`), and directions have theirs by BLAKE3.

use super::identity::Identity;
use super::method::{Edition, Method};
use super::packets::PacketCipher;
use super::{Forged, Key, KeyBytes, NONCE, Session, TAG, subkey};
use crate::secret::Secret;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hkdf::Hkdf;
use md5::{Digest, Md5};
use sha1::Sha1;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The most identities that a request names; each costs it [`IDENTITY`] bytes.
pub const MOST_IDENTITIES: usize = 8;

/// Bytes of an identity header.
pub const IDENTITY: usize = super::block::BLOCK;

/// Providers write keys with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A method and a password that fit together, and the keys that they stand for. Clones share them.
#[derive(Clone)]
pub struct MasterKey(Arc<KeyMaterial>);

struct KeyMaterial {
    method: Method,
    password: Secret,
    bytes: KeyBytes,
    /// Those of the servers on the way, the nearest first.
    identities: Vec<Identity>,
    /// SIP022.
    packets: Option<Arc<PacketCipher>>,
}

/// Why a password does not fit a method. Shows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found}; accepted: {accepted}")]
pub struct UnfitPassword {
    /// What is there.
    pub found: String,
    /// What may be there, and how to get it.
    pub accepted: String,
}

impl MasterKey {
    /// Derives the keys.
    ///
    /// # Errors
    /// For a method of SIP022: not base64, not of the right length, too many keys, or more than
    /// one where the method knows no identities.
    pub fn new(method: Method, password: &Secret) -> Result<Self, UnfitPassword> {
        let (bytes, identities) = match method.edition() {
            Edition::Sip004 => (of_password(password.expose()), Vec::new()),
            Edition::Sip022 => keys(method, password.expose())?,
        };
        let packets = match method.edition() {
            Edition::Sip004 => None,
            Edition::Sip022 => PacketCipher::new(method.algorithm(), &bytes, &identities),
        };
        let (password, packets) = (password.clone(), packets.map(Arc::new));
        Ok(MasterKey(Arc::new(KeyMaterial { method, password, bytes, identities, packets })))
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.0.method
    }

    /// The password as it was written.
    pub fn password(&self) -> &Secret {
        &self.0.password
    }

    /// Bytes of the salt that opens each direction.
    pub fn salt_len(&self) -> usize {
        self.method().key_len()
    }

    /// The cipher of one direction of one connection.
    pub(in super::super) fn session(&self, salt: &[u8]) -> Session {
        Session::new(self.method().algorithm(), self.subkey(salt))
    }

    /// What stands behind the salt of a request, of [`IDENTITY`] bytes for each server on the way.
    pub(in super::super) fn identity_headers(&self, salt: &[u8]) -> Vec<u8> {
        let algorithm = self.method().algorithm();
        let headers = self.0.identities.iter();
        headers.filter_map(|identity| identity.header(algorithm, salt)).flatten().collect()
    }

    /// What seals the packets of SIP022; `None` for SIP004.
    pub(in super::super) fn packet_cipher(&self) -> Option<Arc<PacketCipher>> {
        self.0.packets.clone()
    }

    /// Seals one packet in place under a salt of its own, and returns the tag.
    pub(in super::super) fn seal_packet(
        &self,
        salt: &[u8],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG], Forged> {
        self.packet_key(salt)?.seal([0; NONCE], bytes)
    }

    /// Opens one packet in place, with the tag at the end of `bytes`. All of them are worthless if
    /// this fails.
    pub(in super::super) fn open_packet(
        &self,
        salt: &[u8],
        bytes: &mut [u8],
    ) -> Result<(), Forged> {
        self.packet_key(salt)?.open([0; NONCE], bytes, 0)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0.bytes[..]
    }

    fn packet_key(&self, salt: &[u8]) -> Result<Key, Forged> {
        let algorithm = self.method().algorithm();
        // The length fits by construction: `None` cannot come.
        Key::new(algorithm, &self.subkey(salt)[..algorithm.key_len()]).ok_or(Forged)
    }

    fn subkey(&self, salt: &[u8]) -> KeyBytes {
        let key_len = self.method().key_len();
        let key = &self.0.bytes[..key_len];
        match self.method().edition() {
            Edition::Sip004 => {
                let mut bytes = Zeroizing::new([0; 32]);
                let subkey = &mut bytes[..key_len];
                // HKDF refuses only outputs of more than 255 blocks.
                let _ = Hkdf::<Sha1>::new(Some(salt), key).expand(b"ss-subkey", subkey);
                bytes
            }
            Edition::Sip022 => subkey::of_session(key, salt),
        }
    }
}

/// EVP_BytesToKey: MD5, one round, no salt.
fn of_password(password: &[u8]) -> KeyBytes {
    let mut bytes = Zeroizing::new([0; 32]);
    let mut digest: Option<[u8; 16]> = None;
    for part in bytes.chunks_mut(16) {
        let mut hasher = Md5::new();
        if let Some(former) = digest {
            hasher.update(former);
        }
        hasher.update(password);
        let next: [u8; 16] = hasher.finalize().into();
        part.copy_from_slice(&next);
        digest = Some(next);
    }
    bytes
}

/// The user's key, and the identities before it.
fn keys(method: Method, password: &[u8]) -> Result<(KeyBytes, Vec<Identity>), UnfitPassword> {
    let key_len = method.key_len();
    let texts: Vec<&[u8]> = password.split(|byte| *byte == b':').collect();
    let more = texts.len() - 1;
    let unfit = |found: String, accepted: String| Err(UnfitPassword { found, accepted });
    if more > 0 && method == Method::Blake3Chacha20Poly1305 {
        return unfit(
            format!("{} keys with \":\" between them", texts.len()),
            format!("one key: {method} knows no identity headers (the two methods with aes do)"),
        );
    }
    if more > MOST_IDENTITIES {
        return unfit(
            format!("{} keys with \":\" between them", texts.len()),
            format!("at most {}", MOST_IDENTITIES + 1),
        );
    }
    let mut keys: Vec<KeyBytes> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let which = match more {
            0 => String::new(),
            _ => format!(" (key {} of {})", at + 1, texts.len()),
        };
        let accepted = format!(
            "a key of {key_len} bytes in base64 for {method}, as the server has it (`openssl rand \
             -base64 {key_len}` makes one); \"server-key:user-key\" for a server of several users"
        );
        let Ok(key) = BASE64.decode(text).map(Zeroizing::new) else {
            return unfit(format!("a text that is not base64{which}"), accepted);
        };
        if key.len() != key_len {
            return unfit(format!("a key of {} bytes{which}", key.len()), accepted);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        bytes[..key_len].copy_from_slice(&key);
        keys.push(bytes);
    }
    let users = keys.pop().unwrap_or_default();
    let mut identities = Vec::with_capacity(keys.len());
    let mut next = users.clone();
    for key in keys.into_iter().rev() {
        identities.push(Identity::new(key.clone(), &next[..key_len]));
        next = key;
    }
    identities.reverse();
    Ok((users, identities))
}

/// By what was written.
impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.method() == other.method() && self.password() == other.password()
    }
}

impl Eq for MasterKey {}

/// Shows the method, never the key.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.method())
    }
}
