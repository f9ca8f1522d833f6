//! Router mode: which interfaces are the LAN side, and what lies around this machine. Pure, but
//! for [`Ruleset::look_around`], which asks the kernel.
//!
//! An uplink is never captured by accident: an interface whose uplink state is in doubt stays an
//! uplink until it goes away, and a glob does not make one LAN side; its own name does (a machine
//! with one interface that routes for its neighbours).

use crate::firewall::error::Error;
use crate::firewall::family::Family;
use crate::firewall::netlink::route;
use crate::firewall::network::{Link, Network};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::third_party::{Hook, Others, Packet};
use crate::ipset::IpSet;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use tracing::warn;

/// What router mode needs beyond local mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lan {
    /// `firewall.interfaces`: names and globs (`*`, `?`). Empty: all interfaces but the uplinks.
    pub patterns: Vec<String>,
    /// `rules.direct-sources`: these hosts escape everything, DNS too.
    pub direct_sources: IpSet,
    /// The LAN side at present; [`Ruleset::look_around`] fills it in.
    pub interfaces: Vec<Interface>,
    /// The interfaces that have, or had, a default route; [`Ruleset::look_around`] fills it in.
    pub uplinks: BTreeSet<String>,
    /// The rules of others; `None`: nobody has looked yet. [`Ruleset::look_around`] fills it in.
    pub(crate) others: Option<Arc<Others>>,
    /// What others' rules forward nothing from; [`Ruleset::look_around`] fills it in.
    pub(crate) shut: Vec<Shut>,
}

/// An interface that is no LAN side in one family, since without us nothing would get out from there.
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
    /// Whether what comes in here is captured in this family.
    pub(in crate::firewall) fn captures(&self, family: Family) -> bool {
        self.captured[usize::from(family == Family::V6)]
    }
}

impl Ruleset {
    /// Reads from the kernel what the rules depend on: which cgroups there are, the prefixes on the
    /// links of this machine, and in router mode the interfaces of the LAN side. In local mode a failure costs no more
    /// than an exemption, and is a warning.
    ///
    /// # Errors
    /// In router mode: what the kernel says, or nothing tells the uplink from the LAN.
    pub fn look_around(&mut self) -> Result<(), Error> {
        if let Some(lan) = &mut self.lan {
            lan.others.get_or_insert_with(|| Arc::new(Others::look()));
        }
        self.left_alone.look();
        match route::survey() {
            Ok(network) => self.take_in(&network),
            Err(source) if self.lan.is_some() => Err(Error::Survey { source }),
            Err(error) => {
                warn!(
                    "cannot read the interfaces' addresses ({error}); on-link hosts with public \
                     addresses are not exempted"
                );
                Ok(())
            }
        }
    }

    /// [`look_around`](Self::look_around) reads the rules of others anew.
    pub(in crate::firewall) fn forget_others(&mut self) {
        if let Some(lan) = &mut self.lan {
            lan.others = None;
        }
    }

    /// An uplink of before that has no default route at this moment (it is being redialled) is one
    /// still.
    ///
    /// # Errors
    /// As [`look_around`](Self::look_around).
    pub(in crate::firewall) fn keep_uplinks(&mut self, old: &Ruleset) -> Result<(), Error> {
        let (Some(lan), Some(old)) = (&mut self.lan, &old.lan) else { return Ok(()) };
        if old.uplinks.is_subset(&lan.uplinks) {
            return Ok(());
        }
        lan.uplinks.extend(old.uplinks.iter().cloned());
        self.look_around()
    }

    /// Takes over what another one found when it looked around.
    pub(in crate::firewall) fn look_like(&mut self, other: &Ruleset) {
        self.connected.clone_from(&other.connected);
        self.link_local.clone_from(&other.link_local);
        self.left_alone.clone_from(&other.left_alone);
        self.lan.clone_from(&other.lan);
    }

    pub(in crate::firewall) fn take_in(&mut self, network: &Network) -> Result<(), Error> {
        let links = || network.links.iter().filter(|link| !link.is_loopback());
        self.connected = links().flat_map(|link| network.on_link(link)).collect();
        if self.listens_link_local() {
            self.link_local = network.link_local();
        }
        let Some(mut lan) = self.lan.take() else { return Ok(()) };
        let there: BTreeSet<String> = links().map(|link| link.name.clone()).collect();
        lan.uplinks.retain(|name| there.contains(name));
        lan.uplinks.extend(network.uplinks());
        let is_clear = !lan.patterns.is_empty() || !lan.uplinks.is_empty();
        let candidates = links()
            .filter(|link| is_clear && lan.has(&link.name) && !network.is_port(link))
            .map(|link| self.interface(network, link));
        let ways_out = network.ways_out();
        let ways_out: Vec<String> = ways_out.union(&lan.uplinks).cloned().collect();
        let (mut interfaces, mut shut) = (Vec::new(), Vec::new());
        for mut interface in candidates {
            let closed = lan.closed(&interface, &ways_out);
            for closed in &closed {
                interface.captured[usize::from(closed.family == Family::V6)] = false;
            }
            shut.extend(closed);
            if interface.captured != [false; 2] {
                interfaces.push(interface);
            }
        }
        (lan.interfaces, lan.shut) = (interfaces, shut);
        self.lan = Some(lan);
        if is_clear { Ok(()) } else { Err(Error::Unclear { there: Vec::from_iter(there) }) }
    }

    fn interface(&self, network: &Network, link: &Link) -> Interface {
        let captured = Family::ALL.map(|family| {
            let primary = network.primary(link, family == Family::V4);
            // Without a listener there is no redirect, only rejects, which need none.
            primary.is_some_and(|primary| !self.listens(family) || self.listens_on(primary))
        });
        Interface {
            name: link.name.clone(),
            captured,
            on_link: network.on_link(link).collect(),
            is_bridge: link.is_bridge,
        }
    }

    fn listens_on(&self, address: IpAddr) -> bool {
        let any = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
        self.listeners.iter().any(|listener| {
            *listener == any
                || *listener == address
                || listener.is_unspecified() && address.is_ipv4() && listener.is_ipv4()
        })
    }
}

impl Lan {
    /// Whether an interface of this name belongs to the LAN side.
    fn has(&self, name: &str) -> bool {
        let is_uplink = self.uplinks.contains(name);
        match self.patterns.as_slice() {
            [] => !is_uplink,
            patterns => patterns.iter().any(|pattern| {
                pattern == name || !is_uplink && glob(pattern.as_bytes(), name.as_bytes())
            }),
        }
    }

    /// In which families nothing that begins at this interface would be forwarded. What is listed by
    /// its own name shall be served all the same.
    fn closed(&self, interface: &Interface, ways_out: &[String]) -> Vec<Shut> {
        let Some(others) = &self.others else { return Vec::new() };
        let name = &interface.name;
        if self.patterns.contains(name) {
            return Vec::new();
        }
        let captured = Family::ALL.into_iter().filter(|family| interface.captures(*family));
        let shut = |family| {
            let packet = Packet { family, from: Some(name), out: ways_out, to: None };
            let why = others.refusal(Hook::Forward, &packet)?;
            Some(Shut { name: name.clone(), family, why })
        };
        captured.filter_map(shut).collect()
    }

    /// What the operator should know of the choice; one line each.
    pub(in crate::firewall) fn doubts(&self) -> Vec<String> {
        let mut doubts: Vec<String> = self.shut.iter().map(|shut| self.tell(shut)).collect();
        if self.interfaces.is_empty() && self.shut.is_empty() && self.patterns.is_empty() {
            doubts.push(format!(
                "every interface with an address is an uplink ({}), so only this machine is \
                 captured; if LAN hosts are behind one of them, name it: \
                 firewall.interfaces = [\"...\"]",
                Vec::from_iter(self.uplinks.iter().map(String::as_str)).join(", ")
            ));
        }
        for pattern in &self.patterns {
            let names = self.interfaces.iter().map(|interface| interface.name.as_bytes());
            if !names.into_iter().any(|name| glob(pattern.as_bytes(), name)) {
                doubts.push(format!(
                    "firewall.interfaces: nothing is captured from {pattern:?} at present: no such \
                     interface, none that has an address snet listens on, or an uplink, which \
                     counts only by its own name"
                ));
            }
        }
        doubts
    }

    fn tell(&self, Shut { name, family, why }: &Shut) -> String {
        let mut named = self.patterns.clone();
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
    use crate::firewall::tests::{ruleset, set};

    fn router(patterns: &[&str], listeners: &[&str]) -> Ruleset {
        let patterns = patterns.iter().map(|pattern| pattern.to_string()).collect();
        let listeners = listeners.iter().map(|address| address.parse().unwrap()).collect();
        Ruleset { lan: Some(Lan { patterns, ..Lan::default() }), listeners, ..ruleset() }
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
        let interfaces = ruleset.lan.as_ref().unwrap().interfaces.iter();
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
        assert_eq!(
            ruleset.lan.as_ref().unwrap().describe(),
            "br-lan (IPv4), docker0 (IPv4), wg0 (IPv4)"
        );
        let mut ruleset = router(&[], &["127.0.0.1", "::1", "2001:db8:1::1"]);
        ruleset.take_in(&house()).unwrap();
        assert_eq!(ruleset.lan.as_ref().unwrap().describe(), "br-lan (IPv6)");
    }

    #[test]
    fn what_is_on_the_links_is_exempt() {
        let mut ruleset = router(&[], &["::"]);
        ruleset.take_in(&house()).unwrap();
        let expected = "192.0.2.0/24 192.168.1.0/24 2001:db8:1::/64 fe80::/64 203.0.113.9/32 \
                        172.17.0.0/16 10.7.0.0/24";
        assert_eq!(ruleset.connected, set(expected));
        let lan = &ruleset.lan.as_ref().unwrap().interfaces[0];
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
    fn doubts_are_told() {
        let mut ruleset = router(&["eth?", "br-lan"], &["::"]);
        ruleset.take_in(&house()).unwrap();
        let doubts = ruleset.lan.unwrap().doubts();
        assert!(doubts.len() == 1 && doubts[0].contains("\"eth?\""), "{doubts:?}");
        let mut alone = router(&[], &["::"]);
        alone.take_in(&network(&[("eth0", ETHERNET, "192.0.2.2/24", "0.0.0.0/0@gw")])).unwrap();
        let doubts = alone.lan.unwrap().doubts();
        assert!(doubts.len() == 1 && doubts[0].contains("(eth0)"), "{doubts:?}");
    }
}
