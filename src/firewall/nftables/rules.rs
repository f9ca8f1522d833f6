//! What a [`Ruleset`] means in nf_tables. Pure; see [`super`] for the theory.
//!
//! The ladder of destinations and the sets are those of the other backend, so that both capture
//! the same. Chains of one family end in its digit; a base chain only sorts packets into them.

use super::exempt::ours;
use super::filter::{filter, filter_of, refuse};
use super::lan;
use super::matches::{
    BEFORE_CONNTRACK, BEFORE_DNAT, BEHIND_DNAT, DNS, awake, base, chain, in_set, link_local,
    listening, loopback, queries, rungs, to_probe,
};
use super::sets::{ALIVE, all_sets};
use super::table::{Chain, Expression, Is, Kind, Name, Point, Protocol, Table};
use crate::firewall::environment::lan::Lan;
use crate::firewall::exempt_programs::LeftAlone;
use crate::firewall::family::Family;
use crate::firewall::ladder::{LADDER, Verdict};
use crate::firewall::names::{TABLE, ZONE};
use crate::firewall::ruleset::{Foreign, Ipv6, Quic, Ruleset};
use crate::firewall::sets::Set;
use crate::firewall::switch::OnFailure;
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use std::net::Ipv6Addr;
use std::sync::Arc;

const LINK: &str = "link6";

pub(super) fn table(ruleset: &Ruleset) -> Table {
    let mut chains =
        vec![zone(ruleset), filter(ruleset, "filter", Point::Output), dns(ruleset), nat(ruleset)];
    if let Some(lan) = &ruleset.lan {
        chains.extend(lan::chains(ruleset, lan));
    }
    if ruleset.has_door() {
        chains.push(lan::door(ruleset));
    }
    for family in Family::ALL {
        let foreign = ruleset.foreign(family);
        if ruleset.listens(family) {
            chains.push(zone_of(ruleset, family));
            chains.extend(dns_of(ruleset, family));
            chains.extend(nat_of(ruleset, family, foreign));
        }
        chains.extend(filter_of(ruleset, family, foreign));
    }
    chains.push(refuse());
    Table { name: TABLE, sets: all_sets(ruleset), chains }
}

/// A table in which everything occurs that a table of ours may hold.
pub(super) fn everything() -> Table {
    table(&Ruleset {
        mark: Fwmark::SNET,
        tcp_port: 1,
        dns_port: 1,
        listeners: vec![Ipv6Addr::UNSPECIFIED.into()],
        block: IpSet::default(),
        proxy: IpSet::default(),
        direct: IpSet::default(),
        servers: Vec::new(),
        reserved: IpSet::default(),
        china: Arc::default(),
        connected: IpSet::default(),
        link_local: vec![("lo".into(), Ipv6Addr::LOCALHOST)],
        left_alone: LeftAlone { users: vec![1], cgroups: Vec::new() },
        lan: Some(Lan::default()),
        ipv6: Ipv6::Proxy,
        quic: Quic::Reject,
        on_failure: OnFailure::Closed,
    })
}

/// The base chain of the zones. The switch is in the chains behind it.
fn zone(ruleset: &Ruleset) -> Chain {
    let sort = |family| {
        vec![
            Expression::Protocol(Protocol::Udp),
            Expression::Family(family),
            Expression::Jump(chain("zone", family)),
        ]
    };
    base("zone", Kind::Filter, Point::Output, BEFORE_CONNTRACK, listening(ruleset).map(sort))
}

/// Captured UDP queries and the replies to them get their zone. The exemptions are those of the
/// DNS rules in nat.
fn zone_of(ruleset: &Ruleset, family: Family) -> Chain {
    // Replies to this machine's queries leave over loopback, since their destination is an address of
    // this machine; those to LAN hosts by any interface. They are judged before the mark, in case
    // their socket carries it, and before the switch: what was captured is answered.
    let mut reply = vec![
        Expression::SourcePort(Protocol::Udp, ruleset.dns_port),
        Expression::Zone(ZONE),
        Expression::Return,
    ];
    if ruleset.lan.is_none() {
        reply.insert(0, Expression::ToLoopback);
    }
    let mut rules = vec![
        reply,
        vec![Expression::Port(Protocol::Udp, Is::NotIn, DNS), Expression::Return],
        vec![to_probe(family), Expression::Zone(ZONE), Expression::Return],
    ];
    rules.extend(ours(ruleset));
    rules.extend([
        vec![Expression::To(Is::In, loopback(family)), Expression::Return],
        vec![in_set(Set::Direct, family), Expression::Return],
        vec![Expression::FamilyIn(Is::In, ALIVE), Expression::Zone(ZONE)],
    ]);
    Chain { name: chain("zone", family), hook: None, rules }
}

/// The base chain of the queries.
fn dns(ruleset: &Ruleset) -> Chain {
    let port = ruleset.dns_port;
    let proof = listening(ruleset).map(move |family| {
        let query = Expression::Port(Protocol::Udp, Is::In, DNS);
        vec![to_probe(family), query, Expression::Redirect(port)]
    });
    let rules = proof.chain(listening(ruleset).map(|family| awake(family, "dns")));
    base("dns", Kind::Nat, Point::Output, BEFORE_DNAT, rules)
}

fn dns_of(ruleset: &Ruleset, family: Family) -> Vec<Chain> {
    let mut rules = ours(ruleset);
    let mut chains = Vec::new();
    if let Some(link_local) = link_local(family) {
        let then = if ruleset.listens_link_local() {
            chains.push(link(ruleset));
            Expression::Goto(LINK.into())
        } else {
            Expression::Return
        };
        rules.push(vec![Expression::To(Is::In, link_local), then]);
    }
    rules.extend(queries(family).map(|query| {
        let elsewhere = std::iter::once(Expression::To(Is::NotIn, loopback(family)));
        elsewhere.chain(query).chain([Expression::Redirect(ruleset.dns_port)]).collect()
    }));
    chains.push(Chain { name: chain("dns", family), hook: None, rules });
    chains
}

/// The base chain of the redirects of TCP. It is there also when no rule leads out of it: translation
/// goes on for as long as there is one.
fn nat(ruleset: &Ruleset) -> Chain {
    let redirects = |family: &Family| matches!(ruleset.foreign(*family), Foreign::Redirect { .. });
    let port = ruleset.tcp_port;
    let proof = listening(ruleset)
        .map(move |family| vec![to_probe(family), Expression::Syn, Expression::Redirect(port)]);
    let rules = listening(ruleset).filter(redirects).map(|family| awake(family, "nat"));
    let rules = proof.chain(rules);
    base("nat", Kind::Nat, Point::Output, BEHIND_DNAT, rules)
}

fn nat_of(ruleset: &Ruleset, family: Family, foreign: Foreign) -> Vec<Chain> {
    if !matches!(foreign, Foreign::Redirect { .. }) {
        return Vec::new();
    }
    let mut rules = ours(ruleset);
    rules.push(vec![Expression::Syn, Expression::Jump(chain("tcp", family))]);
    let ladder = LADDER.iter().flat_map(|(destination, verdict)| {
        let then = match verdict {
            // The reject is in filter, which comes next.
            Verdict::Pass | Verdict::Block => Expression::Return,
            Verdict::Foreign => Expression::Redirect(ruleset.tcp_port),
        };
        rungs(*destination, family, &then)
    });
    let tcp = Chain { name: chain("tcp", family), hook: None, rules: ladder.collect() };
    vec![Chain { name: chain("nat", family), hook: None, rules }, tcp]
}

/// Queries of this machine to the name servers of its links, each to the link's own address.
fn link(ruleset: &Ruleset) -> Chain {
    let rules = ruleset.link_local.iter().flat_map(|(name, own)| {
        let to = Expression::ToInterface(Name::new(name));
        queries(Family::V6).map(move |query| {
            let then = Expression::Translate(*own, ruleset.dns_port);
            std::iter::once(to.clone()).chain(query).chain([then]).collect()
        })
    });
    Chain { name: LINK.into(), hook: None, rules: rules.collect() }
}
