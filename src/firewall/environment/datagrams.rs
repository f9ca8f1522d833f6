//! What keeps UDP from being captured here, although the policy wants it.

use super::lan::LanSide;
use crate::family::Family;
use crate::firewall::policy::Policy;
use crate::firewall::policy_routes;
use crate::firewall::third_party::from_tools::native_rules;
use crate::firewall::third_party::reverse_path::{self, ReversePath};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;

/// As it is observed; empty where nothing is in the way, or no UDP is to be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramLimits {
    /// The families that the kernel cannot lead to a listener, and why, in words for the operator.
    pub(crate) unrouted: Vec<(Family, String)>,
    /// The families of which the backend cannot capture any, and why: the kernel, or a tool, lacks
    /// a part. It is the backend that finds it out; each observation keeps it.
    pub(crate) incapable: Vec<(Family, String)>,
    /// LAN-side bridges whose packets netfilter sees before they are routed (br_netfilter). TPROXY
    /// takes one, and loses it when it is handed on to the routing (ip_rcv_core): it would arrive
    /// nowhere (seen).
    pub(crate) bridges: Vec<(Family, String)>,
    /// The chains that drop this machine's datagrams once TPROXY in the table mangle, so in
    /// iptables, has taken them (seen; nftables does it behind them). `None`: not read yet.
    pub(crate) reverse_path: Option<Vec<ReversePath>>,
}

impl DatagramLimits {
    /// All of it, one line each.
    pub(in crate::firewall) fn told(&self, policy: &Policy) -> impl Iterator<Item = String> {
        let instead = policy.instead_of_capture();
        let bridges = self.bridges.iter().map(move |(family, bridge)| {
            let tool = family.tool();
            format!(
                "br_netfilter shows the firewall what comes in by {bridge} before it is routed, so \
                 {family} UDP of its hosts cannot be captured, and foreign one {instead}: \
                 sysctl -w net.bridge.bridge-nf-call-{tool}=0 && ip link set {bridge} type bridge \
                 nf_call_{tool} 0"
            )
        });
        let unrouted = self.unrouted.iter().map(|(_, why)| why.clone());
        unrouted.chain(self.incapable(instead)).chain(bridges)
    }

    /// A line for each reason.
    fn incapable(&self, instead: &str) -> impl Iterator<Item = String> {
        let reasons: BTreeSet<&String> = self.incapable.iter().map(|(_, why)| why).collect();
        reasons.into_iter().map(move |why| {
            let mut families = self.incapable.iter().filter(|(_, other)| other == why);
            let which = match (families.next(), families.next()) {
                (Some((only, _)), None) => format!("{only} UDP"),
                _ => "UDP".to_owned(),
            };
            format!(
                "foreign {which} cannot be captured, and {instead}: {why}; \
                 firewall.udp = \"direct\" leaves it alone"
            )
        })
    }

    /// The backend cannot capture any datagram of these families, and why, without a stop at the
    /// end. To be said before anything is installed.
    pub(in crate::firewall) fn without(&mut self, families: &[Family], why: &impl Display) {
        let new = families.iter().filter(|family| !self.prevents(**family));
        let new: Vec<_> = new.map(|family| (*family, why.to_string())).collect();
        self.incapable.extend(new);
    }

    /// Whether no datagram of this family can be captured.
    pub(in crate::firewall) fn prevents(&self, family: Family) -> bool {
        let mut known = self.unrouted.iter().chain(&self.incapable);
        known.any(|(without, _)| *without == family)
    }

    /// Looks what this policy finds here.
    pub(super) fn observe(&mut self, policy: &Policy, lan: &LanSide) {
        let wanted = Family::ALL.into_iter().filter(|family| policy.proxies_datagrams(*family));
        let wanted: Vec<Family> = wanted.collect();
        if wanted.is_empty() {
            let incapable = std::mem::take(&mut self.incapable);
            *self = DatagramLimits { incapable, ..DatagramLimits::default() };
            return;
        }
        let unsupported = |family: &Family| Some((*family, policy_routes::unsupported(*family)?));
        self.unrouted = wanted.iter().filter_map(unsupported).collect();
        self.bridges = called_bridges(Path::new("/"), lan, &wanted);
        self.reverse_path.get_or_insert_with(|| reverse_path::find(&native_rules()));
    }

    /// [`observe`](Self::observe) reads third-party rules anew.
    pub(super) fn forget_third_party(&mut self) {
        self.reverse_path = None;
    }

    /// Whether what comes in by this interface would be lost.
    pub(in crate::firewall) fn loses(&self, interface: &str, family: Family) -> bool {
        self.bridges.iter().any(|(of, name)| *of == family && name == interface)
    }

    /// The first chain that drops this machine's datagrams of this family where iptables takes
    /// them.
    pub(in crate::firewall) fn reverse_path(&self, family: Family) -> Option<&ReversePath> {
        let mut chains = self.reverse_path.iter().flatten();
        chains.find(|chain| chain.families.contains(&family))
    }
}

/// The bridges of the LAN side for which a setting of the machine or their own calls the hooks of
/// IP (net/bridge/br_netfilter_hooks.c).
fn called_bridges(root: &Path, lan: &LanSide, families: &[Family]) -> Vec<(Family, String)> {
    let is_on =
        |file: String| fs::read_to_string(root.join(file)).is_ok_and(|value| value.trim() == "1");
    let is_called = |family: Family, name: &str| {
        let tool = family.tool();
        is_on(format!("proc/sys/net/bridge/bridge-nf-call-{tool}"))
            || is_on(format!("sys/class/net/{name}/bridge/nf_call_{tool}"))
    };
    let bridges = lan.interfaces.iter().filter(|at| at.is_bridge);
    let of_families = bridges.flat_map(|at| families.iter().map(move |family| (*family, at)));
    of_families
        .filter(|(family, at)| at.captures(*family) && is_called(*family, &at.name))
        .map(|(family, at)| (family, at.name.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::router;

    #[test]
    fn what_the_backend_lacks_is_told_once() {
        let mut limits = DatagramLimits::default();
        limits.without(&[Family::V6], &"no such match");
        assert!(limits.prevents(Family::V6) && !limits.prevents(Family::V4));
        let told: Vec<String> = limits.told(&router().policy).collect();
        assert!(told.len() == 1 && told[0].starts_with("foreign IPv6 UDP cannot"), "{told:?}");
        let mut limits = DatagramLimits::default();
        limits.without(&Family::ALL, &"no nft_tproxy");
        limits.without(&Family::ALL, &"no such match");
        let told: Vec<String> = limits.told(&router().policy).collect();
        assert!(told.len() == 1 && told[0].contains("foreign UDP cannot"), "{told:?}");
        assert!(told[0].contains("rejected: no nft_tproxy; firewall.udp"), "{told:?}");
        limits.observe(&router().policy, &LanSide::default());
        assert!(limits.prevents(Family::V4), "a look at the network does not change it");
    }

    #[test]
    fn a_bridge_whose_packets_netfilter_sees_loses_them() {
        let root = std::env::temp_dir().join(format!("snet-bridges-{}", std::process::id()));
        let write = |file: &str, value: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, value).unwrap();
        };
        let lan = router().environment.lan;
        let found = || called_bridges(&root, &lan, &Family::ALL);
        assert_eq!(found(), [], "no br_netfilter");
        write("proc/sys/net/bridge/bridge-nf-call-iptables", "0\n");
        write("proc/sys/net/bridge/bridge-nf-call-ip6tables", "1\n");
        assert_eq!(found(), [(Family::V6, "br-lan".to_owned())]);
        assert_eq!(called_bridges(&root, &lan, &[Family::V4]), []);
        write("sys/class/net/br-lan/bridge/nf_call_iptables", "1\n");
        write("sys/class/net/wg0/bridge/nf_call_iptables", "1\n");
        assert_eq!(found().len(), 2, "wg0 is no bridge: {:?}", found());
        let limits = DatagramLimits { bridges: found(), ..DatagramLimits::default() };
        assert!(limits.loses("br-lan", Family::V4) && !limits.loses("wg0", Family::V4));
        fs::remove_dir_all(root).unwrap();
    }
}
