//! What keeps UDP from being captured, or its replies from coming back.

use super::{closed, shut};
use crate::family::Family;
use crate::firewall::environment::lan::LanSide;
use crate::firewall::names::CHAIN;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::third_party::reverse_path::tunnel_guards;
use crate::firewall::tools::Iptables;
use crate::mark::Fwmark;

/// The chains that drop this machine's own datagrams once iptables has taken them. Only for that
/// backend.
pub(super) fn reverse_path(ruleset: &Ruleset) -> Vec<String> {
    let is_concerned = |family: &Family| {
        ruleset.captures_datagrams(*family) && !ruleset.captures_own_datagrams_in_mangle(*family)
    };
    let chains = Family::ALL.into_iter().filter(is_concerned).filter_map(|family| {
        let found = ruleset.environment.datagrams.reverse_path(family)?;
        Some(format!(
            "{family} UDP of this machine is not captured, and foreign one {}: nft table {} \
             drops what iptables has taken, as it did not come in the way back; set \
             firewall.backend = \"nftables\", or nft insert rule {} {} iifname lo accept",
            ruleset.policy.instead_of_capture(),
            found.table,
            found.table,
            found.chain
        ))
    });
    chains.collect()
}

/// The chains of wg-quick that drop replies to this machine's programs: they come by `lo`, from
/// foreign addresses.
pub(super) fn tunnels(ruleset: &Ruleset, native: &str) -> Vec<String> {
    let is_concerned =
        |families: &[Family]| families.iter().any(|family| ruleset.captures_datagrams(*family));
    let guards = tunnel_guards(native).into_iter().filter(|guard| is_concerned(&guard.families));
    let told = guards.map(|guard| {
        format!(
            "nft table {} drops replies to UDP of this machine that was captured, where its source \
             is the tunnel's address: nft insert rule {} {} iifname lo accept",
            guard.table, guard.table, guard.chain
        )
    });
    told.collect()
}

/// The same of wg-quick with iptables: the rules of the table raw, as they are listed.
pub(super) fn tunnels_of_iptables(saved: &str) -> impl Iterator<Item = &str> {
    let raw = saved.lines().skip_while(|line| *line != "*raw");
    let rules: Vec<&str> = raw.take_while(|line| *line != "COMMIT").collect();
    let is_open = rules.iter().any(|rule| rule.contains(&to_replies()));
    let rules = rules.into_iter().filter_map(|line| line.strip_prefix("-A "));
    rules.filter(move |rule| {
        !is_open
            && rule.starts_with("PREROUTING ")
            && rule.contains("! -i ")
            && rule.contains("! --src-type LOCAL")
            && rule.ends_with("-j DROP")
    })
}

fn to_replies() -> String {
    format!("-i lo -m mark --mark {} -j ACCEPT", Fwmark::SNET)
}

/// What these tables of iptables drop. `opens`: our rules open INPUT themselves.
pub(super) fn of_tables(
    ruleset: &Ruleset,
    (family, tools): (Family, &Iptables),
    saved: &str,
    opens: bool,
) -> Vec<String> {
    if !ruleset.captures_datagrams(family) {
        return Vec::new();
    }
    let tunnels = tunnels_of_iptables(saved).map(|rule| {
        format!(
            "{tools}: the rule `{rule}` in table raw drops replies to UDP of this machine that was \
             captured: {tools} -t raw -I PREROUTING {}",
            to_replies()
        )
    });
    let lan = captured_lan(ruleset, family);
    let accept = format!("-m mark --mark {} -j ACCEPT", Fwmark::LAN_DATAGRAMS);
    let shut = shut(saved, &lan, accept.trim_start_matches("-m mark "));
    let shut = shut.filter(|_| !opens && !lets_in(saved));
    let shut = shut.map(|interface| {
        format!(
            "{tools} drops UDP that comes in by {interface} by policy, also what is captured, if \
             it is not accepted: {tools} -I INPUT {accept}"
        )
    });
    tunnels.chain(shut).collect()
}

/// Whether a rule of ours does it already.
fn lets_in(saved: &str) -> bool {
    let jump = format!("-A INPUT -p udp -m mark --mark {} -j {CHAIN}", Fwmark::LAN_DATAGRAMS);
    saved.lines().any(|line| line.starts_with(&jump))
}

/// Input chains of other tables that drop what is captured of LAN hosts.
pub(super) fn of_native(ruleset: &Ruleset, native: &str) -> Vec<String> {
    let captures = |family: &Family| ruleset.captures_datagrams(*family);
    let Some(family) = Family::ALL.into_iter().find(captures) else { return Vec::new() };
    let lan = captured_lan(ruleset, family);
    let mark = Fwmark::LAN_DATAGRAMS.value();
    // As nft lists it.
    let listed = format!("{mark:#010x}");
    let told = closed(native, &lan, &listed);
    let told = told.map(|(table, chain, interface)| {
        format!(
            "nft table {table} drops UDP that comes in by {interface}, also what is captured, \
             unless a rule of its own accepts it: nft insert rule {table} {chain} meta mark and \
             {mark:#x} != 0 accept"
        )
    });
    told.collect()
}

/// The interfaces whose UDP of this family is captured.
fn captured_lan(ruleset: &Ruleset, family: Family) -> LanSide {
    let interfaces = ruleset.environment.lan.interfaces.iter();
    let captured = interfaces.filter(|at| ruleset.captures_datagrams_from(at, family));
    LanSide { interfaces: captured.cloned().collect(), ..LanSide::default() }
}

/// Looks for every conflict in this text. For `reading`.
pub(super) fn read(text: &str) {
    let _ = (tunnels_of_iptables(text).count(), tunnel_guards(text));
    let _ = crate::firewall::third_party::reverse_path::find(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::policy::Datagrams;
    use crate::firewall::tests::router;
    use crate::firewall::third_party::reverse_path::ReversePath;

    fn capturing() -> Ruleset {
        router().with(|policy| policy.udp = Datagrams::Proxy)
    }

    #[test]
    fn a_chain_behind_iptables_is_told_with_both_ways_out() {
        let mut ruleset = capturing();
        assert_eq!(reverse_path(&ruleset), [] as [String; 0]);
        let (table, chain) = ("inet firewalld".into(), "filter_PREROUTING".into());
        let found = ReversePath { table, chain, families: vec![Family::V6] };
        ruleset.environment.datagrams.reverse_path = Some(vec![found]);
        let told = reverse_path(&ruleset);
        assert!(told.len() == 1 && told[0].starts_with("IPv6 UDP of this machine"), "{told:?}");
        let remedy = "nft insert rule inet firewalld filter_PREROUTING iifname lo accept";
        assert!(told[0].contains(remedy) && told[0].contains("firewall.backend"), "{told:?}");
        assert!(!ruleset.captures_own_datagrams_in_mangle(Family::V6));
        assert!(ruleset.captures_own_datagrams_in_mangle(Family::V4));
    }

    #[test]
    fn a_tunnel_that_drops_replies() {
        let rule = "PREROUTING -d 10.66.0.2/32 ! -i wg0 -m addrtype ! --src-type LOCAL -m comment \
                    --comment \"wg-quick(8) rule for wg0\" -j DROP";
        let saved = format!("*raw\n:PREROUTING ACCEPT [0:0]\n-A {rule}\nCOMMIT\n");
        assert_eq!(tunnels_of_iptables(&saved).collect::<Vec<_>>(), [rule]);
        let mended = saved.replace("-A ", &format!("-A PREROUTING {}\n-A ", to_replies()));
        assert_eq!(tunnels_of_iptables(&mended).count(), 0);
        assert_eq!(tunnels_of_iptables(&saved.replace("*raw", "*mangle")).count(), 0);
        let native = "table ip wg-quick-wg0 {\n\tchain preraw {\n\t\ttype filter hook prerouting \
            priority raw; policy accept;\n\t\tiifname != \"wg0\" ip daddr 10.66.0.2 fib saddr type \
            != local drop\n\t}\n}\n";
        let told = tunnels(&capturing(), native);
        let remedy = "nft insert rule ip wg-quick-wg0 preraw iifname lo accept";
        assert!(told.len() == 1 && told[0].ends_with(remedy), "{told:?}");
        assert_eq!(tunnels(&router(), native), [] as [String; 0], "no UDP is captured");
    }

    #[test]
    fn input_chains_that_drop_what_is_captured() {
        let fw4 = include_str!("../tests/coexistence/fw4.nft");
        let told = of_native(&capturing(), fw4);
        let remedy = "nft insert rule inet fw4 input meta mark and 0x2000000 != 0 accept";
        assert!(told.len() == 1 && told[0].contains("wg0"), "{told:?}");
        assert!(told[0].ends_with(remedy), "{told:?}");
        // As nft lists it.
        let mark = "meta mark & 0x02000000 != 0x00000000 accept";
        assert_eq!(of_native(&capturing(), &fw4.replace("iif \"lo\" accept", mark)).len(), 0);
        assert_eq!(of_native(&router(), fw4), [] as [String; 0], "no UDP is captured");
        let firewalld = include_str!("../tests/coexistence/firewalld.nft");
        let told = of_native(&capturing(), firewalld);
        let remedy =
            "nft insert rule inet firewalld filter_INPUT meta mark and 0x2000000 != 0 accept";
        assert!(told.iter().any(|told| told.ends_with(remedy)), "{told:?}");
        let lan = router().environment.lan;
        let saved = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n";
        let accept = format!("--mark {} -j ACCEPT", Fwmark::LAN_DATAGRAMS);
        assert_eq!(shut(saved, &lan, &accept), Some("br-lan"));
        let mended = saved.replace("COMMIT", &format!("-A INPUT -m mark {accept}\nCOMMIT"));
        assert_eq!(shut(&mended, &lan, &accept), None);
    }
}
