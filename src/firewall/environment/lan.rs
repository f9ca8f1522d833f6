//! Router mode: which interfaces are the LAN side. Pure.
//!
//! An uplink is never captured by accident: an interface whose uplink state is in doubt stays an
//! uplink until it goes away, and a glob does not make one LAN side; its own name does (a machine
//! with one interface that routes for its neighbours).

use crate::family::Family;
use crate::firewall::error::Error;
use crate::firewall::network::{Network, NetworkLink};
use crate::firewall::policy::{LanPolicy, Policy};
use crate::firewall::third_party::{Hook, Packet, ThirdParty};
use crate::ipset::IpSet;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The LAN side as it is observed; empty in local mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LanSide {
    /// Its interfaces at present.
    pub interfaces: Vec<Interface>,
    /// The interfaces that have, or had, a default route.
    pub uplinks: BTreeSet<String>,
    /// The rules of other programs; `None`: they have not been read yet.
    pub(crate) third_party: Option<Arc<ThirdParty>>,
    /// What third-party rules forward nothing from.
    pub(crate) shut: Vec<Shut>,
}

/// An interface that is no LAN side in one family, since without us nothing would get out from
/// there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shut {
    name: String,
    family: Family,
    /// Where, and by which rule.
    why: String,
}

/// A LAN-side interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether packets redirected from here find a listener, in IPv4 and in IPv6.
    pub captured: [bool; 2],
    /// The prefixes on the link.
    pub on_link: IpSet,
    /// Whether it has ports, between which it passes on what is none of our business.
    pub is_bridge: bool,
}

impl Interface {
    fn observed(policy: &Policy, network: &Network, link: &NetworkLink) -> Self {
        let captured = Family::ALL.map(|family| {
            let primary = network.primary(link, family == Family::V4);
            // Without a listener there is no redirect, only rejects, which need none.
            primary.is_some_and(|primary| !policy.listens(family) || policy.listens_on(primary))
        });
        Interface {
            name: link.name.clone(),
            captured,
            on_link: network.on_link(link).collect(),
            is_bridge: link.is_bridge,
        }
    }

    /// Whether what comes in here is captured in this family.
    pub(in crate::firewall) fn captures(&self, family: Family) -> bool {
        self.captured[usize::from(family == Family::V6)]
    }
}

impl LanSide {
    /// Takes in the network as it is now. An uplink of before that has no default route at this
    /// moment is one still.
    ///
    /// # Errors
    /// [`Error::Unclear`]: nothing tells the uplink from the LAN.
    pub(super) fn observe(
        &mut self,
        wanted: &LanPolicy,
        policy: &Policy,
        network: &Network,
    ) -> Result<(), Error> {
        let links = || network.links.iter().filter(|link| !link.is_loopback());
        let there: BTreeSet<String> = links().map(|link| link.name.clone()).collect();
        self.uplinks.retain(|name| there.contains(name));
        self.uplinks.extend(network.uplinks());
        let is_clear = !wanted.patterns.is_empty() || !self.uplinks.is_empty();
        let candidates = links()
            .filter(|link| is_clear && self.has(wanted, &link.name) && !network.is_port(link))
            .map(|link| Interface::observed(policy, network, link));
        let routed_out = network.routed_out();
        let routed_out: Vec<String> = routed_out.union(&self.uplinks).cloned().collect();
        let (mut interfaces, mut shut) = (Vec::new(), Vec::new());
        for mut interface in candidates {
            let closed = self.closed(wanted, &interface, &routed_out);
            for closed in &closed {
                interface.captured[usize::from(closed.family == Family::V6)] = false;
            }
            shut.extend(closed);
            if interface.captured != [false; 2] {
                interfaces.push(interface);
            }
        }
        (self.interfaces, self.shut) = (interfaces, shut);
        if is_clear { Ok(()) } else { Err(Error::Unclear { there: Vec::from_iter(there) }) }
    }

    /// Whether an interface of this name belongs to the LAN side.
    fn has(&self, wanted: &LanPolicy, name: &str) -> bool {
        let is_uplink = self.uplinks.contains(name);
        match wanted.patterns.as_slice() {
            [] => !is_uplink,
            patterns => patterns.iter().any(|pattern| {
                pattern == name || !is_uplink && glob(pattern.as_bytes(), name.as_bytes())
            }),
        }
    }

    /// In which families nothing that begins at this interface would be forwarded. What is listed
    /// by its own name is served all the same.
    fn closed(&self, wanted: &LanPolicy, interface: &Interface, out: &[String]) -> Vec<Shut> {
        let Some(third_party) = &self.third_party else { return Vec::new() };
        let name = &interface.name;
        if wanted.patterns.contains(name) {
            return Vec::new();
        }
        let captured = Family::ALL.into_iter().filter(|family| interface.captures(*family));
        let shut = |family| {
            let packet = Packet { family, from: Some(name), out, to: None };
            let why = third_party.refusal(Hook::Forward, &packet)?;
            Some(Shut { name: name.clone(), family, why })
        };
        captured.filter_map(shut).collect()
    }

    /// Why this interface is no LAN side in this family although it might be.
    pub(in crate::firewall) fn why_shut(&self, name: &str, family: Family) -> Option<&str> {
        let mut shut = self.shut.iter().filter(|shut| shut.name == name && shut.family == family);
        shut.next().map(|shut| &*shut.why)
    }

    /// What the operator should know of the choice; one line each.
    pub(in crate::firewall) fn conflicts(&self, wanted: &LanPolicy) -> Vec<String> {
        let mut conflicts: Vec<String> =
            self.shut.iter().map(|shut| self.tell(wanted, shut)).collect();
        if self.interfaces.is_empty() && self.shut.is_empty() && wanted.patterns.is_empty() {
            conflicts.push(format!(
                "every interface with an address is an uplink ({}), so only this machine is \
                 captured; if LAN hosts are behind one of them, name it: \
                 firewall.interfaces = [\"...\"]",
                Vec::from_iter(self.uplinks.iter().map(String::as_str)).join(", ")
            ));
        }
        for pattern in &wanted.patterns {
            let names = self.interfaces.iter().map(|interface| interface.name.as_bytes());
            if !names.into_iter().any(|name| glob(pattern.as_bytes(), name)) {
                conflicts.push(format!(
                    "firewall.interfaces: nothing is captured from {pattern:?} at present: no such \
                     interface, none that has an address snet listens on, or an uplink, which \
                     counts only by its own name"
                ));
            }
        }
        conflicts
    }

    fn tell(&self, wanted: &LanPolicy, Shut { name, family, why }: &Shut) -> String {
        let mut named = wanted.patterns.clone();
        if named.is_empty() {
            named.extend(self.interfaces.iter().map(|at| at.name.clone()));
            named.retain(|known| known != name);
        }
        named.push(name.clone());
        format!(
            "nothing new from {name} is forwarded to the internet in {family}, so snet does not capture \
             it either ({why}); to serve {name} all the same: firewall.interfaces = {named:?}"
        )
    }

    /// `br-lan (IPv4, IPv6), docker0 (IPv4)`
    pub(in crate::firewall) fn describe(&self) -> String {
        let families = |interface: &Interface| {
            let captured = Family::ALL.into_iter().filter(|family| interface.captures(*family));
            captured.map(|family| family.to_string()).collect::<Vec<_>>().join(", ")
        };
        let interfaces = self.interfaces.iter();
        let shown: Vec<String> = interfaces
            .map(|interface| format!("{} ({})", interface.name, families(interface)))
            .collect();
        if shown.is_empty() { "none".into() } else { shown.join(", ") }
    }
}

/// `*` is any run of characters, `?` any one.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if glob(rest, name) => true,
        (Some((b'*', _)), Some((_, name))) => glob(pattern, name),
        (Some((b'?', pattern)), Some((_, name))) => glob(pattern, name),
        (Some((letter, pattern)), Some((other, name))) => letter == other && glob(pattern, name),
        _ => false,
    }
}

/// Every packet that comes in by an interface, whatever its source.
pub(in crate::firewall) fn anywhere(family: Family) -> IpNet {
    match family {
        Family::V4 => ipnet::Ipv4Net::default().into(),
        Family::V6 => ipnet::Ipv6Net::default().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::network::tests::{ETHERNET, TUNNEL, network};
    use crate::firewall::ruleset::Ruleset;
    use crate::firewall::tests::{ruleset, set};

    fn router(patterns: &[&str], listeners: &[&str]) -> Ruleset {
        let patterns = patterns.iter().map(|pattern| pattern.to_string()).collect();
        let listeners = listeners.iter().map(|address| address.parse().unwrap()).collect();
        ruleset().with(|policy| {
            policy.lan = Some(LanPolicy { patterns, ..LanPolicy::default() });
            policy.listeners = listeners;
        })
    }

    impl Ruleset {
        fn take_in(&mut self, network: &Network) -> Result<(), Error> {
            self.environment.observe(&self.policy, network)
        }

        fn conflicts(&self) -> Vec<String> {
            self.environment.lan.conflicts(self.policy.lan.as_ref().unwrap())
        }
    }

    fn house() -> Network {
        network(&[
            ("lo", 0x9, "127.0.0.1/8 ::1/128", ""),
            ("eth0", ETHERNET, "192.0.2.2/24", "0.0.0.0/0@gw"),
            ("br-lan", ETHERNET, "192.168.1.1/24 2001:db8:1::1/64 fe80::1/64", "203.0.113.9/32"),
            ("port0", ETHERNET, "fe80::2/64", ""),
            ("docker0", ETHERNET, "172.17.0.1/16", ""),
            ("eth1", ETHERNET, "", ""),
            ("wg0", TUNNEL, "10.7.0.1/24", ""),
        ])
    }

    fn names(ruleset: &Ruleset) -> Vec<&str> {
        let interfaces = ruleset.environment.lan.interfaces.iter();
        interfaces.map(|interface| interface.name.as_str()).collect()
    }

    #[test]
    fn all_but_uplinks_are_the_lan_side_unless_it_is_named() {
        for (patterns, expected) in [
            (&[][..], &["br-lan", "docker0", "wg0"][..]),
            (&["br-*"], &["br-lan"]),
            (&["?r-lan", "docker0"], &["br-lan", "docker0"]),
            (&["*"], &["br-lan", "docker0", "wg0"]),
            (&["eth0"], &["eth0"]),
            (&["eth?"], &[]),
            (&["*n*"], &["br-lan"]),
        ] {
            let mut ruleset = router(patterns, &["::"]);
            ruleset.take_in(&house()).unwrap();
            assert_eq!(names(&ruleset), expected, "{patterns:?}");
        }
    }

    #[test]
    fn a_family_counts_where_a_redirect_finds_a_listener() {
        let mut ruleset = router(&[], &["127.0.0.1", "::1", "192.168.1.1", "0.0.0.0"]);
        ruleset.take_in(&house()).unwrap();
        assert_eq!(ruleset.environment.lan.describe(), "br-lan (IPv4), docker0 (IPv4), wg0 (IPv4)");
        let mut ruleset = router(&[], &["127.0.0.1", "::1", "2001:db8:1::1"]);
        ruleset.take_in(&house()).unwrap();
        assert_eq!(ruleset.environment.lan.describe(), "br-lan (IPv6)");
    }

    #[test]
    fn what_is_on_the_links_is_exempt() {
        let mut ruleset = router(&[], &["::"]);
        ruleset.take_in(&house()).unwrap();
        let expected = "192.0.2.0/24 192.168.1.0/24 2001:db8:1::/64 fe80::/64 203.0.113.9/32 \
                        172.17.0.0/16 10.7.0.0/24";
        assert_eq!(ruleset.environment.connected, set(expected));
        let lan = &ruleset.environment.lan.interfaces[0];
        assert_eq!(lan.on_link, set("192.168.1.0/24 2001:db8:1::/64 fe80::/64 203.0.113.9/32"));
        assert!(lan.is_bridge);
    }

    #[test]
    fn without_a_default_route_the_operator_is_asked() {
        let mut island = house();
        island.routes.clear();
        let error = router(&[], &["::"]).take_in(&island).unwrap_err().to_string();
        assert!(error.contains("firewall.interfaces") && error.contains("br-lan"), "{error}");
        let mut named = router(&["br-lan"], &["::"]);
        named.take_in(&island).unwrap();
        assert_eq!(names(&named), ["br-lan"]);
    }

    #[test]
    fn an_uplink_that_loses_its_route_stays_one() {
        let mut ruleset = router(&[], &["::"]);
        ruleset.take_in(&house()).unwrap();
        let mut island = house();
        island.routes.clear();
        ruleset.take_in(&island).unwrap();
        assert_eq!(names(&ruleset), ["br-lan", "docker0", "wg0"]);
    }

    #[test]
    fn conflicts_are_told() {
        let mut ruleset = router(&["eth?", "br-lan"], &["::"]);
        ruleset.take_in(&house()).unwrap();
        let conflicts = ruleset.conflicts();
        assert!(conflicts.len() == 1 && conflicts[0].contains("\"eth?\""), "{conflicts:?}");
        let mut alone = router(&[], &["::"]);
        alone.take_in(&network(&[("eth0", ETHERNET, "192.0.2.2/24", "0.0.0.0/0@gw")])).unwrap();
        let conflicts = alone.conflicts();
        assert!(conflicts.len() == 1 && conflicts[0].contains("(eth0)"), "{conflicts:?}");
    }
}
