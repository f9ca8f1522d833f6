//! Initial packets of QUIC version 1 (RFC 9000, 17.2.2; RFC 9001, 5) and 2 (RFC 9369): what a
//! client sends first. Their keys come from the connection id that they carry, so whoever sees
//! them can open them.

use super::quic_keys::{InitialKeys, QuicVersion};

/// The bits of the first byte: a long header, and the one that is always set.
const LONG: u8 = 0xc0;

/// In a long header: the type of the packet, its length of the packet number.
const KIND: u8 = 0x30;
const NUMBER_LENGTH: u8 = 0x03;

/// What a long header's protection hides of the first byte (RFC 9001, 5.4.1).
pub(super) const HIDDEN: u8 = 0x0f;

const LONGEST_ID: usize = 20;

/// The sample begins so far behind the packet number's beginning (RFC 9001, 5.4.2).
const LONGEST_NUMBER: usize = 4;

/// A packet with a long header that is not opened yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LongPacket<'a> {
    /// Names the keys of a client's first packets.
    pub(super) destination: &'a [u8],
    pub(super) version: QuicVersion,
    pub(super) is_initial: bool,
    /// The packet whole.
    bytes: &'a [u8],
    /// Where its number stands.
    number_at: usize,
}

impl<'a> LongPacket<'a> {
    /// The first packet of a datagram, and the rest of it. `None` if it is no packet with a long
    /// header of a known version.
    pub(super) fn first(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut rest = Rest { bytes: datagram, at: 0 };
        let first = rest.u8()?;
        if first & LONG != LONG {
            return None;
        }
        let version = rest.take(4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let version = QuicVersion::of(version?)?;
        let (initial, retry) = version.kinds();
        if first & KIND == retry {
            return None;
        }
        let is_initial = first & KIND == initial;
        let destination = rest.id()?;
        rest.id()?;
        if is_initial {
            let token = usize::try_from(rest.varint()?).ok()?;
            rest.take(token)?;
        }
        let length = usize::try_from(rest.varint()?).ok()?;
        let number_at = rest.at;
        rest.take(length)?;
        let (bytes, beyond) = datagram.split_at(rest.at);
        Some((LongPacket { destination, version, is_initial, bytes, number_at }, beyond))
    }

    /// Its frames, if it is what the keys are for and was not damaged.
    pub(super) fn open(&self, keys: &InitialKeys) -> Option<Vec<u8>> {
        let mut packet = self.bytes.to_vec();
        let (header, body) = packet.split_at_mut_checked(self.number_at)?;
        let (number, sampled) = body.split_at_mut_checked(LONGEST_NUMBER)?;
        let [of_first, of_number @ ..] = keys.mask(*sampled.first_chunk()?);
        let first = header.first_mut()?;
        *first ^= of_first & HIDDEN;
        let length = usize::from(*first & NUMBER_LENGTH) + 1;
        for (byte, mask) in number.iter_mut().zip(of_number) {
            *byte ^= mask;
        }
        let number = number.get(..length)?.iter();
        // A client's first packets have numbers that fit (RFC 9000, A.3).
        let number = number.fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        // Of the bytes that were taken for a longer number, the rest is payload again.
        let original = self.bytes.get(self.number_at + length..self.number_at + LONGEST_NUMBER)?;
        packet[self.number_at + length..self.number_at + LONGEST_NUMBER].copy_from_slice(original);
        let (header, payload) = packet.split_at_mut_checked(self.number_at + length)?;
        keys.open(number, header, payload).map(<[u8]>::to_vec)
    }
}

/// Bytes that are read from the front.
pub(super) struct Rest<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Rest<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn id(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u8()?);
        if length > LONGEST_ID { None } else { self.take(length) }
    }

    /// A number of 1, 2, 4 or 8 bytes (RFC 9000, 16).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let more = self.take((1 << (first >> 6)) - 1)?;
        Some(more.iter().fold(u64::from(first & 0x3f), |sum, byte| sum << 8 | u64::from(*byte)))
    }
}
