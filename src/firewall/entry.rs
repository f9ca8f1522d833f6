//! What a set holds, in the terms of ipset and of nf_tables alike.

use crate::family::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::IpAddr;

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Prefix(IpNet),
    Address(IpAddr),
    /// A prefix, seen at this interface.
    At(IpNet, String),
}

/// As ipset(8) writes it.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Prefix(net) => net.fmt(f),
            Entry::Address(address) => address.fmt(f),
            Entry::At(net, interface) => write!(f, "{net},{interface}"),
        }
    }
}

/// Both halves of a family's addresses.
pub(super) fn everything(family: Family) -> Vec<Entry> {
    let halves: Vec<IpNet> = match family {
        Family::V4 => halves_v4(Ipv4Net::default()).map(IpNet::V4).collect(),
        Family::V6 => halves_v6(Ipv6Net::default()).map(IpNet::V6).collect(),
    };
    halves.into_iter().map(Entry::Prefix).collect()
}

/// hash:net cannot hold a prefix of length 0 (ipset(8)): two halves instead.
pub(super) fn halves_v4(net: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    let halves = if net.prefix_len() == 0 { net.subnets(1).ok() } else { None };
    let whole = halves.is_none().then_some(net);
    halves.into_iter().flatten().chain(whole)
}

pub(super) fn halves_v6(net: Ipv6Net) -> impl Iterator<Item = Ipv6Net> {
    let halves = if net.prefix_len() == 0 { net.subnets(1).ok() } else { None };
    let whole = halves.is_none().then_some(net);
    halves.into_iter().flatten().chain(whole)
}
