//! The judgement of a single reply, before both sides are compared (`dns::split`).

use super::Reply;
use crate::dns::wire::rcode;
use crate::ipset::IpSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a domestic reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DomesticVerdict {
    /// At least one address is domestic, and none is bogus.
    Cn,
    /// Addresses, none of them domestic: perhaps forged, perhaps not.
    Foreign,
    /// Some address cannot be true: forged.
    Bogus,
    /// No address: NODATA, aliases only, or another type without addresses that cannot be true.
    NoIp,
    /// No such name.
    Nx,
    /// An error, or a truncated reply.
    Err,
}

/// What a trusted reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrustedVerdict {
    /// Addresses.
    Addresses,
    /// No address: NODATA, or aliases only.
    NoIp,
    /// No such name.
    Nx,
    /// An error, or a truncated reply.
    Err,
}

/// Which addresses are believed of a name, beside public ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    /// None: a private address is a forger's, or an attack on a host of the network (DNS
    /// rebinding).
    PublicOnly,
    /// Private ones.
    Private,
    /// Private ones, and those of the asking machine itself and of its link, which some names have
    /// on purpose: an operator's list has the name.
    PrivateAndOwn,
}

/// Judges a domestic reply. `china` holds the domestic addresses (none with `scope = "global"`),
/// `bogus` those of `dns.bogus` and of providers that rewrite NXDOMAIN.
pub fn classify(
    reply: &Reply<'_>,
    china: &IpSet,
    bogus: &IpSet,
    believed: Believed,
) -> DomesticVerdict {
    match reply.rcode() {
        _ if reply.truncated() => return DomesticVerdict::Err,
        rcode::NOERROR => {}
        rcode::NXDOMAIN => return DomesticVerdict::Nx,
        _ => return DomesticVerdict::Err,
    }
    let addresses = reply.addresses();
    let is_bogus = |address: &IpAddr| {
        let inside = judged(*address);
        is_impossible(inside)
            || bogus.contains(*address)
            || bogus.contains(inside)
            || believed != Believed::PrivateAndOwn && is_own(inside)
            || believed == Believed::PublicOnly && is_inward(inside)
    };
    // Programs connect to the addresses in HTTPS records too.
    if addresses.iter().any(is_bogus) || reply.hints().iter().any(is_bogus) {
        DomesticVerdict::Bogus
    } else if addresses.is_empty() {
        DomesticVerdict::NoIp
    } else if addresses.iter().any(|address| china.contains(judged(*address))) {
        DomesticVerdict::Cn
    } else {
        DomesticVerdict::Foreign
    }
}

/// Judges a trusted reply. Its addresses are not doubted: it came past the forgers, and what looks
/// bogus there is meant so: `0.0.0.0` of a filtering resolver the operator chose, `127.0.0.1` of a
/// developer's name, a private address of a name for a LAN.
pub fn classify_trusted(reply: &Reply<'_>) -> TrustedVerdict {
    match reply.rcode() {
        _ if reply.truncated() => TrustedVerdict::Err,
        rcode::NOERROR if reply.addresses().is_empty() => TrustedVerdict::NoIp,
        rcode::NOERROR => TrustedVerdict::Addresses,
        rcode::NXDOMAIN => TrustedVerdict::Nx,
        _ => TrustedVerdict::Err,
    }
}

/// The address that matters: the IPv4 one inside `::ffff:0:0/96` (RFC 4291, 2.5.5.2) and
/// `64:ff9b::/96` (RFC 6052, 2.1).
fn judged(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
        | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => address,
    }
}

/// No host has such an address.
fn is_impossible(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 224,
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    }
}

/// The asking machine itself; with IPv4 also its link (RFC 3927).
fn is_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback(),
    }
}

/// Whether the address is one of a private network: RFC 1918 and the like, of a carrier's NAT
/// (where VPNs live too), unique local, or of a link (RFC 3927: name servers of clouds).
pub fn is_private(address: IpAddr) -> bool {
    let inside = judged(address);
    is_inward(inside) || matches!(inside, IpAddr::V4(v4) if v4.is_link_local())
}

/// RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193; link-local RFC 4291 and site-local RFC 3879.
fn is_inward(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || is_site_local(v6),
    }
}

fn is_site_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfec0
}

#[cfg(test)]
mod tests;
