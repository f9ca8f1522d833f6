//! Router mode in iptables: the chains of what LAN hosts send. Pure.

use super::matches::{in_set, inactive, marked};
use super::table::{IptablesChain, LAN, LAN_DNS, TCP};
use crate::family::Family;
use crate::firewall::names::ZONE;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;

/// Their queries get the zone. `other`: the target of what is no query.
pub(super) fn raw(ruleset: &Ruleset, family: Family, dns: bool, other: &str) -> IptablesChain {
    let mut rules = vec![format!("-p udp ! --dport 53 {other}")];
    if !dns {
        return IptablesChain { name: LAN, rules };
    }
    rules.push(inactive(family));
    rules.extend(of_the_lan(family));
    rules.push(marked(ruleset));
    rules.extend(unasked(family));
    rules.push(format!("-j CT --zone {ZONE}"));
    IptablesChain { name: LAN, rules }
}

/// Redirects, which lead to the interface by which the packet came in.
pub(super) fn nat(ruleset: &Ruleset, family: Family, foreign_tcp: bool) -> [IptablesChain; 2] {
    let mut rules = vec![inactive(family)];
    rules.extend(of_the_lan(family));
    rules.push(marked(ruleset));
    rules.extend([
        format!("-p udp --dport 53 -j {LAN_DNS}"),
        format!("-p tcp --dport 53 --syn -j {LAN_DNS}"),
    ]);
    if foreign_tcp {
        rules.push(format!("-p tcp --syn -j {TCP}"));
    }
    let mut queries = unasked(family).to_vec();
    queries.extend(["udp", "tcp"].map(|protocol| {
        format!("-p {protocol} -j REDIRECT --to-ports {}", ruleset.policy.dns_port)
    }));
    [IptablesChain { name: LAN, rules }, IptablesChain { name: LAN_DNS, rules: queries }]
}

/// Lets go what is none of the LAN side's: what comes in elsewhere, and the hosts that are left
/// alone.
pub(super) fn of_the_lan(family: Family) -> [String; 2] {
    let (lan, sources) = (Set::Lan.name(family), Set::Sources.name(family));
    [
        format!("-m set ! --match-set {lan} src,src -j RETURN"),
        format!("-m set --match-set {sources} src -j RETURN"),
    ]
}

/// Lets go the queries of the LAN side that are not ours to answer: to an address in
/// `rules.direct`, or to another host on the link they come from.
pub(super) fn unasked(family: Family) -> [String; 2] {
    let on_link = Set::OnLink.name(family);
    [
        format!("{}-j RETURN", in_set(Set::Direct, family)),
        format!("-m addrtype ! --dst-type LOCAL -m set --match-set {on_link} dst,src -j RETURN"),
    ]
}
