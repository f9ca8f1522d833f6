//! Shadowsocks AEAD over UDP (SIP004, <https://shadowsocks.org/doc/aead.html>, "UDP").
//!
//! Every packet stands for itself: a salt of its own, then address and payload sealed in one piece
//! under the salt's key, with a nonce of zero. A packet to the server carries the destination; one
//! from it carries who sent the payload. Nothing counts and nothing is remembered, so a packet that
//! comes twice is delivered twice, as UDP itself may do.
//!
//! ```text
//! | salt | address payload | tag |
//!        | ---- sealed --- |
//! ```

use super::cipher::TAG;
use super::cipher::master_key::MasterKey;
use crate::proxy::address;
use crate::proxy::association::{
    DatagramCodec, OpenedDatagram, Unopenable, Unsealable, whole_or_nothing,
};
use crate::target::Target;
use rand::Rng;
use std::ops::Range;

/// The longest payload of UDP over IPv4 (RFC 791, 3.1: 65,535 with both headers). Over IPv6 it
/// could be 20 bytes more.
const LONGEST_PACKET: usize = 65_507;

/// Seals and opens packets, on either side: what a client seals a server opens.
#[derive(Debug)]
pub struct SaltedDatagrams {
    key: MasterKey,
}

impl SaltedDatagrams {
    /// Both directions have this key.
    pub fn new(key: MasterKey) -> Self {
        SaltedDatagrams { key }
    }

    /// Opens a packet in place, whatever kind of address it carries: as a server does. Returns the
    /// address, and where the payload is.
    ///
    /// # Errors
    /// It does not authenticate, or carries no address.
    pub fn open_any(&self, packet: &mut [u8]) -> Result<(Target, Range<usize>), Unopenable> {
        let salt_len = self.key.salt_len();
        let (salt, sealed) = packet.split_at_mut_checked(salt_len).ok_or(Unopenable::Forged)?;
        let plain = sealed.len().checked_sub(TAG).ok_or(Unopenable::Forged)?;
        self.key.open_packet(salt, sealed).map_err(|_| Unopenable::Forged)?;
        let (target, header) = address::decode(&sealed[..plain]).ok_or(Unopenable::Source)?;
        Ok((target, salt_len + header..salt_len + plain))
    }

    fn append(
        &self,
        target: &Target,
        payload: &[u8],
        packets: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        let (begin, salt_len) = (packets.len(), self.key.salt_len());
        packets.resize(begin + salt_len, 0);
        // Seeded by the kernel, and again after every 64 KiB: no system call for each packet.
        rand::rng().fill_bytes(&mut packets[begin..]);
        address::append(target, packets).map_err(|_| Unsealable::Target)?;
        if packets.len() - begin + payload.len() + TAG > LONGEST_PACKET {
            return Err(Unsealable::TooLarge);
        }
        packets.extend_from_slice(payload);
        let (salt, plain) = packets[begin..].split_at_mut(salt_len);
        // A cipher refuses nothing but a text of gigabytes.
        let tag = self.key.seal_packet(salt, plain).map_err(|_| Unsealable::TooLarge)?;
        packets.extend_from_slice(&tag);
        Ok(())
    }
}

impl DatagramCodec for SaltedDatagrams {
    fn seal(
        &mut self,
        target: &Target,
        payload: &[u8],
        packets: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        whole_or_nothing(packets, |packets| self.append(target, payload, packets))
    }

    fn open(&mut self, packet: &mut [u8]) -> Result<OpenedDatagram, Unopenable> {
        let (source, payload) = self.open_any(packet)?;
        OpenedDatagram::of(source, payload)
    }
}

#[cfg(test)]
mod tests;
