//! The ciphers of shadowsocks: the keys of directions and packets, sealing, opening. This folder is
//! the only room that knows ciphers.
//!
//! What the operator wrote becomes a [`MasterKey`](master_key::MasterKey); master key and salt
//! become the key of one direction of one connection, and the nonce is a counter in little-endian
//! order that never comes twice (SIP004 and SIP022 alike).

pub mod master_key;
pub mod method;

pub(super) mod packets;

mod block;
mod identity;
#[cfg(any(test, not(feature = "ring")))]
mod portable;
#[cfg(feature = "ring")]
mod ring;
mod subkey;

use method::Algorithm;
use std::fmt;
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

/// Bytes of a key, of which short ones use the front.
type KeyBytes = Zeroizing<[u8; 32]>;

/// One direction of one connection: a key and a nonce that counts.
pub(super) struct Session {
    algorithm: Algorithm,
    subkey: KeyBytes,
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
    fn new(algorithm: Algorithm, subkey: KeyBytes) -> Self {
        Session { algorithm, subkey, key: None, nonce: [0; NONCE], is_spent: false }
    }

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
            self.key =
                Key::new(self.algorithm, &self.subkey[..self.algorithm.key_len()]).map(Box::new);
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
pub(super) mod tests;
