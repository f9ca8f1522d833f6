//! Where a SOCKS5 server takes datagrams: what it says, and what is meant.
//!
//! Servers behind a translator, and such that listen on every address, do not know how they are
//! reached. What they say counts only if it can be right as seen from here; else the datagrams go
//! where their TCP answers, to the port that they say.

use crate::target::Target;
use std::net::{IpAddr, SocketAddr};

/// The address for datagrams, from the server's reply and from where its TCP is. `None`: there is
/// no port.
pub(super) fn relay_address(bound: &Target, server: IpAddr) -> Option<SocketAddr> {
    let server = server.to_canonical();
    let ip = match bound.address().map(|address| address.ip().to_canonical()) {
        // A name could be resolved only by name servers that are not asked here.
        None => server,
        Some(ip) if ip.is_unspecified() || ip.is_multicast() => server,
        // Of another network than the one in which the server was found.
        Some(ip) if scope_of(ip) != AddressScope::Public && scope_of(ip) != scope_of(server) => {
            server
        }
        Some(ip) => ip,
    };
    (bound.port() > 0).then(|| SocketAddr::new(ip, bound.port()))
}

/// Where an address means the same host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressScope {
    Public,
    Loopback,
    LinkLocal,
    /// RFC 1918, and RFC 6598 (a provider's own); the first bytes tell these networks apart.
    Private(u8, u8),
    /// RFC 4193; so do the first ones here.
    UniqueLocal([u16; 3]),
}

fn scope_of(ip: IpAddr) -> AddressScope {
    match ip {
        ip if ip.is_loopback() => AddressScope::Loopback,
        IpAddr::V4(v4) => match v4.octets() {
            [169, 254, ..] => AddressScope::LinkLocal,
            [10, ..] => AddressScope::Private(10, 0),
            [172, 16..=31, ..] => AddressScope::Private(172, 16),
            [192, 168, ..] => AddressScope::Private(192, 168),
            [100, 64..=127, ..] => AddressScope::Private(100, 64),
            _ => AddressScope::Public,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0xfe80..=0xfebf, ..] => AddressScope::LinkLocal,
            [a @ 0xfc00..=0xfdff, b, c, ..] => AddressScope::UniqueLocal([a, b, c]),
            _ => AddressScope::Public,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_and_what_is_meant() {
        for (said, server, meant) in [
            // As it should be.
            ("192.0.2.1:7", "192.0.2.1", "192.0.2.1:7"),
            ("192.0.2.9:7", "192.0.2.1", "192.0.2.9:7"),
            ("[2001:db8::1]:7", "192.0.2.1", "[2001:db8::1]:7"),
            ("127.0.0.1:7", "127.0.0.1", "127.0.0.1:7"),
            ("192.168.1.7:7", "192.168.9.1", "192.168.1.7:7"),
            ("[fd00:1::7]:7", "fd00:1::1", "[fd00:1::7]:7"),
            // It listens on every address.
            ("0.0.0.0:7", "192.0.2.1", "192.0.2.1:7"),
            ("[::]:7", "2001:db8::1", "[2001:db8::1]:7"),
            ("0.0.0.0:7", "::ffff:192.0.2.1", "192.0.2.1:7"),
            // A cloud's server behind its translator.
            ("10.0.0.5:7", "192.0.2.1", "192.0.2.1:7"),
            ("172.31.9.9:7", "192.0.2.1", "192.0.2.1:7"),
            ("127.0.0.1:7", "192.0.2.1", "192.0.2.1:7"),
            ("[::ffff:10.0.0.5]:7", "192.0.2.1", "192.0.2.1:7"),
            ("[fe80::1]:7", "2001:db8::1", "[2001:db8::1]:7"),
            ("[fd00:1::7]:7", "fd00:2::1", "[fd00:2::1]:7"),
            // A container behind the server of one's own LAN.
            ("172.17.0.2:7", "192.168.1.1", "192.168.1.1:7"),
        ] {
            let bound = Target::addr(said.parse().unwrap());
            let found = relay_address(&bound, server.parse().unwrap());
            assert_eq!(found, Some(meant.parse().unwrap()), "{said} from {server}");
        }
        let name = Target::Name("relay.example".into(), 7);
        let server = "192.0.2.1".parse().unwrap();
        assert_eq!(relay_address(&name, server), Some("192.0.2.1:7".parse().unwrap()));
        let nowhere = Target::addr("192.0.2.1:0".parse().unwrap());
        assert_eq!(relay_address(&nowhere, server), None);
    }
}
