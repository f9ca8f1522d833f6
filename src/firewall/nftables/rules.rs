//! What a [`Ruleset`] means in nf_tables. Pure; see [`super`] for the theory.
//!
//! The ladder of destinations and the sets are those of the other backend, so that both capture
//! the same. Chains of one family end in its digit; a base chain only sorts packets into them.

use super::direct;
use super::exempt::ours;
use super::filter::{filter, filter_of, refuse};
use super::lan;
use super::matches::{
    BEFORE_CONNTRACK, BEFORE_DNAT, BEHIND_DNAT, DNS, active, base, chain, in_set, link_local,
    listening, loopback, queries, rungs, to_probe,
};
use super::offload;
use super::sets::{ALIVE, all_sets};
use super::table::{ChainKind, Expression, InterfaceName, Is, NftChain, NftTable, Point, Protocol};
use super::udp;
use crate::exempt_programs::ExemptPrograms;
use crate::family::Family;
use crate::firewall::environment::Environment;
use crate::firewall::ladder::{LADDER, Verdict};
use crate::firewall::names::{TABLE, ZONE};
use crate::firewall::policy::{Datagrams, Foreign, Ipv6, LanPolicy, Policy};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;
use crate::firewall::switch::OnFailure;
use crate::mark::Fwmark;
use std::net::Ipv6Addr;
use std::sync::Arc;

const LINK: &str = "link6";

pub(in crate::firewall) fn table(ruleset: &Ruleset) -> NftTable {
    let mut chains =
        vec![zone(ruleset), filter(ruleset, "filter", Point::Output), dns(ruleset), nat(ruleset)];
    if ruleset.policy.lan.is_some() {
        chains.extend(lan::chains(ruleset));
        chains.extend(offload::chains(ruleset));
    }
    if ruleset.policy.has_input_guard() {
        chains.push(lan::input_guard(ruleset));
    }
    for family in Family::ALL {
        let foreign = ruleset.foreign(family);
        if ruleset.policy.listens(family) {
            chains.push(zone_of(ruleset, family));
            chains.extend(dns_of(ruleset, family));
            chains.extend(nat_of(ruleset, family, foreign));
        }
        chains.extend(filter_of(ruleset, family, foreign));
    }
    chains.extend(udp::chains(ruleset));
    chains.extend(direct::chains(ruleset));
    chains.push(refuse());
    let flowtable = offload::flowtable(ruleset);
    let counters = direct::counters(ruleset);
    NftTable { name: TABLE, sets: all_sets(ruleset), flowtable, counters, chains }
}

/// A table in which everything occurs that a table of ours may hold which does this with UDP.
pub(super) fn everything(udp: Datagrams) -> NftTable {
    let policy = Policy {
        mark: Fwmark::SNET,
        tcp_port: 1,
        dns_port: 1,
        listeners: vec![Ipv6Addr::UNSPECIFIED.into()],
        rules: Arc::default(),
        exempt: ExemptPrograms { users: vec![1], cgroups: Vec::new() },
        lan: Some(LanPolicy::default()),
        ipv6: Ipv6::Proxy,
        quic: Datagrams::Reject,
        udp,
        uncapturable_udp: Datagrams::Reject,
        udp_port: 1,
        on_failure: OnFailure::Closed,
        counts_direct: false,
    };
    let link_local = vec![("lo".into(), Ipv6Addr::LOCALHOST)];
    let environment = Environment { link_local, ..Environment::default() };
    table(&Ruleset { policy: Arc::new(policy), environment })
}

/// The base chain of the zones. The switch is in the chains behind it.
fn zone(ruleset: &Ruleset) -> NftChain {
    let sort = |family| {
        vec![
            Expression::Protocol(Protocol::Udp),
            Expression::Family(family),
            Expression::Jump(chain("zone", family)),
        ]
    };
    base("zone", ChainKind::Filter, Point::Output, BEFORE_CONNTRACK, listening(ruleset).map(sort))
}

/// Captured UDP queries and the replies to them get their zone. The exemptions are those of the
/// DNS rules in nat.
fn zone_of(ruleset: &Ruleset, family: Family) -> NftChain {
    // Replies to this machine's queries leave over loopback, since their destination is an address
    // of this machine; those to LAN hosts by any interface. They are judged before the mark, in
    // case their socket carries it, and before the switch: what was captured is answered.
    let mut reply = vec![
        Expression::SourcePort(Protocol::Udp, ruleset.policy.dns_port),
        Expression::Zone(ZONE),
        Expression::Return,
    ];
    if ruleset.policy.lan.is_none() {
        reply.insert(0, Expression::ToLoopback);
    }
    let mut rules = vec![
        reply,
        vec![Expression::Port(Protocol::Udp, Is::NotIn, DNS), Expression::Return],
        vec![to_probe(family), Expression::Zone(ZONE), Expression::Return],
    ];
    if ruleset.captures_datagrams(family) {
        // From another host's port of the same number. A zone would have it tracked.
        rules.insert(0, vec![Expression::Untracked, Expression::Return]);
    }
    rules.extend(ours(ruleset));
    rules.extend([
        vec![Expression::To(Is::In, loopback(family)), Expression::Return],
        vec![in_set(Set::Direct, family), Expression::Return],
        vec![Expression::FamilyIn(Is::In, ALIVE), Expression::Zone(ZONE)],
    ]);
    NftChain { name: chain("zone", family), hook: None, rules }
}

/// The base chain of the queries.
fn dns(ruleset: &Ruleset) -> NftChain {
    let port = ruleset.policy.dns_port;
    let proof = listening(ruleset).map(move |family| {
        let query = Expression::Port(Protocol::Udp, Is::In, DNS);
        vec![to_probe(family), query, Expression::Redirect(port)]
    });
    let rules = proof.chain(listening(ruleset).map(|family| active(family, "dns")));
    base("dns", ChainKind::Nat, Point::Output, BEFORE_DNAT, rules)
}

fn dns_of(ruleset: &Ruleset, family: Family) -> Vec<NftChain> {
    let mut rules = ours(ruleset);
    let mut chains = Vec::new();
    if let Some(link_local) = link_local(family) {
        let then = if ruleset.policy.listens_link_local() {
            chains.push(link(ruleset));
            Expression::Goto(LINK.into())
        } else {
            Expression::Return
        };
        rules.push(vec![Expression::To(Is::In, link_local), then]);
    }
    rules.extend(queries(family).map(|query| {
        let elsewhere = std::iter::once(Expression::To(Is::NotIn, loopback(family)));
        elsewhere.chain(query).chain([Expression::Redirect(ruleset.policy.dns_port)]).collect()
    }));
    chains.push(NftChain { name: chain("dns", family), hook: None, rules });
    chains
}

/// The base chain of the redirects of TCP. It is there also when no rule leads out of it:
/// translation goes on for as long as there is one.
fn nat(ruleset: &Ruleset) -> NftChain {
    let redirects = |family: &Family| matches!(ruleset.foreign(*family), Foreign::Redirect { .. });
    let port = ruleset.policy.tcp_port;
    let proof = listening(ruleset)
        .map(move |family| vec![to_probe(family), Expression::Syn, Expression::Redirect(port)]);
    let rules = listening(ruleset).filter(redirects).map(|family| active(family, "nat"));
    let rules = proof.chain(rules);
    base("nat", ChainKind::Nat, Point::Output, BEHIND_DNAT, rules)
}

fn nat_of(ruleset: &Ruleset, family: Family, foreign: Foreign) -> Vec<NftChain> {
    if !matches!(foreign, Foreign::Redirect { .. }) {
        return Vec::new();
    }
    let mut rules = ours(ruleset);
    rules.push(vec![Expression::Syn, Expression::Jump(chain("tcp", family))]);
    let ladder = LADDER.iter().flat_map(|(destination, verdict)| {
        let then = match verdict {
            // The reject is in filter, which comes next.
            Verdict::Pass | Verdict::Block => Expression::Return,
            Verdict::Foreign => Expression::Redirect(ruleset.policy.tcp_port),
        };
        rungs(*destination, family, &then)
    });
    let tcp = NftChain { name: chain("tcp", family), hook: None, rules: ladder.collect() };
    vec![NftChain { name: chain("nat", family), hook: None, rules }, tcp]
}

/// Queries of this machine to the name servers of its links, each to the link's own address.
fn link(ruleset: &Ruleset) -> NftChain {
    let rules = ruleset.environment.link_local.iter().flat_map(|(name, own)| {
        let to = Expression::ToInterface(InterfaceName::new(name));
        queries(Family::V6).map(move |query| {
            let then = Expression::Translate(*own, ruleset.policy.dns_port);
            std::iter::once(to.clone()).chain(query).chain([then]).collect()
        })
    });
    NftChain { name: LINK.into(), hook: None, rules: rules.collect() }
}
