//! The ClientHello of TLS (RFC 8446, 4.1.2) and its server name (RFC 6066, 3), as a handshake
//! message: without records, as QUIC carries it too.
//!
//! With Encrypted Client Hello (RFC 9849) the name that shows is one that many sites share, and
//! the destination's is encrypted. Browsers send a meaningless extension of that kind to all other
//! servers, on purpose not to be told apart. So a hello that has it is believed unless its name is
//! one of the known shared ones ([`ECH_PUBLIC_NAMES`]).

use super::{FirstFlight, MOST_BYTES, Sniffed, host};
use crate::domain::Name;

const CLIENT_HELLO: u8 = 1;
const HEADER: usize = 4;

/// Version and random value.
const FIXED: usize = 2 + 32;

const SERVER_NAME: u16 = 0;

/// What follows the hello is meant for the server to act on at once (RFC 8446, 4.2.10).
const EARLY_DATA: u16 = 42;
const ENCRYPTED_HELLO: u16 = 0xfe0d;

/// In the list of server names: a host's.
const HOST_NAME: u8 = 0;

/// The `public_name` of the ECH configurations that large operators publish.
const ECH_PUBLIC_NAMES: [&str; 2] = ["cloudflare-ech.com", "cover.defo.ie"];

/// Looks at the beginning of a handshake. The message has to be whole: what follows the name may
/// say that it is not the destination's.
pub(super) fn sniff(handshake: &[u8]) -> Sniffed {
    match message(handshake) {
        HelloRead::More => Sniffed::More,
        HelloRead::Other => Sniffed::Nothing,
        HelloRead::Whole { body, .. } => server_name(body).unwrap_or(Sniffed::Nothing),
    }
}

/// Whether the beginning of a handshake is one hello, with which nothing goes that a server may act
/// on.
pub(super) fn first_flight(handshake: &[u8]) -> FirstFlight {
    match message(handshake) {
        HelloRead::More => FirstFlight::More,
        HelloRead::Whole { body, beyond: [] } if is_without_early_data(body) => FirstFlight::Hello,
        HelloRead::Whole { .. } | HelloRead::Other => FirstFlight::Other,
    }
}

/// What the beginning of a handshake is.
enum HelloRead<'a> {
    More,
    /// No hello, or one that is too long.
    Other,
    Whole {
        body: &'a [u8],
        beyond: &'a [u8],
    },
}

fn message(handshake: &[u8]) -> HelloRead<'_> {
    match handshake.first() {
        None => return HelloRead::More,
        Some(&CLIENT_HELLO) => {}
        Some(_) => return HelloRead::Other,
    }
    let Some((&[_, length @ ..], rest)) = handshake.split_first_chunk::<HEADER>() else {
        return HelloRead::More;
    };
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if HEADER + length > MOST_BYTES {
        return HelloRead::Other;
    }
    match rest.split_at_checked(length) {
        None => HelloRead::More,
        Some((body, beyond)) => HelloRead::Whole { body, beyond },
    }
}

/// False also if it is malformed.
fn is_without_early_data(body: &[u8]) -> bool {
    let is_without = || {
        let mut extensions = extensions(body)?;
        while !extensions.0.is_empty() {
            if extensions.u16()? == EARLY_DATA {
                return None;
            }
            extensions.vector16()?;
        }
        Some(())
    };
    is_without().is_some()
}

fn extensions(body: &[u8]) -> Option<HelloFields<'_>> {
    let mut rest = HelloFields(body);
    rest.take(FIXED)?;
    let (_session, _suites, _compression) = (rest.vector8()?, rest.vector16()?, rest.vector8()?);
    Some(HelloFields(rest.vector16()?))
}

/// `None` if the hello is malformed or has no name.
fn server_name(body: &[u8]) -> Option<Sniffed> {
    let mut extensions = extensions(body)?;
    let (mut list, mut may_be_encrypted) = (None, false);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let data = extensions.vector16()?;
        match kind {
            SERVER_NAME if list.is_none() => list = Some(data),
            ENCRYPTED_HELLO => may_be_encrypted = true,
            _ => {}
        }
    }
    let mut names = HelloFields(HelloFields(list?).vector16()?);
    if names.u8()? != HOST_NAME {
        return None;
    }
    match host(names.vector16()?) {
        Sniffed::Name(name) if may_be_encrypted && is_public(&name) => None,
        sniffed => Some(sniffed),
    }
}

fn is_public(name: &Name) -> bool {
    let name = name.to_string();
    ECH_PUBLIC_NAMES.contains(&name.as_str())
}

/// The bytes that are still to be read.
struct HelloFields<'a>(&'a [u8]);

impl<'a> HelloFields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// With a length of one byte before it.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// With a length of two bytes before it.
    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}
