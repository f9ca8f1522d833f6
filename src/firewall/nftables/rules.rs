//! What a [`Ruleset`] means in nf_tables. Pure; see [`super`] for the theory.
//!
//! The ladder of destinations and the sets are those of the other backend, so that both capture
//! the same. Chains of one family end in its digit; a base chain only sorts packets into them.

use super::filter::{filter, filter_of, refuse};
use super::lan;
use super::own::ours;
use super::table::{
    AddressType, Chain, Element, Expression, Hook, Is, Key, Kind, Name, Point, Protocol, Rule, Set,
    Shape, Table,
};
use crate::firewall::iptables::{Destination, LADDER, LINK_LOCAL, Verdict, ZONE};
use crate::firewall::ruleset::{Family, Foreign, Ipv6, Quic, Ruleset};
use crate::firewall::sets::{self, Entry};
use crate::firewall::switch::OnFailure;
use crate::firewall::{Lan, LeftAlone, PULSE, probe};
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use crate::route::Route;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The one table of ours.
pub(in crate::firewall) const TABLE: &str = "snet";

/// The dead man's switch: the rules act while the family of the packet is in it.
pub(super) const ALIVE: &str = "alive";

/// Families that are rejected while the other one is captured.
pub(super) const REJECTED: &str = "rejected";

/// In a closed table: both families, once its sets hold what they should.
pub(super) const SETTLED: &str = "settled";

/// Before conntrack looks (NF_IP_PRI_CONNTRACK, -200): afterwards the zone is settled.
pub(super) const BEFORE_CONNTRACK: i32 = -300;

/// Before everybody's DNAT (NF_IP_PRI_NAT_DST, -100). A query has its zone by then, and in that zone
/// nobody else's translation would find its replies: it has to be ours (seen: with a name server
/// published by somebody's DNAT, the answers were lost).
pub(super) const BEFORE_DNAT: i32 = -105;

/// Behind everybody's DNAT (NF_IP_PRI_NAT_DST, -100): with equal priorities the one that was
/// loaded first wins, and a container's published port must win always. Chains of nat are asked
/// until one has decided (nf_nat_inet_fn).
pub(super) const BEHIND_DNAT: i32 = -95;

/// Before the filters of others (NF_IP_PRI_FILTER, 0), some of which drop in silence. Behind
/// [`BEHIND_DNAT`]: the destination of what was redirected is local by then.
pub(super) const BEFORE_FILTERS: i32 = -10;

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

/// The name, in the table, of a set of the other backend.
pub(super) fn set_name(set: sets::Set, family: Family) -> String {
    let name = set.name(family);
    name.strip_prefix(sets::PREFIX).unwrap_or(&name).to_string()
}

/// The switch of this name, with these families.
pub(super) fn switch(name: &str, families: &[Family]) -> Set {
    Set {
        name: name.into(),
        key: Key::Family,
        shape: Shape::Switch { timeout: PULSE },
        elements: families.iter().copied().map(Element::Family).collect(),
    }
}

/// The set of addresses that were learned to take this route, with one address.
pub(super) fn learned(address: IpAddr, route: Route) -> Set {
    let family = Family::of(address);
    let set = sets::Set::learned(route);
    let elements = vec![Element::Range(address, address)];
    Set { elements, ..empty_set(set, family) }
}

/// The sets of what was learned, empty.
pub(super) fn all_learned() -> Vec<Set> {
    let of = |family| {
        [Route::Block, Route::Proxy, Route::Direct]
            .map(|route| empty_set(sets::Set::learned(route), family))
    };
    Family::ALL.into_iter().flat_map(of).collect()
}

/// The set of upstream servers, with these addresses of one family.
pub(super) fn servers(addresses: &[IpAddr], family: Family) -> Set {
    let ours = addresses.iter().copied().filter(|address| Family::of(*address) == family);
    let elements = ours.map(|address| Element::Range(address, address)).collect();
    Set { elements, ..empty_set(sets::Set::Servers, family) }
}

fn all_sets(ruleset: &Ruleset) -> Vec<Set> {
    let filled = Family::ALL.into_iter().flat_map(|family| {
        // The switch is another one here, and serves both families; the LAN side is in `lan`.
        let mut others = sets::Set::of(ruleset);
        others.retain(|set| !matches!(set.kind(), sets::Kind::Pulse | sets::Kind::AtInterfaces));
        others.into_iter().map(move |set| {
            let content = set.content(ruleset, family);
            Set { elements: elements(&content), ..empty_set(set, family) }
        })
    });
    let lan = ruleset.lan.iter().flat_map(lan::sets);
    let mut sets = vec![switch(ALIVE, &[]), switch(REJECTED, &[])];
    if ruleset.on_failure == OnFailure::Closed {
        sets.push(Set {
            name: SETTLED.into(),
            key: Key::Family,
            shape: Shape::Latch,
            elements: Family::ALL.map(Element::Family).into(),
        });
    }
    sets.into_iter().chain(filled).chain(lan).collect()
}

fn empty_set(set: sets::Set, family: Family) -> Set {
    let shape = match set.kind() {
        sets::Kind::Prefixes | sets::Kind::Pulse => Shape::Intervals,
        sets::Kind::Addresses | sets::Kind::AtInterfaces => Shape::Values,
        sets::Kind::Expiring => {
            Shape::Expiring { size: u32::try_from(sets::GROWING).unwrap_or(u32::MAX) }
        }
    };
    let key = Key::Address(family);
    Set { name: set_name(set, family), key, shape, elements: Vec::new() }
}

/// Ascending prefixes as ranges. Those that touch become one: half the elements for the kernel.
/// Addresses stay what they are.
fn elements(entries: &[Entry]) -> Vec<Element> {
    let mut ranges: Vec<Element> = Vec::with_capacity(entries.len());
    for entry in entries {
        match (entry, ranges.last_mut()) {
            (Entry::Address(address), _) => ranges.push(Element::Range(*address, *address)),
            (Entry::Prefix(prefix), Some(Element::Range(_, last)))
                if successor(*last) == Some(prefix.network()) =>
            {
                *last = prefix.broadcast();
            }
            (Entry::Prefix(prefix) | Entry::At(prefix, _), _) => {
                ranges.push(Element::Range(prefix.network(), prefix.broadcast()));
            }
        }
    }
    ranges
}

/// The next address of the same family.
pub(super) fn successor(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).checked_add(1)?).into(),
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
        vec![in_set(sets::Set::Direct, family), Expression::Return],
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

/// To the chain of this name and family, while the switch is on.
pub(super) fn awake(family: Family, name: &str) -> Rule {
    vec![
        Expression::FamilyIn(Is::In, ALIVE),
        Expression::Family(family),
        Expression::Jump(chain(name, family)),
    ]
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

/// One rung of the ladder; a redirect needs to know the protocol.
pub(super) fn rungs(destination: Destination, family: Family, then: &Expression) -> Vec<Rule> {
    let matches = match (destination, family) {
        (Destination::Local, Family::V4) => vec![
            Some(Expression::ToType(Is::In, AddressType::Local)),
            Some(Expression::ToType(Is::In, AddressType::Broadcast)),
        ],
        (Destination::Local, Family::V6) => {
            vec![Some(Expression::ToType(Is::In, AddressType::Local))]
        }
        (Destination::Multicast, _) => {
            vec![Some(Expression::ToType(Is::In, AddressType::Multicast))]
        }
        (Destination::In(set), _) => vec![Some(in_set(set, family))],
        (Destination::Anywhere, _) => vec![None],
    };
    let protocol = matches!(then, Expression::Redirect(_));
    let rule = |matching: Option<Expression>| {
        let protocol = protocol.then_some(Expression::Protocol(Protocol::Tcp));
        matching.into_iter().chain(protocol).chain([then.clone()]).collect()
    };
    matches.into_iter().map(rule).collect()
}

/// The matches of a DNS query that is ours to answer, UDP and TCP.
pub(super) fn queries(family: Family) -> impl Iterator<Item = Rule> {
    [Protocol::Udp, Protocol::Tcp].into_iter().map(move |protocol| {
        let syn = (protocol == Protocol::Tcp).then_some(Expression::Syn);
        let mut query = vec![
            Expression::ToSet(Is::NotIn, family, set_name(sets::Set::Direct, family)),
            Expression::Port(protocol, Is::In, DNS),
        ];
        query.extend(syn);
        query
    })
}

pub(super) const DNS: u16 = 53;

pub(super) fn base(
    name: &str,
    kind: Kind,
    point: Point,
    priority: i32,
    rules: impl Iterator<Item = Rule>,
) -> Chain {
    let hook = Hook { kind, point, priority };
    Chain { name: name.into(), hook: Some(hook), rules: rules.collect() }
}

pub(super) fn chain(name: &str, family: Family) -> String {
    format!("{name}{}", family.digit())
}

pub(super) fn listening(ruleset: &Ruleset) -> impl Iterator<Item = Family> {
    Family::ALL.into_iter().filter(|family| ruleset.listens(*family))
}

pub(super) fn marked(ruleset: &Ruleset) -> Rule {
    vec![Expression::Marked(ruleset.mark), Expression::Return]
}

/// The daemon's proof, see [`probe`].
pub(super) fn to_probe(family: Family) -> Expression {
    Expression::To(Is::In, probe::prefix(family))
}

pub(super) fn in_set(set: sets::Set, family: Family) -> Expression {
    Expression::ToSet(Is::In, family, set_name(set, family))
}

pub(super) fn loopback(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        Family::V6 => IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
    }
}

/// Name servers there are refused; the other backend says why, at [`LINK_LOCAL`].
pub(super) fn link_local(family: Family) -> Option<IpNet> {
    match family {
        Family::V4 => None,
        Family::V6 => LINK_LOCAL.parse().ok(),
    }
}
