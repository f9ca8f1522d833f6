//! Router mode in nf_tables: the hooks of what LAN hosts send. Pure; the theory is in
//! [`crate::firewall::iptables`], "Router mode".
//!
//! The LAN side is a set of interface names for each family. What is on a link is no set but a few
//! rules, since "in this prefix, seen at this interface" would need a set with ranges of two fields
//! (pipapo, Linux 5.6); they change with the network, in the same transaction as the set.
//!
//! An accept is final only in its own table, so the guard at our ports drops non-LAN hosts' packets
//! and accepts none: where another firewall drops what comes in, `conflicts` tells the remedy.

use super::exempt::{of_the_lan, rungs_of};
use super::filter::filter;
use super::matches::{
    BEFORE_CONNTRACK, BEFORE_DNAT, BEFORE_FILTERS, BEHIND_DNAT, DNS, active, base, capturing,
    chain, in_set, listening, marked,
};
use super::sets::ALIVE;
use super::table::{
    AddressType, ChainKind, Expression, InterfaceName, Is, NftChain, NftRule, Point, Protocol,
};
use crate::family::Family;
use crate::firewall::environment::lan::LanSide;
use crate::firewall::names::ZONE;
use crate::firewall::policy::Foreign;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets;
use crate::mark::Fwmark;
use ipnet::IpNet;

/// What local mode has not.
pub(super) fn chains(ruleset: &Ruleset) -> Vec<NftChain> {
    let lan = &ruleset.environment.lan;
    let mut chains = vec![
        zone(ruleset),
        filter(ruleset, "filter-lan", Point::Forward),
        dns(ruleset),
        nat(ruleset),
    ];
    for family in Family::ALL {
        let foreign = ruleset.foreign(family);
        if ruleset.policy.listens(family) {
            chains.push(zone_of(ruleset, lan, family));
            chains.push(dns_of(ruleset, family));
            chains.push(queries_of(ruleset, lan, family));
            if redirects(foreign) {
                chains.push(nat_of(ruleset, family));
            }
        }
        chains.push(filter_of(ruleset, family));
    }
    chains
}

fn zone(ruleset: &Ruleset) -> NftChain {
    let sort = |family| {
        vec![
            Expression::Protocol(Protocol::Udp),
            Expression::FamilyIn(Is::In, ALIVE),
            Expression::Family(family),
            Expression::Jump(chain("zone-lan", family)),
        ]
    };
    let rules = listening(ruleset).map(sort);
    base("zone-lan", ChainKind::Filter, Point::Prerouting, BEFORE_CONNTRACK, rules)
}

fn zone_of(ruleset: &Ruleset, lan: &LanSide, family: Family) -> NftChain {
    let not_dns = vec![Expression::Port(Protocol::Udp, Is::NotIn, DNS), Expression::Return];
    let mut rules = vec![not_dns];
    rules.extend(of_the_lan(family));
    rules.push(marked(ruleset));
    rules.extend(unasked(lan, family));
    rules.push(vec![Expression::Zone(ZONE)]);
    NftChain { name: chain("zone-lan", family), hook: None, rules }
}

/// Lets go the queries that are not ours to answer: to an address in `rules.direct`, or to another
/// host on the link they come from.
fn unasked(lan: &LanSide, family: Family) -> Vec<NftRule> {
    let captured = lan.interfaces.iter().filter(|interface| interface.captures(family));
    let neighbours = captured.flat_map(|at| {
        let prefixes: Vec<IpNet> = match family {
            Family::V4 => at.on_link.prefixes_v4().map(IpNet::V4).collect(),
            Family::V6 => at.on_link.prefixes_v6().map(IpNet::V6).collect(),
        };
        prefixes.into_iter().map(|prefix| {
            vec![
                Expression::ToType(Is::NotIn, AddressType::Local),
                Expression::FromInterface(InterfaceName::new(&at.name)),
                Expression::To(Is::In, prefix),
                Expression::Return,
            ]
        })
    });
    let direct = vec![in_set(sets::Set::Direct, family), Expression::Return];
    std::iter::once(direct).chain(neighbours).collect()
}

/// A redirect leads to the interface by which the packet came in.
fn dns(ruleset: &Ruleset) -> NftChain {
    let rules = listening(ruleset).map(|family| active(family, "dns-lan"));
    base("dns-lan", ChainKind::Nat, Point::Prerouting, BEFORE_DNAT, rules)
}

fn dns_of(ruleset: &Ruleset, family: Family) -> NftChain {
    let mut rules = of_the_lan(family).to_vec();
    let queries = || Expression::Jump(chain("queries", family));
    rules.push(marked(ruleset));
    rules.extend([
        vec![Expression::Port(Protocol::Udp, Is::In, DNS), queries()],
        vec![Expression::Port(Protocol::Tcp, Is::In, DNS), Expression::Syn, queries()],
    ]);
    NftChain { name: chain("dns-lan", family), hook: None, rules }
}

fn nat(ruleset: &Ruleset) -> NftChain {
    let rules = listening(ruleset)
        .filter(|family| redirects(ruleset.foreign(*family)))
        .map(|family| active(family, "nat-lan"));
    base("nat-lan", ChainKind::Nat, Point::Prerouting, BEHIND_DNAT, rules)
}

fn redirects(foreign: Foreign) -> bool {
    matches!(foreign, Foreign::Redirect { .. })
}

fn nat_of(ruleset: &Ruleset, family: Family) -> NftChain {
    let mut rules = of_the_lan(family).to_vec();
    rules.push(marked(ruleset));
    rules.push(vec![Expression::Syn, Expression::Jump(chain("tcp", family))]);
    NftChain { name: chain("nat-lan", family), hook: None, rules }
}

fn queries_of(ruleset: &Ruleset, lan: &LanSide, family: Family) -> NftChain {
    let mut rules = unasked(lan, family);
    rules.extend([Protocol::Udp, Protocol::Tcp].map(|protocol| {
        vec![Expression::Protocol(protocol), Expression::Redirect(ruleset.policy.dns_port)]
    }));
    NftChain { name: chain("queries", family), hook: None, rules }
}

fn filter_of(ruleset: &Ruleset, family: Family) -> NftChain {
    let mut rules = of_the_lan(family).to_vec();
    rules.push(vec![Expression::Goto(chain(rungs_of(ruleset), family))]);
    NftChain { name: chain("filter-lan", family), hook: None, rules }
}

/// The guard at our own ports: what a host that is not LAN side sends, and what was not redirected,
/// is dropped, whether the rules are active or not. A translation of another program's that leads
/// here is left to third-party rules. In local mode too, where `::` is listened on.
pub(super) fn input_guard(ruleset: &Ruleset) -> NftChain {
    let ports = [
        (Protocol::Tcp, ruleset.policy.tcp_port),
        (Protocol::Udp, ruleset.policy.dns_port),
        (Protocol::Tcp, ruleset.policy.dns_port),
    ];
    let drops = listening(ruleset).flat_map(|family| {
        ports.map(|(protocol, port)| {
            let port = Expression::Port(protocol, Is::In, port);
            vec![Expression::Family(family), port, Expression::Drop]
        })
    });
    let mut passes = vec![Expression::FromLoopback, Expression::Translated];
    if ruleset.policy.lan.is_some() && capturing(ruleset).next().is_some() {
        // A LAN host's datagram on its way to the listener, to a port of somewhere else.
        passes.push(Expression::Marked(Fwmark::LAN_DATAGRAMS));
    }
    let passes = passes.into_iter().map(|is| vec![is, Expression::Return]);
    base("door", ChainKind::Filter, Point::Input, BEFORE_FILTERS, passes.chain(drops))
}
