//! The ClientHello of TLS (RFC 8446, 4.1.2) and its server name (RFC 6066, 3), as a handshake
//! message: without records, as QUIC carries it too.
//!
//! With Encrypted Client Hello (RFC 9849) the name that shows is one that many sites share, and
//! the destination's is encrypted. Browsers send a meaningless extension of that kind to all other
//! servers, on purpose not to be told apart. So a hello that has it is believed unless its name is
//! one of the known shared ones ([`ECH_PUBLIC_NAMES`]).

use super::{MOST_BYTES, Sniffed, host};
use crate::domain::Name;

const CLIENT_HELLO: u8 = 1;
const HEADER: usize = 4;

/// Version and random value.
const FIXED: usize = 2 + 32;

const SERVER_NAME: u16 = 0;
const ENCRYPTED_HELLO: u16 = 0xfe0d;

/// In the list of server names: a host's.
const HOST_NAME: u8 = 0;

/// The `public_name` of the ECH configurations that large operators publish.
const ECH_PUBLIC_NAMES: [&str; 2] = ["cloudflare-ech.com", "cover.defo.ie"];

/// Looks at the beginning of a handshake. The message has to be whole: what follows the name may
/// say that it is not the destination's.
pub(super) fn sniff(handshake: &[u8]) -> Sniffed {
    match handshake.first() {
        None => return Sniffed::More,
        Some(&CLIENT_HELLO) => {}
        Some(_) => return Sniffed::Nothing,
    }
    let Some([_, length @ ..]) = handshake.first_chunk::<HEADER>() else { return Sniffed::More };
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if HEADER + length > MOST_BYTES {
        return Sniffed::Nothing;
    }
    match handshake.get(HEADER..HEADER + length) {
        None => Sniffed::More,
        Some(body) => server_name(body).unwrap_or(Sniffed::Nothing),
    }
}

/// `None` if the hello is malformed or has no name.
fn server_name(body: &[u8]) -> Option<Sniffed> {
    let mut rest = HelloFields(body);
    rest.take(FIXED)?;
    let (_session, _suites, _compression) = (rest.vector8()?, rest.vector16()?, rest.vector8()?);
    let mut extensions = HelloFields(rest.vector16()?);
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
