//! The packets of SIP022: what hides the session and the number of each, and the keys of sessions.
//!
//! ```text
//! AES       | AES(session, number) | identities | sealed: body | tag |
//! XChaCha20 | nonce, 24 bytes |            sealed: session, number, body | tag |
//! ```
//!
//! With AES, session and number are one block, encrypted under the key itself, and the body is
//! sealed under the session's key with that block's last twelve bytes as the nonce. Every packet
//! has a number of its own, so no nonce comes twice. XChaCha20-Poly1305 is HChaCha20 of the key and
//! the front of the nonce, and ChaCha20-Poly1305 with the rest of it
//! (draft-irtf-cfrg-xchacha-03, 2.3).

use super::block::{BLOCK, BlockKey};
use super::identity::Identity;
use super::method::Algorithm;
use super::{Forged, Key, KeyBytes, NONCE, TAG, subkey};
use chacha20::cipher::Array;
use chacha20::{R20, hchacha};
use rand::Rng;
use std::fmt;
use std::ops::Range;
use zeroize::Zeroizing;

/// Bytes of the nonce of XChaCha20-Poly1305.
const LONG_NONCE: usize = 24;

/// Of its nonce, what HChaCha20 takes.
const FRONT: usize = 16;

/// Which packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct PacketId {
    /// Chosen by chance by the side that sends.
    pub(in super::super) session: u64,
    /// Counts up.
    pub(in super::super) number: u64,
}

impl PacketId {
    fn to_bytes(self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        bytes[..8].copy_from_slice(&self.session.to_be_bytes());
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    fn of(bytes: [u8; BLOCK]) -> Self {
        let (session, number) = bytes.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        PacketId { session: word(session), number: word(number) }
    }
}

/// What all packets of a key have in common. The schedules are made once.
pub(in super::super) enum PacketCipher {
    Aes {
        algorithm: Algorithm,
        key: KeyBytes,
        /// Of the nearest server: it reads the header of a request.
        first: BlockKey,
        /// The user's: it reads the header of an answer.
        own: BlockKey,
        /// For each server on the way, its key and the hash of the next one.
        identities: Vec<(BlockKey, [u8; BLOCK])>,
    },
    XChaCha {
        key: KeyBytes,
    },
}

/// The key of a session; XChaCha20 has none.
pub(in super::super) struct PacketKey(Option<Box<Key>>);

impl PacketCipher {
    /// `None` for an algorithm whose key has another length: that cannot come.
    pub(super) fn new(
        algorithm: Algorithm,
        key: &KeyBytes,
        identities: &[Identity],
    ) -> Option<Self> {
        if algorithm == Algorithm::ChaCha20Poly1305 {
            return Some(PacketCipher::XChaCha { key: key.clone() });
        }
        let own = || BlockKey::new(algorithm, &key[..algorithm.key_len()]);
        let hidden = identities.iter().map(|identity| identity.of_packets(algorithm));
        let first = match identities.first() {
            Some(identity) => identity.of_packets(algorithm)?.0,
            None => own()?,
        };
        Some(PacketCipher::Aes {
            algorithm,
            key: key.clone(),
            first,
            own: own()?,
            identities: hidden.collect::<Option<_>>()?,
        })
    }

    pub(in super::super) fn session(&self, session: u64) -> PacketKey {
        PacketKey(match self {
            PacketCipher::Aes { algorithm, key, .. } => {
                let key_len = algorithm.key_len();
                let subkey = subkey::of_session(&key[..key_len], &session.to_be_bytes());
                Key::new(*algorithm, &subkey[..key_len]).map(Box::new)
            }
            PacketCipher::XChaCha { .. } => None,
        })
    }

    /// Appends what stands before the body.
    pub(in super::super) fn begin(&self, id: PacketId, packets: &mut Vec<u8>) {
        match self {
            PacketCipher::Aes { identities, .. } => {
                packets.extend_from_slice(&id.to_bytes());
                for (key, next) in identities {
                    let hidden = std::array::from_fn(|at| next[at] ^ id.to_bytes()[at]);
                    packets.extend_from_slice(&key.encrypt(hidden));
                }
            }
            PacketCipher::XChaCha { .. } => {
                let begin = packets.len();
                packets.resize(begin + LONG_NONCE, 0);
                // Seeded by the kernel, and again after every 64 KiB.
                rand::rng().fill_bytes(&mut packets[begin..]);
                packets.extend_from_slice(&id.to_bytes());
            }
        }
    }

    /// Seals the packet that [`begin`](Self::begin) began, and returns the tag.
    pub(in super::super) fn seal(
        &self,
        session: &PacketKey,
        packet: &mut [u8],
    ) -> Result<[u8; TAG], Forged> {
        match self {
            PacketCipher::Aes { first, identities, .. } => {
                let (clear, body) = packet.split_at_mut(BLOCK * (1 + identities.len()));
                let header = clear.first_chunk_mut::<BLOCK>().ok_or(Forged)?;
                let tag = session.0.as_ref().ok_or(Forged)?.seal(nonce(header)?, body)?;
                *header = first.encrypt(*header);
                Ok(tag)
            }
            PacketCipher::XChaCha { key } => {
                let (long_nonce, body) = packet.split_first_chunk_mut().ok_or(Forged)?;
                let (key, nonce) = extended(key, long_nonce)?;
                key.seal(nonce, body)
            }
        }
    }

    /// Which packet it claims to be, before it is opened; `None` where that is sealed.
    pub(in super::super) fn claimed(&self, packet: &[u8]) -> Result<Option<PacketId>, Forged> {
        match self {
            PacketCipher::Aes { own, .. } => {
                let header = packet.first_chunk().ok_or(Forged)?;
                Ok(Some(PacketId::of(own.decrypt(*header))))
            }
            PacketCipher::XChaCha { .. } => Ok(None),
        }
    }

    /// Opens a packet in place, of this session where it was claimed. Returns which it is, and
    /// where its body is.
    pub(in super::super) fn open(
        &self,
        claimed: Option<(PacketId, &PacketKey)>,
        packet: &mut [u8],
    ) -> Result<(PacketId, Range<usize>), Forged> {
        let end = packet.len().checked_sub(TAG).ok_or(Forged)?;
        match (self, claimed) {
            (PacketCipher::Aes { .. }, Some((id, session))) => {
                let sealed = packet.get_mut(BLOCK..).ok_or(Forged)?;
                session.0.as_ref().ok_or(Forged)?.open(nonce(&id.to_bytes())?, sealed, 0)?;
                Ok((id, BLOCK..end))
            }
            (PacketCipher::XChaCha { key }, _) => {
                let (long_nonce, sealed) = packet.split_first_chunk_mut().ok_or(Forged)?;
                let (key, nonce) = extended(key, long_nonce)?;
                key.open(nonce, sealed, 0)?;
                if end < LONG_NONCE + BLOCK {
                    return Err(Forged);
                }
                let id = sealed.first_chunk().ok_or(Forged)?;
                Ok((PacketId::of(*id), LONG_NONCE + BLOCK..end))
            }
            (PacketCipher::Aes { .. }, None) => Err(Forged),
        }
    }
}

/// Of a header, what no other packet of the session has.
fn nonce(header: &[u8; BLOCK]) -> Result<[u8; NONCE], Forged> {
    header.last_chunk().copied().ok_or(Forged)
}

fn extended(key: &KeyBytes, nonce: &[u8; LONG_NONCE]) -> Result<(Key, [u8; NONCE]), Forged> {
    let (front, rest) = nonce.split_at(FRONT);
    let front = Array::try_from(front).map_err(|_| Forged)?;
    let subkey = Zeroizing::new(<[u8; 32]>::from(hchacha::<R20>(&Array::from(**key), &front)));
    let mut nonce = [0; NONCE];
    nonce[NONCE - rest.len()..].copy_from_slice(rest);
    Ok((Key::new(Algorithm::ChaCha20Poly1305, &subkey[..]).ok_or(Forged)?, nonce))
}

/// Shows nothing of the keys.
impl fmt::Debug for PacketCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketCipher(..)")
    }
}

/// Shows nothing of the key.
impl fmt::Debug for PacketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketKey(..)")
    }
}
