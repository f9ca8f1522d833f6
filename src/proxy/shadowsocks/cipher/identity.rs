//! The identity headers of SIP022: a server of several users is told whose connection it is, by the
//! hash of the user's key under its own key; with more servers in a row, each is told the next.

use super::block::{BLOCK, BlockKey};
use super::method::Algorithm;
use super::{KeyBytes, subkey};
use std::fmt;

/// One identity: the key of a server, and the hash of the key behind it.
pub(super) struct Identity {
    key: KeyBytes,
    next: [u8; BLOCK],
}

impl Identity {
    pub(super) fn new(key: KeyBytes, next: &[u8]) -> Self {
        let mut hash = [0; BLOCK];
        hash.copy_from_slice(&blake3::hash(next).as_bytes()[..BLOCK]);
        Identity { key, next: hash }
    }

    /// The header that stands behind the salt of a request.
    pub(super) fn header(&self, algorithm: Algorithm, salt: &[u8]) -> Option<[u8; BLOCK]> {
        let subkey = subkey::of_identity(&self.key[..algorithm.key_len()], salt);
        Some(BlockKey::new(algorithm, &subkey[..algorithm.key_len()])?.encrypt(self.next))
    }
}

impl Identity {
    /// The key that hides it in packets, and what is hidden.
    pub(super) fn of_packets(&self, algorithm: Algorithm) -> Option<(BlockKey, [u8; BLOCK])> {
        let key = BlockKey::new(algorithm, &self.key[..algorithm.key_len()])?;
        Some((key, self.next))
    }
}

/// Shows nothing of the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}
