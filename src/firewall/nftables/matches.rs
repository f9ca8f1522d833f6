//! What several chains of the table ask, and the places of its base chains. Pure.

use super::sets::{ALIVE, set_name};
use super::table::{
    AddressType, BaseHook, ChainKind, Expression, Is, NftChain, NftRule, Point, Protocol, Way,
};
use crate::family::Family;
use crate::firewall::ladder::{Destination, LINK_LOCAL};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;
use crate::probe;
use ipnet::IpNet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Before conntrack looks (NF_IP_PRI_CONNTRACK, -200): afterwards the zone is settled.
pub(super) const BEFORE_CONNTRACK: i32 = -300;

/// Before conntrack too, where it is told to leave a datagram alone; before the zones, which are
/// given to what conntrack sees.
pub(super) const UNTRACKED: i32 = -305;

/// Before everybody's DNAT (NF_IP_PRI_NAT_DST, -100). A query has its zone by then, and in that
/// zone no other program's translation would find its replies: it has to be ours (seen: with a name
/// server published by another program's DNAT, the answers were lost).
pub(super) const BEFORE_DNAT: i32 = -105;

/// Behind everybody's DNAT (NF_IP_PRI_NAT_DST, -100): with equal priorities the one that was
/// loaded first wins, and a container's published port must win always. Chains of nat are asked
/// until one has decided (nf_nat_inet_fn).
pub(super) const BEHIND_DNAT: i32 = -95;

/// Before the filters of others (NF_IP_PRI_FILTER, 0), some of which drop in silence. Behind
/// [`BEHIND_DNAT`]: the destination of what was redirected is local by then.
pub(super) const BEFORE_FILTERS: i32 = -10;

/// Behind what others do at the same hook: reverse-path checks, translations, filters.
pub(super) const BEHIND_ALL: i32 = 300;

/// To the chain of this name and family, while the switch is on.
pub(super) fn active(family: Family, name: &str) -> NftRule {
    vec![
        Expression::FamilyIn(Is::In, ALIVE),
        Expression::Family(family),
        Expression::Jump(chain(name, family)),
    ]
}

/// One rung of the ladder; a redirect needs to know the protocol.
pub(super) fn rungs(destination: Destination, family: Family, then: &Expression) -> Vec<NftRule> {
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
pub(super) fn queries(family: Family) -> impl Iterator<Item = NftRule> {
    [Protocol::Udp, Protocol::Tcp].into_iter().map(move |protocol| {
        let syn = (protocol == Protocol::Tcp).then_some(Expression::Syn);
        let mut query = vec![
            Expression::ToSet(Is::NotIn, family, set_name(Set::Direct, family)),
            Expression::Port(protocol, Is::In, DNS),
        ];
        query.extend(syn);
        query
    })
}

pub(super) const DNS: u16 = 53;

pub(super) fn base(
    name: &str,
    kind: ChainKind,
    point: Point,
    priority: i32,
    rules: impl Iterator<Item = NftRule>,
) -> NftChain {
    let hook = BaseHook { kind, point, priority };
    NftChain { name: name.into(), hook: Some(hook), rules: rules.collect() }
}

pub(super) fn chain(name: &str, family: Family) -> String {
    format!("{name}{}", family.digit())
}

pub(super) fn listening(ruleset: &Ruleset) -> impl Iterator<Item = Family> {
    Family::ALL.into_iter().filter(|family| ruleset.policy.listens(*family))
}

/// The families whose datagrams are captured.
pub(super) fn capturing(ruleset: &Ruleset) -> impl Iterator<Item = Family> {
    Family::ALL.into_iter().filter(|family| ruleset.captures_datagrams(*family))
}

/// The UDP flow of the packet, or its way back, is in this set.
pub(super) fn flow_in(set: Set, family: Family, way: Way) -> Expression {
    Expression::FlowIn(family, way, set_name(set, family))
}

pub(super) fn marked(ruleset: &Ruleset) -> NftRule {
    vec![Expression::Marked(ruleset.policy.mark), Expression::Return]
}

/// The daemon's proof, see [`probe`].
pub(super) fn to_probe(family: Family) -> Expression {
    Expression::To(Is::In, probe::prefix(family))
}

pub(super) fn in_set(set: Set, family: Family) -> Expression {
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
