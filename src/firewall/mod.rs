//! What the kernel is told. Contract only; not written yet.

use std::net::IpAddr;

/// `firewall.ipv6`: what becomes of foreign IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// Redirected like IPv4.
    #[default]
    Proxy,
    /// Left alone.
    Direct,
    /// Foreign IPv6 is rejected, and foreign names get no AAAA.
    Block,
}

/// `firewall.quic`: what becomes of UDP 443 to foreign destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quic {
    /// Rejected by ICMP, so that browsers fall back to TCP at once.
    #[default]
    Reject,
    /// Left alone.
    Direct,
}

/// Silences the unused import until the module is written.
pub type Address = IpAddr;
