//! Initial packets of QUIC version 1 (RFC 9000, 17.2.2; RFC 9001, 5) and 2 (RFC 9369): what a
//! client sends first. Their keys come from the connection id that they carry, so whoever sees
//! them can open them.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Version};
use rustls::{Side, SupportedCipherSuite};

/// The bits of the first byte: a long header, and the one that is always set.
const LONG: u8 = 0xc0;

/// In a long header: the type of the packet, its length of the packet number.
const KIND: u8 = 0x30;
const NUMBER_LENGTH: u8 = 0x03;

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

/// A version whose packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuicVersion {
    One,
    Two,
}

impl QuicVersion {
    fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(QuicVersion::One),
            0x6b33_43cf => Some(QuicVersion::Two),
            _ => None,
        }
    }

    /// The type of its Initial packets and of its Retry packets, which have no length.
    fn kinds(self) -> (u8, u8) {
        match self {
            QuicVersion::One => (0x00, 0x30),
            QuicVersion::Two => (0x10, 0x00),
        }
    }
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
    pub(super) fn open(&self, keys: &DirectionalKeys) -> Option<Vec<u8>> {
        let mut packet = self.bytes.to_vec();
        let (header, body) = packet.split_at_mut_checked(self.number_at)?;
        let (number, sampled) = body.split_at_mut_checked(LONGEST_NUMBER)?;
        let sample = sampled.get(..keys.header.sample_len())?;
        keys.header.decrypt_in_place(sample, header.first_mut()?, number).ok()?;
        let length = usize::from(*header.first()? & NUMBER_LENGTH) + 1;
        let number = number.get(..length)?.iter();
        // A client's first packets have numbers that fit (RFC 9000, A.3).
        let number = number.fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        // Of the bytes that were taken for a longer number, the rest is payload again.
        let original = self.bytes.get(self.number_at + length..self.number_at + LONGEST_NUMBER)?;
        packet[self.number_at + length..self.number_at + LONGEST_NUMBER].copy_from_slice(original);
        let (header, payload) = packet.split_at_mut_checked(self.number_at + length)?;
        keys.packet.decrypt_in_place(number, header, payload).ok().map(|frames| frames.to_vec())
    }
}

/// The keys of what a client sends first to this connection id.
pub(super) fn client_keys(version: QuicVersion, destination: &[u8]) -> Option<DirectionalKeys> {
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else { return None };
    let version = match version {
        QuicVersion::One => Version::V1,
        QuicVersion::Two => Version::V2,
    };
    Some(suite.quic_suite()?.keys(destination, Side::Server, version).remote)
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
