//! One block of AES, as SIP022 hides identities and the headers of packets ("ECB" there: a single
//! block each time, so none of that mode's weaknesses apply).

use super::method::Algorithm;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};

/// Bytes of a block.
pub(in super::super) const BLOCK: usize = 16;

/// A key ready for use. The schedules are large: boxed, so that what has one is small.
pub(in super::super) enum BlockKey {
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
}

impl BlockKey {
    /// `None` if the algorithm is not AES or `key` has not its length.
    pub(in super::super) fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Aes128Gcm => {
                Aes128::new_from_slice(key).ok().map(|key| BlockKey::Aes128(key.into()))
            }
            Algorithm::Aes256Gcm => {
                Aes256::new_from_slice(key).ok().map(|key| BlockKey::Aes256(key.into()))
            }
            Algorithm::ChaCha20Poly1305 => None,
        }
    }

    pub(in super::super) fn encrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Array::from(block);
        match self {
            BlockKey::Aes128(key) => key.encrypt_block(&mut block),
            BlockKey::Aes256(key) => key.encrypt_block(&mut block),
        }
        block.into()
    }

    pub(in super::super) fn decrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Array::from(block);
        match self {
            BlockKey::Aes128(key) => key.decrypt_block(&mut block),
            BlockKey::Aes256(key) => key.decrypt_block(&mut block),
        }
        block.into()
    }
}
