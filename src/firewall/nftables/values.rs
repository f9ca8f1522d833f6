//! Values as the kernel's registers hold them.

use crate::family::Family;
use std::net::IpAddr;

/// The bytes of a connection's labels.
pub(super) const LABELS: usize = 16;

/// One of them alone. They are words in the machine's own order.
pub(super) fn label_bits(label: u8) -> [u8; LABELS] {
    let mut bits = [0; LABELS];
    let word = usize::from(label / 32) * 4;
    bits[word..word + 4].copy_from_slice(&(1u32 << (label % 32)).to_ne_bytes());
    bits
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// NFPROTO_IPV4 or NFPROTO_IPV6 (linux/netfilter.h).
pub(super) fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}
