//! The name that a connection's own first bytes tell: SNI of TLS and QUIC, Host of HTTP/1.
//!
//! Pure parsers over what has come so far: nothing is read, held back or changed here. What they
//! find is said by the program, and proves nothing: it is for people to read, and for rules where
//! the resolver told nothing (`Rules::route_claimed`). Invariants: whatever the bytes are, memory
//! and time are bounded by [`MOST_BYTES`] and [`MOST_DATAGRAMS`]; a longer beginning never takes
//! back what a shorter one gave.
//!
//! [`stream`] looks at TCP ([`tls`], [`http_host`]), [`QuicSniffer`] at UDP ([`quic_packet`],
//! [`crypto_stream`]). A hello is read by [`client_hello`] in both.

mod client_hello;
mod crypto_stream;
mod http_host;
mod quic;
mod quic_keys;
mod quic_packet;
mod tls;

use crate::domain::Name;
use std::net::IpAddr;

pub use quic::QuicSniffer;

/// So much of a stream, or of a hello, is looked at. Browsers send up to about 2 KiB.
pub const MOST_BYTES: usize = 16 * 1024;

/// So many datagrams of a flow are looked at. Browsers need two.
pub const MOST_DATAGRAMS: usize = 8;

/// What the first bytes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// The name may be in what is still to come.
    More,
    /// The name.
    Name(Name),
    /// There is none, or none that is the destination's.
    Nothing,
}

/// Looks at the first bytes of a stream, as many as have come.
pub fn stream(first: &[u8]) -> Sniffed {
    let seen = &first[..first.len().min(MOST_BYTES)];
    let sniffed = match seen.first() {
        None => Sniffed::More,
        Some(&tls::HANDSHAKE) => tls::sniff(seen),
        Some(_) => http_host::sniff(seen),
    };
    match sniffed {
        Sniffed::More if first.len() >= MOST_BYTES => Sniffed::Nothing,
        sniffed => sniffed,
    }
}

/// What the first bytes of a client are, to whoever would send them to another server once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstFlight {
    /// That depends on what is still to come.
    More,
    /// A ClientHello of TLS and nothing else, after which the client waits. It may be repeated:
    /// nothing is done for a client that has not finished the handshake, and this one will finish
    /// it with one server (RFC 8446, 2; RFC 5246, 7.3).
    Hello,
    /// Something on which a server may act.
    Other,
}

/// Looks whether the first bytes of a stream, as many as have come, may be sent twice.
pub fn first_flight(first: &[u8]) -> FirstFlight {
    match first.first() {
        None => FirstFlight::More,
        _ if first.len() >= MOST_BYTES => FirstFlight::Other,
        Some(&tls::HANDSHAKE) => tls::first_flight(first),
        Some(_) => FirstFlight::Other,
    }
}

/// A host name as a name, unless it is an address or what no host name is.
fn host(text: &[u8]) -> Sniffed {
    let name = std::str::from_utf8(text).ok().filter(|text| text.parse::<IpAddr>().is_err());
    let name = name.and_then(|text| text.parse::<Name>().ok());
    match name {
        Some(name) if name != Name::root() => Sniffed::Name(name),
        _ => Sniffed::Nothing,
    }
}

#[cfg(test)]
pub(crate) mod tests;
