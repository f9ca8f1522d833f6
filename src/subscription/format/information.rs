//! Entries that are no servers: "traffic left: 20 GB", dressed as one, so that every client shows
//! it.

use std::net::IpAddr;

/// Words of such names.
const WORDS: [&str; 14] = [
    "剩余",
    "流量",
    "到期",
    "过期",
    "套餐",
    "官网",
    "订阅",
    "重置",
    "续费",
    "traffic",
    "expire",
    "expiry",
    "remaining",
    "website",
];

/// The text for the customer, if this name is one.
pub(super) fn of(name: &str) -> Option<&str> {
    let lower = name.to_lowercase();
    WORDS.iter().any(|word| lower.contains(word)).then_some(name)
}

/// Whether no server of a provider can be there: this machine, or a place without an address of its
/// own.
pub(super) fn is_nowhere(host: &str) -> bool {
    let lower = host.to_ascii_lowercase();
    if lower == "localhost" || lower.ends_with(".localhost") {
        return true;
    }
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => {
            v4.is_loopback()
                || v4.octets()[0] == 0
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.octets()[0] >= 240
        }
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
        }
        Err(_) => false,
    }
}
