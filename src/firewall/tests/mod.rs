//! The rules on a real kernel, in namespaces of their own. Every test of traffic runs three times:
//! with iptables-nft, with iptables-legacy, and with nftables over netlink.
#![expect(
    clippy::disallowed_methods,
    reason = "these sockets play the strangers; they have no mark"
)]

mod backend;
mod bound;
mod coexistence;
mod exempt_programs;
mod flushes;
mod forwarding;
mod golden;
mod heartbeat;
mod installed;
mod lan_dns;
mod life_cycle;
mod natives;
mod nftables;
mod non_lan_hosts;
mod quiet;
mod replace;
mod router;
mod traffic;

use crate::firewall::environment::lan::{Interface, Lan};
use crate::firewall::exempt_programs::LeftAlone;
use crate::firewall::ruleset::{Ipv6, Quic, Ruleset};
use crate::firewall::switch::OnFailure;
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use ipnet::IpNet;

pub(super) fn set(text: &str) -> IpSet {
    text.split_whitespace().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect()
}

/// Small, with every set in use. The documentation ranges are the internet.
pub(super) fn ruleset() -> Ruleset {
    Ruleset {
        mark: Fwmark::SNET,
        tcp_port: 1111,
        dns_port: 1211,
        listeners: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        block: set("198.51.100.64/28 2001:db8:b::/48"),
        proxy: set("203.0.113.32/28 10.8.0.0/16 2001:db8:c:1::/64"),
        direct: set("198.51.100.32/28 2001:db8:d::/48"),
        servers: ["198.51.100.80", "198.51.100.81", "2001:db8:5::80"]
            .map(|address| address.parse().unwrap())
            .into(),
        reserved: crate::ipset::reserved(),
        china: std::sync::Arc::new(set("203.0.113.0/24 2001:db8:c::/48")),
        connected: set("192.0.2.0/24 2001:db8:2::/64"),
        link_local: Vec::new(),
        left_alone: LeftAlone::default(),
        lan: None,
        ipv6: Ipv6::Proxy,
        quic: Quic::Reject,
        on_failure: OnFailure::Open,
    }
}

/// A router with an uplink, a LAN bridge and a tunnel.
pub(super) fn router() -> Ruleset {
    let interface = |name: &str, captured, on_link, is_bridge| Interface {
        name: name.into(),
        captured,
        on_link: set(on_link),
        is_bridge,
    };
    let lan = Lan {
        patterns: Vec::new(),
        direct_sources: set("192.168.1.9/32 2001:db8:1::9/128"),
        interfaces: vec![
            interface("br-lan", [true, true], "192.168.1.0/24 2001:db8:1::/64 fe80::/64", true),
            interface("wg0", [true, false], "10.7.0.0/24", false),
        ],
        uplinks: ["eth0".into()].into(),
        ..Lan::default()
    };
    Ruleset {
        listeners: vec!["::".parse().unwrap()],
        link_local: vec![("br-lan".into(), "fe80::1".parse().unwrap())],
        lan: Some(lan),
        ..ruleset()
    }
}

/// The usual rules for the network as it is.
pub(super) fn router_of_the_network() -> Ruleset {
    of_the_network(Ruleset {
        listeners: vec!["::".parse().unwrap()],
        lan: Some(Lan::default()),
        ..ruleset()
    })
}

pub(super) fn of_the_network(mut ruleset: Ruleset) -> Ruleset {
    ruleset.look_around().unwrap();
    ruleset
}
