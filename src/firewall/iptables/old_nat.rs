//! nat of iptables-nft on an old kernel.
//!
//! Before Linux 4.18 (9971a514ed26) a chain of nat in nf_tables translates at its own hook alone.
//! Without one at POSTROUTING replies are not translated back, and without one at INPUT what takes
//! the place of a used port is not given another. iptables makes no chain that it is not told of:
//! so it is told of both, unless somebody else has one there. Of two the first one settles what a
//! connection's source becomes, and the other's masquerade would be passed over.

use crate::family::Family;
use crate::firewall::netlink::nat_chains;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::tools::Iptables;
use crate::firewall::tools::kernel::is_before;

const NAT_IS_ONE: (u32, u32) = (4, 18);

/// These rules as far as nat can.
pub(super) fn possible(ruleset: Ruleset, tools: &[(Family, Iptables)]) -> Ruleset {
    let beside_another = tools
        .iter()
        .filter(|(family, tools)| is_old(tools) && is_elsewhere(*family, tools))
        .map(|(family, _)| *family);
    let beside_another: Vec<Family> = beside_another.collect();
    beside_masquerade(ruleset, &beside_another)
}

/// The rules of captured UDP of the LAN side have a chain at POSTROUTING, which beside somebody
/// else's would take its masquerade away. Pure.
fn beside_masquerade(mut ruleset: Ruleset, families: &[Family]) -> Ruleset {
    for family in families {
        if ruleset.policy.lan.is_some() && ruleset.captures_datagrams(*family) {
            let why = "before Linux 4.18 its rules would pass over the masquerade of another table \
                       (`nft list ruleset` shows the chain at postrouting)";
            ruleset.environment.datagrams.without(&[*family], &why);
        }
    }
    ruleset
}

/// The text of an installation, with what this kernel has to be told beside.
pub(super) fn completed(text: String, family: Family, tools: &Iptables) -> String {
    if wants_chains(family, tools) { with_chains(&text) } else { text }
}

/// Whether nat lacks a chain that this kernel wants.
pub(super) fn is_incomplete(saved: &str, family: Family, tools: &Iptables) -> bool {
    lacks_chains(saved) && wants_chains(family, tools)
}

fn wants_chains(family: Family, tools: &Iptables) -> bool {
    is_old(tools) && !is_elsewhere(family, tools)
}

fn is_old(tools: &Iptables) -> bool {
    is_before(NAT_IS_ONE) && !tools.is_legacy()
}

/// Whether another table has nat at POSTROUTING.
fn is_elsewhere(family: Family, tools: &Iptables) -> bool {
    tools.is_nat_of_legacy_there() || nat_chains::are_elsewhere(family).unwrap_or(false)
}

fn lacks_chains(saved: &str) -> bool {
    let nat = saved.lines().skip_while(|line| *line != "*nat").take_while(|line| *line != "COMMIT");
    let told = nat.filter(|line| line.starts_with(":INPUT ") || line.starts_with(":POSTROUTING "));
    told.count() < 2
}

fn with_chains(text: &str) -> String {
    text.replace("*nat\n", "*nat\n:INPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::policy::Datagrams;
    use crate::firewall::tests::{router, ruleset};

    #[test]
    fn no_datagrams_of_a_lan_beside_anothers_masquerade() {
        let proxied = |ruleset: Ruleset| ruleset.with(|policy| policy.udp = Datagrams::Proxy);
        let captured =
            |ruleset: &Ruleset| Family::ALL.map(|family| ruleset.captures_datagrams(family));
        let [v4, v6] = Family::ALL;
        let router = || proxied(router());
        assert_eq!(captured(&beside_masquerade(router(), &[])), [true, true]);
        assert_eq!(captured(&beside_masquerade(router(), &[v4])), [false, true]);
        assert_eq!(captured(&beside_masquerade(router(), &[v6])), [true, false]);
        let desktop = beside_masquerade(proxied(ruleset()), &[v4, v6]);
        assert_eq!(captured(&desktop), [true, true], "it has no chain there");
    }

    #[test]
    fn only_nat_gets_chains() {
        let text = "*mangle\n:X - [0:0]\nCOMMIT\n*nat\n:X - [0:0]\nCOMMIT\n";
        let told = "*mangle\n:X - [0:0]\nCOMMIT\n*nat\n:INPUT ACCEPT [0:0]\n\
                    :POSTROUTING ACCEPT [0:0]\n:X - [0:0]\nCOMMIT\n";
        assert_eq!(with_chains(text), told);
        assert!(lacks_chains(text) && !lacks_chains(told));
        let one = "*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n";
        assert!(lacks_chains(one) && lacks_chains(""));
    }
}
