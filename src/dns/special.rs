//! Names with a meaning of their own, which must not leave for public servers (RFC 6761).
//!
//! Decisions: `local` belongs to multicast DNS (RFC 6762), but many an office has a name server
//! for it: it is asked where local names are asked, and nowhere else. `test` and `example` are
//! ordinary: laboratories use them as the internet, like the documentation addresses. Apple's
//! `mask.icloud.com` is ordinary too: whether a device may use the private relay is its owner's
//! choice, not this program's. `use-application-dns.net` does not exist here, so that Firefox,
//! unless told otherwise, keeps asking the system and thereby us.

use super::reply;
use super::wire::{Query, rr};
use crate::domain::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TTL in seconds of what will never change.
const LOCALHOST_TTL: u32 = 3600;

/// What kind of name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// This machine; see [`localhost`].
    Localhost,
    /// There is no such name, by definition.
    NxDomain,
    /// The name exists and has no records.
    NoData,
    /// A name of the local network: only `dns.local` is asked. Its addresses may be private.
    Local,
    /// All others.
    Ordinary,
}

impl Special {
    /// Classes a name in lower-case wire form, as [`Query::name`] has it.
    pub fn of(name: &[u8]) -> Special {
        let (count, [top, second, ..]) = last_labels(name);
        match (top, second) {
            (b"localhost", _) => Special::Localhost,
            // RFC 6761, 6.4; RFC 7686.
            (b"invalid" | b"onion", _) => Special::NxDomain,
            (b"net", b"use-application-dns") if count == 2 => Special::NxDomain,
            (b"arpa", _) => under_arpa(name),
            _ if is_local_top(top) => Special::Local,
            _ if count == 1 => Special::Local,
            _ => Special::Ordinary,
        }
    }
}

/// Whether it is the very name of a zone of the local network, which the root does not have.
pub(super) fn is_local_zone(name: &[u8]) -> bool {
    let (count, [top, ..]) = last_labels(name);
    count == 1 && is_local_top(top)
}

/// RFC 6762; ICANN's name for private use; what routers use.
fn is_local_top(label: &[u8]) -> bool {
    matches!(label, b"local" | b"internal" | b"lan")
}

/// The answer for [`Special::Localhost`] (RFC 6761, 6.3).
pub fn localhost(query: &Query, limit: usize) -> Vec<u8> {
    let is_reverse = last_labels(query.name()).1[0] == b"arpa";
    if !is_reverse {
        let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return reply::addresses(query, &addresses, LOCALHOST_TTL, limit);
    }
    match Name::from_wire(b"\x09localhost\x00") {
        Some(name) if query.qtype() == rr::PTR => {
            reply::pointers(query, [&name], LOCALHOST_TTL, limit)
        }
        _ => reply::nodata(query, None, LOCALHOST_TTL),
    }
}

/// How many labels the name has, and its last four, the last one first.
fn last_labels(name: &[u8]) -> (usize, [&[u8]; 4]) {
    let mut last: [&[u8]; 4] = [b""; 4];
    let mut count = 0;
    let mut rest = name;
    while let Some((length, tail)) = rest.split_first()
        && *length > 0
        && let Some((label, tail)) = tail.split_at_checked(usize::from(*length))
    {
        last = [label, last[0], last[1], last[2]];
        count += 1;
        rest = tail;
    }
    (count, last)
}

fn under_arpa(name: &[u8]) -> Special {
    let (_, [_, zone, first, second]) = last_labels(name);
    let is_local = match zone {
        // RFC 8375.
        b"home" => true,
        // RFC 9462, 6.4: discovery of encrypted resolvers, of which we are none.
        b"resolver" => return Special::NoData,
        b"in-addr" if name == LOOPBACK_V4 => return Special::Localhost,
        b"in-addr" => is_local_v4(octet(first), octet(second)),
        b"ip6" => match (first, second) {
            // fc00::/7, fe80::/10.
            (b"f", b"c" | b"d") => true,
            (b"f", b"e") => matches!(third_nibble(name), Some(b'8' | b'9' | b'a' | b'b')),
            (b"0", b"0") => match unspecified_or_loopback(name) {
                Some(b'1') => return Special::Localhost,
                found => found.is_some(),
            },
            _ => false,
        },
        _ => false,
    };
    if is_local { Special::Local } else { Special::Ordinary }
}

/// 127.0.0.1, the other way round.
const LOOPBACK_V4: &[u8] = b"\x011\x010\x010\x03127\x07in-addr\x04arpa\x00";

/// RFC 6303, 4.1 and 4.2, RFC 7793. The documentation ranges are left out, as everywhere.
fn is_local_v4(first: Option<u8>, second: Option<u8>) -> bool {
    matches!(
        (first, second),
        (Some(0 | 10 | 127), _)
            | (Some(169), Some(254))
            | (Some(172), Some(16..=31))
            | (Some(192), Some(168))
            | (Some(100), Some(64..=127))
            | (Some(255), Some(255))
    )
}

fn octet(label: &[u8]) -> Option<u8> {
    std::str::from_utf8(label).ok()?.parse().ok()
}

/// The length of `ip6.arpa` in wire form.
const IP6_ARPA: usize = 10;

/// The third nibble of an address under ip6.arpa; nibbles are labels of one character, the first
/// one stands last.
fn third_nibble(name: &[u8]) -> Option<u8> {
    name.get(name.len().checked_sub(IP6_ARPA + 5)?).copied()
}

/// The last nibble, 0 or 1, if all others are 0: the addresses `::` and `::1`.
fn unspecified_or_loopback(name: &[u8]) -> Option<u8> {
    let nibbles = name.get(..name.len().checked_sub(IP6_ARPA)?)?;
    let (lowest, others) = nibbles.split_at_checked(2)?;
    let zeros = others.len() == 31 * 2 && others.chunks(2).all(|label| label == b"\x010");
    (zeros && lowest[0] == 1 && matches!(lowest[1], b'0' | b'1')).then_some(lowest[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::hosts::reverse_name;
    use crate::dns::wire::TCP_SIZE;
    use proptest::prelude::*;

    fn of(name: &str) -> Special {
        Special::of(name.parse::<Name>().unwrap().as_wire())
    }

    #[test]
    fn by_name() {
        use Special::*;
        for (name, expected) in [
            (".", Ordinary),
            ("example.com", Ordinary),
            ("a.test", Ordinary),
            ("mask.icloud.com", Ordinary),
            ("lan.example", Ordinary),
            ("notlan", Local),
            ("nas", Local),
            ("nas.lan", Local),
            ("a.b.internal", Local),
            ("printer.local", Local),
            ("router.home.arpa", Local),
            ("home.arpa", Local),
            ("away.arpa", Ordinary),
            ("localhost", Localhost),
            ("x.localhost", Localhost),
            ("localhost.example.com", Ordinary),
            ("invalid", NxDomain),
            ("a.onion", NxDomain),
            ("use-application-dns.net", NxDomain),
            ("www.use-application-dns.net", Ordinary),
            ("_dns.resolver.arpa", NoData),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
    }

    #[test]
    fn by_reversed_address() {
        use Special::*;
        for (address, expected) in [
            ("10.1.2.3", Local),
            ("127.0.0.1", Localhost),
            ("127.0.0.2", Local),
            ("169.254.1.1", Local),
            ("169.253.1.1", Ordinary),
            ("172.15.0.1", Ordinary),
            ("172.16.0.1", Local),
            ("172.31.0.1", Local),
            ("172.32.0.1", Ordinary),
            ("192.168.7.1", Local),
            ("192.0.2.1", Ordinary),
            ("100.64.0.1", Local),
            ("100.128.0.1", Ordinary),
            ("255.255.255.255", Local),
            ("8.8.8.8", Ordinary),
            ("::", Local),
            ("::1", Localhost),
            ("::2", Ordinary),
            ("1::1", Ordinary),
            ("fc00::1", Local),
            ("fd12::1", Local),
            ("fe80::1", Local),
            ("febf::1", Local),
            ("fec0::1", Ordinary),
            ("2001:db8::1", Ordinary),
            ("2400:3200::1", Ordinary),
        ] {
            let name = reverse_name(address.parse().unwrap());
            assert_eq!(Special::of(&name), expected, "{address}");
        }
        assert_eq!(of("10.in-addr.arpa"), Local);
        assert_eq!(of("in-addr.arpa"), Ordinary);
        assert_eq!(of("168.192.in-addr.arpa"), Local);
        assert_eq!(of("d.f.ip6.arpa"), Local);
        assert_eq!(of("e.f.ip6.arpa"), Ordinary);
    }

    #[test]
    fn localhost_is_answered() {
        let answer =
            |name: &str, qtype| localhost(&Query::new(&name.parse().unwrap(), qtype), TCP_SIZE);
        assert!(answer("a.localhost", rr::A).ends_with(&[127, 0, 0, 1]));
        assert!(answer("localhost", rr::AAAA).ends_with(&Ipv6Addr::LOCALHOST.octets()));
        assert!(answer("1.0.0.127.in-addr.arpa", rr::PTR).ends_with(b"\x09localhost\x00"));
        assert_eq!(answer("localhost", rr::HTTPS)[6..8], [0, 0]);
    }

    proptest! {
        #[test]
        fn any_name(
            labels in prop::collection::vec("[a-f0-9]{1,3}|arpa|ip6|in-addr|home|net", 0..40),
        ) {
            let mut wire = Vec::new();
            for label in labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend(label.bytes());
            }
            wire.push(0);
            let _ = Special::of(&wire);
            wire.truncate(wire.len() / 2);
            let _ = Special::of(&wire);
        }
    }
}
