//! The name in the Initial packets of a QUIC client: several datagrams, since a hello with a
//! post-quantum key does not fit into one.

use super::crypto_stream::{CryptoStream, TooMuch};
use super::quic_keys::{InitialKeys, QuicVersion};
use super::quic_packet::{LongPacket, Rest};
use super::{MOST_DATAGRAMS, Sniffed, client_hello};

/// Looks at the first datagrams that a client sends to one destination, in whatever order.
#[derive(Default)]
pub struct QuicSniffer {
    /// Of the last packet: the next one has the same.
    keys: Option<(QuicVersion, Vec<u8>, InitialKeys)>,
    handshake: CryptoStream,
    datagrams: usize,
    end: Option<Sniffed>,
}

impl std::fmt::Debug for QuicSniffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QuicSniffer({} datagrams)", self.datagrams)
    }
}

impl QuicSniffer {
    /// What this datagram and those before it tell. A name, or nothing, is the last word.
    pub fn datagram(&mut self, datagram: &[u8]) -> Sniffed {
        if let Some(end) = &self.end {
            return end.clone();
        }
        self.datagrams += 1;
        let sniffed = match self.read(datagram) {
            Ok(()) => client_hello::sniff(self.handshake.beginning()),
            Err(Hopeless) => Sniffed::Nothing,
        };
        let sniffed = match sniffed {
            Sniffed::More if self.datagrams >= MOST_DATAGRAMS => Sniffed::Nothing,
            sniffed => sniffed,
        };
        if sniffed != Sniffed::More {
            *self = QuicSniffer { end: Some(sniffed.clone()), ..QuicSniffer::default() };
        }
        sniffed
    }

    /// Reads the packets of a datagram. One that cannot be opened is passed over, as a receiver
    /// does: anyone may have sent it.
    fn read(&mut self, datagram: &[u8]) -> Result<(), Hopeless> {
        let mut rest = datagram;
        while let Some((packet, beyond)) = LongPacket::first(rest) {
            rest = beyond;
            if !packet.is_initial {
                continue;
            }
            let keys = self.keys_of(&packet).ok_or(Hopeless)?;
            if let Some(frames) = packet.open(keys) {
                self.read_frames(&frames)?;
            }
        }
        // The first datagram of a client begins with an Initial packet.
        let is_quic = self.keys.is_some() || self.datagrams > 1;
        if is_quic { Ok(()) } else { Err(Hopeless) }
    }

    fn keys_of(&mut self, packet: &LongPacket<'_>) -> Option<&InitialKeys> {
        let known = self.keys.take().filter(|(version, destination, _)| {
            (*version, &**destination) == (packet.version, packet.destination)
        });
        let keys = match known {
            Some(known) => known,
            None => {
                let keys = InitialKeys::of_client(packet.version, packet.destination)?;
                (packet.version, packet.destination.to_vec(), keys)
            }
        };
        Some(&self.keys.insert(keys).2)
    }

    fn read_frames(&mut self, frames: &[u8]) -> Result<(), Hopeless> {
        let mut rest = Rest { bytes: frames, at: 0 };
        while rest.at < frames.len() {
            self.read_frame(&mut rest).ok_or(Hopeless)??;
        }
        Ok(())
    }

    /// One of the frames that an Initial packet may have (RFC 9000, 12.4). `None` if it is none.
    fn read_frame(&mut self, rest: &mut Rest<'_>) -> Option<Result<(), Hopeless>> {
        const PADDING: u64 = 0x00;
        const PING: u64 = 0x01;
        const ACK: u64 = 0x02;
        const ACK_ECN: u64 = 0x03;
        const CRYPTO: u64 = 0x06;
        match rest.varint()? {
            PADDING | PING => {}
            kind @ (ACK | ACK_ECN) => {
                let (_largest, _delay, ranges) = (rest.varint()?, rest.varint()?, rest.varint()?);
                // The first range is one number, each further one is two.
                for _ in 0..ranges.checked_mul(2)?.checked_add(1)? {
                    rest.varint()?;
                }
                for _ in 0..if kind == ACK_ECN { 3 } else { 0 } {
                    rest.varint()?;
                }
            }
            CRYPTO => {
                let (offset, length) = (rest.varint()?, usize::try_from(rest.varint()?).ok()?);
                let added = self.handshake.add(offset, rest.take(length)?);
                return Some(added.map_err(|TooMuch| Hopeless));
            }
            _ => return None,
        }
        Some(Ok(()))
    }
}

/// No name is to be expected any more.
struct Hopeless;
