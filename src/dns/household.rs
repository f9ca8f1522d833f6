//! Where the programs of a household may ask snet itself: over UDP and TCP beside what is captured
//! (`household.dns`), over TLS (RFC 7858) and over HTTPS (RFC 8484).

use super::identity::ServerIdentity;
use super::reply::is_private;
use crate::ipset::IpSet;
use std::net::{IpAddr, SocketAddr};

/// The part of an IPv6 address that hosts of one link share, in bits.
const LINK: u32 = 64;

/// Addresses to listen on, and who may ask there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Household {
    /// `household.dns`: over UDP and TCP.
    pub plain: Vec<SocketAddr>,
    /// `household.dns-over-tls`
    pub tls: Vec<SocketAddr>,
    /// `household.dns-over-https`
    pub https: Vec<SocketAddr>,
    /// `household.certificate-file`; there is one if `tls` or `https` has an address.
    pub identity: Option<ServerIdentity>,
    /// `household.clients`: who may ask beside the household.
    pub clients: IpSet,
}

impl Household {
    /// All that are listened on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [&self.plain, &self.tls, &self.https].into_iter().flatten().copied()
    }

    /// Whether a host may ask at `own`, an address of ours. An open name server is found within
    /// days, and used to flood others (RFC 5358).
    pub(super) fn may_ask(&self, client: IpAddr, own: IpAddr) -> bool {
        let is_near = client.is_loopback() || client == own || is_private(client);
        is_near || is_on_link(client, own) || self.clients.contains(client)
    }
}

/// Hosts of a household have public IPv6 addresses.
fn is_on_link(client: IpAddr, own: IpAddr) -> bool {
    match (client, own) {
        (IpAddr::V6(client), IpAddr::V6(own)) => {
            client.to_bits() >> (128 - LINK) == own.to_bits() >> (128 - LINK)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_ask() {
        let clients: IpSet =
            ["203.0.113.0/24".parse::<ipnet::IpNet>().unwrap()].into_iter().collect();
        let household = Household { clients, ..Household::default() };
        for (client, own, may) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("192.168.1.9", "192.168.1.1", true),
            ("100.64.0.9", "192.168.1.1", true),
            ("fd00::9", "fd00::1", true),
            ("fe80::9", "2001:db8::1", true),
            ("2001:db8::9", "2001:db8::1", true),
            ("2001:db8:0:1::9", "2001:db8::1", false),
            ("198.51.100.9", "198.51.100.1", false),
            ("198.51.100.1", "198.51.100.1", true),
            ("203.0.113.9", "198.51.100.1", true),
        ] {
            let asked = household.may_ask(client.parse().unwrap(), own.parse().unwrap());
            assert_eq!(asked, may, "{client} at {own}");
        }
    }
}
