//! What keeps UDP from being captured here, although the policy wants it.

use super::lan::LanSide;
use crate::firewall::family::Family;
use crate::firewall::policy::Policy;
use crate::firewall::policy_routes;
use std::fs;
use std::path::Path;

/// As it is observed; empty where nothing is in the way, or no UDP is to be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramLimits {
    /// The families that the kernel cannot lead to a listener, and why, in words for the operator.
    pub(crate) unrouted: Vec<(Family, String)>,
    /// LAN-side bridges whose packets netfilter sees before they are routed (br_netfilter). TPROXY
    /// takes one, and loses it when it is handed on to the routing (ip_rcv_core): it would arrive
    /// nowhere (seen).
    pub(crate) bridges: Vec<(Family, String)>,
}

impl DatagramLimits {
    /// All of it, one line each.
    pub(in crate::firewall) fn told(&self) -> impl Iterator<Item = String> {
        let bridges = self.bridges.iter().map(|(family, bridge)| {
            let tool = family.tool();
            format!(
                "br_netfilter shows the firewall what comes in by {bridge} before it is routed, so \
                 {family} UDP of its hosts cannot be captured, and foreign one is rejected: \
                 sysctl -w net.bridge.bridge-nf-call-{tool}=0 && ip link set {bridge} type bridge \
                 nf_call_{tool} 0"
            )
        });
        self.unrouted.iter().map(|(_, why)| why.clone()).chain(bridges)
    }

    /// Looks what this policy finds here.
    pub(super) fn observe(&mut self, policy: &Policy, lan: &LanSide) {
        let wanted = Family::ALL.into_iter().filter(|family| policy.proxies_datagrams(*family));
        let wanted: Vec<Family> = wanted.collect();
        let unsupported = |family: &Family| Some((*family, policy_routes::unsupported(*family)?));
        self.unrouted = wanted.iter().filter_map(unsupported).collect();
        self.bridges = called_bridges(Path::new("/"), lan, &wanted);
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
        fs::remove_dir_all(root).unwrap();
    }
}
