//! `firewall.offload`: at which interfaces forwarded domestic flows may take the kernel's short
//! way, or why at none. The decision is pure; what it is made of is read from the kernel.
//!
//! An interface belongs to one flowtable at most: a packet meets both, and which of them has its
//! flow would depend on who came first. So where another program has one already, there is none of
//! ours.

use crate::firewall::environment::lan::LanSide;
use crate::firewall::netlink::flowtables;
use crate::firewall::netlink::flowtables::ThirdPartyFlowtable;
use crate::firewall::network::Network;
use crate::firewall::policy::Policy;
use std::collections::BTreeSet;
use std::fmt::Display;

/// As it is observed; empty where it is not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffloadLimits {
    /// The interfaces of both sides at which packets of offloaded flows are looked for; none: there
    /// is no flowtable.
    pub(crate) devices: BTreeSet<String>,
    /// Why there are none although it is wanted, in words for the operator.
    pub(crate) obstacle: Option<String>,
    /// What the backend or the kernel lacks. It is the backend that finds it out; each observation
    /// keeps it.
    pub(crate) incapable: Option<String>,
}

impl OffloadLimits {
    /// Looks what this policy finds here.
    pub(super) fn observe(&mut self, policy: &Policy, lan: &LanSide, network: &Network) {
        if !policy.offloads() {
            *self = OffloadLimits { incapable: self.incapable.take(), ..OffloadLimits::default() };
            return;
        }
        // A kernel that cannot be asked has none, or none can be made in it.
        self.take_in(lan, network, &flowtables::third_party().unwrap_or_default());
    }

    fn take_in(&mut self, lan: &LanSide, network: &Network, third_party: &[ThirdPartyFlowtable]) {
        let inside: BTreeSet<String> = lan.interfaces.iter().map(|at| at.name.clone()).collect();
        let both = inside.union(&lan.uplinks).cloned().collect();
        self.obstacle = if inside.is_empty() || lan.uplinks.is_empty() {
            Some("there is no LAN side, or no uplink, at present".to_owned())
        } else {
            occupied(&both, network, third_party)
        };
        self.devices = if self.obstacle.is_some() { BTreeSet::new() } else { both };
    }

    /// There can be no flowtable, and why, without a stop at the end. To be said before anything is
    /// installed.
    pub(in crate::firewall) fn without(&mut self, why: &impl Display) {
        self.incapable = Some(why.to_string());
    }

    /// The devices of the flowtable, if there is to be one.
    pub(in crate::firewall) fn devices(&self) -> impl Iterator<Item = &str> {
        let devices = self.incapable.is_none().then_some(&self.devices);
        devices.into_iter().flatten().map(String::as_str)
    }

    /// Why there is none, if one was wanted.
    pub(in crate::firewall) fn told(&self, policy: &Policy) -> Option<String> {
        let why =
            self.incapable.as_ref().or(self.obstacle.as_ref()).filter(|_| policy.offloads())?;
        Some(format!("firewall.offload: forwarded domestic flows are not offloaded: {why}"))
    }

    /// What there is, in words; `None`: nothing is offloaded.
    pub(in crate::firewall) fn describe(&self) -> Option<String> {
        let devices: Vec<&str> = self.devices().collect();
        (!devices.is_empty()).then(|| {
            format!("forwarded domestic flows are offloaded between {}", devices.join(", "))
        })
    }
}

/// Which flowtable of another program has one of these devices, or a port of one that is a bridge
/// (fw4 names the ports).
fn occupied(
    devices: &BTreeSet<String>,
    network: &Network,
    third_party: &[ThirdPartyFlowtable],
) -> Option<String> {
    let index = |name: &str| network.links.iter().find(|link| link.name == name).map(|at| at.index);
    let bridges: Vec<u32> = devices.iter().filter_map(|name| index(name)).collect();
    let is_port = |name: &str| {
        let mut links = network.links.iter().filter(|link| link.name == name);
        links.any(|link| link.master.is_some_and(|master| bridges.contains(&master)))
    };
    third_party.iter().find_map(|ThirdPartyFlowtable { table, name, devices: theirs }| {
        let at = theirs.iter().find(|at| devices.contains(*at) || is_port(at))?;
        Some(format!(
            "nft table {table} has a flowtable ({name}) at {at} already, which offloads what its \
             own rules say"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::network::NetworkLink;
    use crate::firewall::tests::router;

    fn network() -> Network {
        let link = |index, name: &str, master| NetworkLink {
            index,
            name: name.into(),
            master,
            is_bridge: name == "br-lan",
            ..NetworkLink::default()
        };
        let links = vec![link(2, "br-lan", None), link(3, "lan1", Some(2)), link(4, "eth0", None)];
        Network { links, ..Network::default() }
    }

    fn theirs(devices: &[&str]) -> ThirdPartyFlowtable {
        let devices = devices.iter().map(|device| device.to_string()).collect();
        ThirdPartyFlowtable { table: "inet fw4".into(), name: "ft".into(), devices }
    }

    fn observed(third_party: &[ThirdPartyFlowtable]) -> OffloadLimits {
        let mut limits = OffloadLimits::default();
        limits.take_in(&router().environment.lan, &network(), third_party);
        limits
    }

    #[test]
    fn both_sides_are_looked_at() {
        let limits = observed(&[]);
        assert_eq!(limits.devices().collect::<Vec<_>>(), ["br-lan", "eth0", "wg0"]);
        assert_eq!(limits.obstacle, None);
    }

    #[test]
    fn a_flowtable_of_others_is_left_alone() {
        for (devices, expected) in [
            (&["eth0"][..], Some("eth0")),
            (&["lan9", "lan1"], Some("lan1")),
            (&["br-lan"], Some("br-lan")),
            (&["eth9"], None),
            (&[], None),
        ] {
            let limits = observed(&[theirs(&["dummy0"]), theirs(devices)]);
            let said = limits.obstacle.clone().unwrap_or_default();
            assert_eq!(limits.devices().next().is_none(), expected.is_some(), "{devices:?}");
            if let Some(at) = expected {
                assert!(said.contains("inet fw4") && said.contains(&format!("at {at} ")), "{said}");
            }
        }
    }

    #[test]
    fn a_side_that_is_missing_is_told() {
        let mut limits = OffloadLimits::default();
        limits.take_in(&LanSide::default(), &network(), &[]);
        assert!(limits.devices().next().is_none() && limits.obstacle.is_some());
    }

    #[test]
    fn what_the_kernel_lacks_stays_known_and_is_told_where_it_is_wanted() {
        let wanted = router().with(|policy| policy.lan.as_mut().unwrap().offload = true);
        let mut limits = observed(&[]);
        assert_eq!(limits.told(&wanted.policy), None);
        assert!(limits.describe().unwrap().ends_with("br-lan, eth0, wg0"));
        limits.without(&"no flowtables");
        limits.take_in(&router().environment.lan, &network(), &[]);
        assert!(limits.devices().next().is_none() && limits.describe().is_none());
        assert!(limits.told(&wanted.policy).unwrap().ends_with("not offloaded: no flowtables"));
        assert_eq!(limits.told(&router().policy), None, "nobody asked for it");
    }
}
