//! Links, addresses and routes, as a value, and what can be concluded from them. Pure.
//!
//! An uplink is a link with a default route, in any table and either family; "default" also in
//! two or more pieces, as VPNs write it (0.0.0.0/1 and 128.0.0.0/1, 2000::/3).

use super::third_party;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// What the kernel tells of this machine's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) links: Vec<NetworkLink>,
    /// In the kernel's order, which is the order in which REDIRECT tries them.
    pub(super) addresses: Vec<Address>,
    /// Unicast routes of all tables.
    pub(super) routes: Vec<LinkRoute>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NetworkLink {
    pub(super) index: u32,
    pub(super) name: String,
    /// IFF_*, netdevice(7).
    pub(super) flags: u32,
    pub(super) is_bridge: bool,
    /// The index of the link it is a part of.
    pub(super) master: Option<u32>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The index of its link.
    pub(super) link: u32,
    pub(super) own: IpAddr,
    /// Who else is on the link; on a point-to-point link, the other end.
    pub(super) prefix: IpNet,
    /// Not tentative, not a duplicate.
    pub(super) is_usable: bool,
}

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkRoute {
    pub(super) destination: IpNet,
    /// The indices of its links.
    pub(super) links: Vec<u32>,
    /// Somebody in between: the destination itself is not on the link.
    pub(super) has_gateway: bool,
}

// linux/if.h
const IFF_UP: u32 = 0x1;
const IFF_BROADCAST: u32 = 0x2;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_NOARP: u32 = 0x80;

/// A route this short or shorter takes the whole internet or a large part of it.
const DEFAULT_V4: u8 = 1;
const DEFAULT_V6: u8 = 3;

impl NetworkLink {
    pub(super) fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.flags & IFF_LOOPBACK != 0
    }

    /// Whether there are others to be asked for by ARP or neighbour discovery; a tunnel has none.
    fn has_neighbours(&self) -> bool {
        self.flags & IFF_BROADCAST != 0 && self.flags & IFF_NOARP == 0
    }
}

impl LinkRoute {
    pub(super) fn is_default(&self) -> bool {
        let most = if self.destination.addr().is_ipv4() { DEFAULT_V4 } else { DEFAULT_V6 };
        self.destination.prefix_len() <= most
    }
}

impl Network {
    /// The names of the interfaces with a default route.
    pub(super) fn uplinks(&self) -> BTreeSet<String> {
        let defaults = self.routes.iter().filter(|route| route.is_default());
        let indices: BTreeSet<u32> = defaults.flat_map(|route| route.links.clone()).collect();
        let links = self.links.iter().filter(|link| !link.is_loopback());
        links.filter(|link| indices.contains(&link.index)).map(|link| link.name.clone()).collect()
    }

    /// The interfaces that lead to the internet or a part of it: what is routed there is neither
    /// reserved nor on the link.
    pub(super) fn routed_out(&self) -> BTreeSet<String> {
        let leads_out = |link: &&NetworkLink| {
            let mut prefixes = self.addresses.iter().filter(|address| address.link == link.index);
            let mut routes = self.routes.iter().filter(|route| route.links.contains(&link.index));
            routes.any(|route| {
                route.is_default()
                    || !third_party::is_reserved(route.destination)
                        && !prefixes.any(|at| at.prefix.contains(&route.destination))
            })
        };
        let links = self.links.iter().filter(|link| !link.is_loopback());
        links.filter(leads_out).map(|link| link.name.clone()).collect()
    }

    /// What is on this link: the prefixes of its addresses, and on a link with neighbours also
    /// the destinations of routes without a gateway. (Not on a tunnel: a VPN writes
    /// `default dev tun0 scope link`, and what it routes is far away.)
    pub(super) fn on_link<'a>(&'a self, link: &'a NetworkLink) -> impl Iterator<Item = IpNet> + 'a {
        let addresses = self.addresses.iter().filter(|address| address.link == link.index);
        // A host prefix (point-to-point, DHCPv6) has no neighbours; the address itself is local. A
        // prefix of zero bits is no statement about a link.
        let prefixes = addresses.map(|address| address.prefix);
        let prefixes = prefixes.filter(|net| net.prefix_len() < net.max_prefix_len());
        let routes = self.routes.iter().filter(move |route| {
            link.has_neighbours() && !route.has_gateway && route.links == [link.index]
        });
        let destinations = routes.filter(|route| !route.is_default()).map(|r| r.destination);
        prefixes.chain(destinations).filter(|net| net.prefix_len() > 0).map(|net| net.trunc())
    }

    /// Whether it is a port of a bridge: what comes in there comes in by the bridge.
    pub(super) fn is_port(&self, link: &NetworkLink) -> bool {
        let mut bridges = self.links.iter().filter(|link| link.is_bridge);
        bridges.any(|bridge| Some(bridge.index) == link.master)
    }

    /// The first link-local IPv6 address of each link that has one. A name that a rule cannot hold
    /// (`+` at its end means "and all that begin so", iptables(8)) is left out.
    pub(super) fn link_local(&self) -> Vec<(String, Ipv6Addr)> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
        let links = self.links.iter().filter(|link| !link.is_loopback() && !self.is_port(link));
        links
            .filter(|link| link.name.bytes().all(is_plain))
            .filter_map(|link| {
                let mut addresses = self.addresses.iter().filter(|a| a.link == link.index);
                addresses.find_map(|address| match address.own {
                    IpAddr::V6(own) if address.is_usable && own.is_unicast_link_local() => {
                        Some((link.name.clone(), own))
                    }
                    _ => None,
                })
            })
            .collect()
    }

    /// The address of the link that a redirected packet arrives at: the first of its family
    /// (net/netfilter/nf_nat_redirect.c).
    pub(super) fn primary(&self, link: &NetworkLink, is_v4: bool) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter().filter(|address| address.link == link.index);
        let first = addresses.find(|address| address.is_usable && address.own.is_ipv4() == is_v4);
        first.map(|address| address.own)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::firewall) const ETHERNET: u32 = 0x1 | IFF_BROADCAST;
    pub(in crate::firewall) const TUNNEL: u32 = 0x1 | 0x10 | IFF_NOARP;

    /// Interfaces as name, flags, addresses and routes; a route as `prefix` or `prefix@gw`. One
    /// whose name begins with "br-" or "docker" is a bridge, with "port" a port of the former one.
    pub(in crate::firewall) fn network(lines: &[(&str, u32, &str, &str)]) -> Network {
        let mut network = Network::default();
        for (index, (name, flags, addresses, routes)) in (1..).zip(lines) {
            let is_bridge = name.starts_with("br-") || name.starts_with("docker");
            let name = (*name).to_owned();
            let master = name.starts_with("port").then_some(index - 1);
            network.links.push(NetworkLink { index, name, flags: *flags, is_bridge, master });
            for text in addresses.split_whitespace() {
                let net: IpNet = text.parse().unwrap();
                let (own, prefix) = (net.addr(), net.trunc());
                network.addresses.push(Address { link: index, own, prefix, is_usable: true });
            }
            for text in routes.split_whitespace() {
                let destination = text.trim_end_matches("@gw").parse().unwrap();
                let has_gateway = text.ends_with("@gw");
                network.routes.push(LinkRoute { destination, links: vec![index], has_gateway });
            }
        }
        network
    }

    #[test]
    fn uplinks_are_links_with_a_default_route_whole_or_in_pieces() {
        let network = network(&[
            ("lo", IFF_LOOPBACK, "127.0.0.1/8", "0.0.0.0/0"),
            ("eth0", ETHERNET, "", "0.0.0.0/0@gw"),
            ("eth1", ETHERNET, "", "::/0@gw"),
            ("tun0", TUNNEL, "", "0.0.0.0/1@gw 128.0.0.0/1@gw"),
            ("tun1", TUNNEL, "", "2000::/3"),
            ("br-lan", ETHERNET, "192.168.1.1/24", "10.0.0.0/8@gw 192.168.1.0/24"),
        ]);
        assert_eq!(Vec::from_iter(network.uplinks()), ["eth0", "eth1", "tun0", "tun1"]);
    }

    #[test]
    fn on_a_link_is_what_needs_no_gateway_and_is_not_behind_a_tunnel() {
        let network = network(&[
            (
                "eth0",
                ETHERNET,
                "192.0.2.7/24 192.0.2.8/32",
                "203.0.113.9/32 10.0.0.0/8@gw 0.0.0.0/0",
            ),
            ("tun0", TUNNEL, "10.9.0.2/24", "198.51.100.0/24"),
            ("wg0", TUNNEL, "10.7.0.1/32 10.8.0.1/0", ""),
        ]);
        let on = |index: usize| -> Vec<String> {
            network.on_link(&network.links[index]).map(|net| net.to_string()).collect()
        };
        assert_eq!(on(0), ["192.0.2.0/24", "203.0.113.9/32"]);
        assert_eq!(on(1), ["10.9.0.0/24"]);
        assert_eq!(on(2), [] as [&str; 0]);
    }
}
