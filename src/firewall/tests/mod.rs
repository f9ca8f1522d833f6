//! The rules on a real kernel, in namespaces of their own. Every test of traffic runs three times:
//! with iptables-nft, with iptables-legacy, and with nftables over netlink.
#![expect(
    clippy::disallowed_methods,
    reason = "these sockets play the strangers; they have no mark"
)]

mod backend;
mod bound;
mod coexistence;
mod counted;
mod datagrams;
mod exempt_programs;
mod explained;
mod flushes;
mod forwarding;
mod golden;
mod heartbeat;
mod installed;
mod ladder;
mod lan_dns;
mod life_cycle;
mod natives;
mod nftables;
mod non_lan_hosts;
mod older_flows;
mod policy_routes;
mod queries;
mod quiet;
mod replace;
mod router;
mod traffic;

use crate::exempt_programs::ExemptPrograms;
use crate::firewall::environment::Environment;
use crate::firewall::environment::lan::{Interface, LanSide};
use crate::firewall::policy::{Datagrams, Ipv6, LanPolicy, Policy};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::switch::OnFailure;
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use crate::route::Rules;
use ipnet::IpNet;
use std::sync::Arc;

pub(super) fn set(text: &str) -> IpSet {
    text.split_whitespace().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect()
}

/// Small, with every set in use. The documentation ranges are the internet.
pub(super) fn ruleset() -> Ruleset {
    let rules = Rules {
        block: set("198.51.100.64/28 2001:db8:b::/48"),
        proxy: set("203.0.113.32/28 10.8.0.0/16 2001:db8:c:1::/64"),
        direct: set("198.51.100.32/28 2001:db8:d::/48"),
        reserved: crate::ipset::reserved(),
        china: Arc::new(set("203.0.113.0/24 2001:db8:c::/48")),
        ..Rules::default()
    };
    let policy = Policy {
        mark: Fwmark::SNET,
        tcp_port: 1111,
        dns_port: 1211,
        listeners: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        rules: Arc::new(rules),
        exempt: ExemptPrograms::default(),
        lan: None,
        ipv6: Ipv6::Proxy,
        quic: Datagrams::Reject,
        udp: Datagrams::Direct,
        uncapturable_udp: Datagrams::Reject,
        udp_port: 1111,
        on_failure: OnFailure::Open,
        counts_direct: false,
    };
    let environment = Environment {
        servers: ["198.51.100.80", "198.51.100.81", "2001:db8:5::80"]
            .map(|address| address.parse().unwrap())
            .into(),
        connected: set("192.0.2.0/24 2001:db8:2::/64"),
        ..Environment::default()
    };
    Ruleset { policy: Arc::new(policy), environment }
}

/// A router with an uplink, a LAN bridge and a tunnel.
pub(super) fn router() -> Ruleset {
    let interface = |name: &str, captured, on_link, is_bridge| Interface {
        name: name.into(),
        captured,
        on_link: set(on_link),
        is_bridge,
    };
    let direct_sources = set("192.168.1.9/32 2001:db8:1::9/128");
    let lan = LanSide {
        interfaces: vec![
            interface("br-lan", [true, true], "192.168.1.0/24 2001:db8:1::/64 fe80::/64", true),
            interface("wg0", [true, false], "10.7.0.0/24", false),
        ],
        uplinks: ["eth0".into()].into(),
        ..LanSide::default()
    };
    let mut ruleset = ruleset().with(|policy| {
        policy.listeners = vec!["::".parse().unwrap()];
        policy.lan = Some(LanPolicy { direct_sources, ..LanPolicy::default() });
    });
    ruleset.environment.link_local = vec![("br-lan".into(), "fe80::1".parse().unwrap())];
    ruleset.environment.lan = lan;
    ruleset
}

/// Fixtures that differ in a few fields.
impl Ruleset {
    pub(super) fn with(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(Arc::make_mut(&mut self.policy));
        self
    }

    pub(super) fn with_rules(self, change: impl FnOnce(&mut Rules)) -> Self {
        self.with(|policy| change(Arc::make_mut(&mut policy.rules)))
    }

    /// In the network as it is.
    pub(super) fn surveyed(self) -> Self {
        Ruleset::survey((*self.policy).clone(), self.environment.servers).unwrap()
    }
}

/// The usual rules for the network as it is.
pub(super) fn router_of_the_network() -> Ruleset {
    of_the_network(ruleset().with(|policy| {
        policy.listeners = vec!["::".parse().unwrap()];
        policy.lan = Some(LanPolicy::default());
    }))
}

pub(super) fn of_the_network(ruleset: Ruleset) -> Ruleset {
    ruleset.surveyed()
}
