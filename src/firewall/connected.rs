//! The prefixes on the links of this machine.

use crate::ipset::IpSet;
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use std::net::IpAddr;
use tracing::warn;

/// What the addresses of the interfaces say is on a link: a destination there is a neighbour,
/// and no proxy is needed to reach it. Most are private and reserved anyway; this is for public
/// ones.
///
/// Read from getifaddrs(3), not from the routes: a route with link scope need not be a link (a
/// VPN writes `default dev tun0 scope link`). It is a snapshot: a machine that moves to another
/// network keeps the old one until a restart.
pub fn connected_prefixes() -> IpSet {
    match getifaddrs() {
        Ok(addresses) => addresses
            .filter(|entry| !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK))
            .filter_map(|entry| prefix(address(entry.address?)?, address(entry.netmask?)?))
            .collect(),
        Err(error) => {
            warn!(
                "cannot read the interfaces' addresses ({error}); on-link hosts with public addresses are not exempted"
            );
            IpSet::default()
        }
    }
}

fn address(storage: SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// A host prefix (point-to-point links, DHCPv6) has no neighbours; the address itself is local. A
/// mask of zero bits is no statement about a link.
fn prefix(address: IpAddr, mask: IpAddr) -> Option<IpNet> {
    let net = IpNet::with_netmask(address, mask).ok()?.trunc();
    (net.prefix_len() > 0 && net.prefix_len() < net.max_prefix_len()).then_some(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_with_neighbours_count() {
        let net = |address: &str, mask: &str| {
            prefix(address.parse().unwrap(), mask.parse().unwrap()).map(|net| net.to_string())
        };
        assert_eq!(net("192.0.2.7", "255.255.255.0").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(net("2001:db8::7", "ffff:ffff:ffff:ffff::").as_deref(), Some("2001:db8::/64"));
        assert_eq!(net("192.0.2.7", "255.255.255.255"), None);
        assert_eq!(net("192.0.2.7", "0.0.0.0"), None);
    }
}
