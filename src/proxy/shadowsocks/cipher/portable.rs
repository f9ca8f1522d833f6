//! AEAD by the RustCrypto crates: pure Rust, for machines where ring does not build, and the
//! oracle that ring is compared with.

use super::method::Algorithm;
use super::{Forged, NONCE, TAG};
use aes_gcm::aead::{self, AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;

/// A key ready for use. The schedules of AES are large: boxed, so that a connection is small.
pub(in super::super) enum PortableKey {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
    ChaCha20(ChaCha20Poly1305),
}

impl PortableKey {
    /// `None` if `bytes` has not the length that the algorithm wants.
    pub(in super::super) fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let key = match algorithm {
            Algorithm::Aes128Gcm => {
                Aes128Gcm::new_from_slice(bytes).map(|key| PortableKey::Aes128(key.into()))
            }
            Algorithm::Aes256Gcm => {
                Aes256Gcm::new_from_slice(bytes).map(|key| PortableKey::Aes256(key.into()))
            }
            Algorithm::ChaCha20Poly1305 => {
                ChaCha20Poly1305::new_from_slice(bytes).map(PortableKey::ChaCha20)
            }
        };
        key.ok()
    }

    /// Encrypts in place and returns the tag.
    pub(in super::super) fn seal(
        &self,
        nonce: [u8; NONCE],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG], Forged> {
        match self {
            PortableKey::Aes128(key) => seal(&**key, nonce, bytes),
            PortableKey::Aes256(key) => seal(&**key, nonce, bytes),
            PortableKey::ChaCha20(key) => seal(key, nonce, bytes),
        }
    }

    /// Opens what lies behind the first `gap` bytes, a tag at its end, and puts it at the front.
    pub(in super::super) fn open(
        &self,
        nonce: [u8; NONCE],
        bytes: &mut [u8],
        gap: usize,
    ) -> Result<(), Forged> {
        match self {
            PortableKey::Aes128(key) => open(&**key, nonce, bytes, gap),
            PortableKey::Aes256(key) => open(&**key, nonce, bytes, gap),
            PortableKey::ChaCha20(key) => open(key, nonce, bytes, gap),
        }
    }
}

fn seal<C: AeadInOut>(
    cipher: &C,
    nonce: [u8; NONCE],
    bytes: &mut [u8],
) -> Result<[u8; TAG], Forged> {
    let nonce = aead::Nonce::<C>::try_from(&nonce[..]).map_err(|_| Forged)?;
    let tag = cipher.encrypt_inout_detached(&nonce, &[], bytes.into()).map_err(|_| Forged)?;
    tag.as_slice().try_into().map_err(|_| Forged)
}

fn open<C: AeadInOut>(
    cipher: &C,
    nonce: [u8; NONCE],
    bytes: &mut [u8],
    gap: usize,
) -> Result<(), Forged> {
    let nonce = aead::Nonce::<C>::try_from(&nonce[..]).map_err(|_| Forged)?;
    let length = bytes.len().checked_sub(gap + TAG).ok_or(Forged)?;
    bytes.copy_within(gap.., 0);
    let (text, tag) = bytes[..length + TAG].split_at_mut(length);
    let tag = aead::Tag::<C>::try_from(&*tag).map_err(|_| Forged)?;
    cipher.decrypt_inout_detached(&nonce, &[], text.into(), &tag).map_err(|_| Forged)
}
