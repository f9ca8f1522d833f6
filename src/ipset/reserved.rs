//! Addresses that never leave the local networks.

use super::IpSet;
use ipnet::IpNet;

/// From the IANA special-purpose registries (RFC 6890 and what came after it).
///
/// The documentation ranges (192.0.2/24, 198.51.100/24, 203.0.113/24, 2001:db8::/32) are left out
/// on purpose: no network uses them, and laboratories use them as the internet. 64:ff9b::/96 is
/// left out too: behind a NAT64 it is the IPv4 internet, which needs the proxy. 6to4 (2002::/16)
/// and Teredo (2001::/32) are global addresses.
const RESERVED: &[&str] = &[
    "0.0.0.0/8",      // this network, RFC 791
    "10.0.0.0/8",     // private, RFC 1918
    "100.64.0.0/10",  // carrier-grade NAT, RFC 6598; tailscale lives here
    "127.0.0.0/8",    // loopback, RFC 1122
    "169.254.0.0/16", // link-local, RFC 3927
    "172.16.0.0/12",  // private, RFC 1918
    "192.0.0.0/24",   // protocol assignments, RFC 6890
    "192.168.0.0/16", // private, RFC 1918
    "198.18.0.0/15",  // benchmarks, RFC 2544
    "224.0.0.0/4",    // multicast, RFC 5771
    "240.0.0.0/4",    // future use and broadcast, RFC 1112, RFC 919
    "::/128",         // unspecified, RFC 4291
    "::1/128",        // loopback, RFC 4291
    "64:ff9b:1::/48", // NAT64 of private prefixes, RFC 8215
    "100::/64",       // discard, RFC 6666
    "fc00::/7",       // unique local, RFC 4193
    "fe80::/10",      // link-local, RFC 4291
    "fec0::/10",      // site-local of old, RFC 3879
    "ff00::/8",       // multicast, RFC 4291
];

/// So that a test sees an entry that does not parse.
#[cfg(test)]
pub(super) const COUNT: usize = RESERVED.len();

/// The addresses that never leave the local networks; the kernel lets them pass, and so does the
/// router.
pub fn reserved() -> IpSet {
    RESERVED.iter().filter_map(|prefix| prefix.parse::<IpNet>().ok()).collect()
}
