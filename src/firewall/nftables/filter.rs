//! The filter of nf_tables: what is rejected, while the family is captured and while it is not.
//! Pure.

use super::direct::let_go;
use super::exempt::{FILTER, ours, rungs_of};
use super::matches::{
    BEFORE_FILTERS, base, capturing, chain, flow_in, link_local, listening, loopback, marked,
    queries, rungs, to_probe,
};
use super::sets::{ALIVE, ALIVE_DATAGRAMS, REJECTED, REJECTED_DATAGRAMS, SETTLED, set_name};
use super::table::{
    ChainKind, Expression, InterfaceName, Is, NftChain, NftRule, Point, Protocol, Way,
};
use crate::family::Family;
use crate::firewall::ladder::{Destination, LADDER, Verdict};
use crate::firewall::policy::{Datagrams, Foreign, QUIC};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;
use crate::firewall::switch::OnFailure;

/// Not "reject", which is a word of nft's language.
const REFUSE: &str = "refuse";
const FOREIGN: &str = "foreign";

/// What the filter does while the family is not captured.
const INACTIVE: &str = "inactive";

/// By its name a closed network is recognised, whoever left it.
pub(super) const CLOSED: &str = "closed";

/// A base chain of the rejects, of our own traffic or of the LAN's. It takes the first packets of
/// connections only, so that the bytes of a running transfer cost one match, and so that a QUIC
/// connection or a game that was there before us goes on; and what programs complain of answers
/// that came too late, see
/// [`Part::stray_jumps`](crate::firewall::iptables::table::Part::stray_jumps).
pub(super) fn filter(ruleset: &Ruleset, name: &str, point: Point) -> NftChain {
    let stray =
        listening(ruleset).map(|family| vec![Expression::StrayComplaint(family), Expression::Drop]);
    let sort = |family| {
        vec![Expression::Begins, Expression::Family(family), Expression::Jump(chain(name, family))]
    };
    let sorted = Family::ALL.into_iter().map(sort);
    let strays = sorted.chain(stray).chain(stray_unreachable(ruleset, point));
    base(name, ChainKind::Filter, point, BEFORE_FILTERS, strays)
}

/// What a client says of a datagram that came from the proxy, with any code, would go to the
/// foreign host itself, and unmasqueraded: conntrack knows nothing of the flow.
fn stray_unreachable(ruleset: &Ruleset, point: Point) -> impl Iterator<Item = NftRule> {
    capturing(ruleset).map(move |family| {
        let lan = Expression::FromInterfaceIn(Is::In, set_name(Set::Lan, family));
        let lan = (point == Point::Forward).then_some(lan);
        let stray = [Expression::StrayUnreachable(family), Expression::Drop];
        lan.into_iter().chain(stray).collect()
    })
}

/// Rejects. The destination of what nat redirected is local by now, so it passes on the first
/// rung.
pub(super) fn filter_of(ruleset: &Ruleset, family: Family, foreign: Foreign) -> Vec<NftChain> {
    let is_closed = ruleset.policy.on_failure == OnFailure::Closed;
    let inactive = chain(if is_closed { CLOSED } else { INACTIVE }, family);
    let ladder = chain("ladder", family);
    let refuse = || Expression::Goto(REFUSE.into());
    let not_captured = || Expression::FamilyIn(Is::NotIn, ALIVE);
    let refused_queries = |to: Expression| {
        queries(family).map(move |query| {
            std::iter::once(to.clone()).chain(query).chain([refuse()]).collect::<NftRule>()
        })
    };

    // The proof never leaves this machine, whoever took it out of our redirect.
    let mut rules = vec![vec![to_probe(family), refuse()]];
    rules.extend(ours(ruleset));
    let mut chains = Vec::new();
    let name = rungs_of(ruleset);
    if name != FILTER {
        rules.push(vec![Expression::Goto(chain(name, family))]);
        chains.push(NftChain { name: chain(FILTER, family), hook: None, rules });
        rules = vec![marked(ruleset)];
    }
    rules.push(vec![not_captured(), Expression::Goto(inactive.clone())]);
    if let Some(link_local) = link_local(family)
        && ruleset.policy.listens(family)
    {
        rules.extend(refused_queries(Expression::To(Is::In, link_local)));
    }
    rules.push(vec![Expression::Goto(ladder.clone())]);

    let mut otherwise = Vec::new();
    if !is_closed {
        otherwise.push(vec![Expression::FamilyIn(Is::NotIn, REJECTED), Expression::Return]);
    }
    if foreign != Foreign::Pass {
        otherwise.extend(refused_queries(Expression::To(Is::NotIn, loopback(family))));
    }
    otherwise.push(vec![Expression::Goto(ladder.clone())]);

    let mut ladder_rules = Vec::new();
    for (destination, verdict) in LADDER {
        let then = match (verdict, foreign) {
            (Verdict::Block, _) => refuse(),
            (Verdict::Foreign, Foreign::Redirect { .. } | Foreign::Reject) => {
                Expression::Goto(chain(FOREIGN, family))
            }
            (Verdict::Pass, _) | (Verdict::Foreign, Foreign::Pass) => let_go(ruleset, destination),
        };
        ladder_rules.extend(rungs(destination, family, &then));
    }
    let named = |name: String, rules| NftChain { name, hook: None, rules };
    chains.extend([
        named(chain(name, family), rules),
        named(inactive, otherwise),
        named(ladder, ladder_rules),
    ]);
    if foreign != Foreign::Pass {
        let older = ruleset.captures_datagrams(family).then_some(family);
        let mut rules = foreign_of(is_closed, foreign, older);
        let reject = rules.len().saturating_sub(1);
        rules.splice(reject..reject, lost(ruleset, family));
        if foreign != Foreign::Reject && ruleset.policy.counts_direct {
            rules.push(vec![let_go(ruleset, Destination::Anywhere)]);
        }
        chains.push(named(chain(FOREIGN, family), rules));
    }
    chains
}

/// What becomes of foreign destinations that nat has not redirected. `flows`: in this family UDP
/// flows are known that are not captured, since they are older than the capture.
fn foreign_of(is_closed: bool, foreign: Foreign, flows: Option<Family>) -> Vec<NftRule> {
    let not_captured = || Expression::FamilyIn(Is::NotIn, ALIVE);
    let mut rules = Vec::new();
    if is_closed {
        // The sets may still be empty, and this a domestic destination.
        let unsettled = Expression::FamilyIn(Is::NotIn, SETTLED);
        rules.push(vec![not_captured(), unsettled, Expression::Drop]);
    }
    let refuse = Expression::Goto(REFUSE.into());
    match foreign {
        Foreign::Redirect { quic, udp } => {
            rules.push(vec![not_captured(), refuse]);
            if let Some(family) = flows {
                rules.push(vec![flow_in(Set::Older, family, Way::Same), Expression::Return]);
                let proxied = datagrams_where([quic, udp].map(|way| way == Datagrams::Proxy));
                rules.extend(proxied.filter(|_| !is_closed).map(|which| {
                    let [alive, rejected] = [ALIVE_DATAGRAMS, REJECTED_DATAGRAMS]
                        .map(|set| Expression::FamilyIn(Is::NotIn, set));
                    vec![which, alive, rejected, Expression::Return]
                }));
            }
            // What is to be captured and comes here was missed: better refused than direct.
            let caught = datagrams_where([quic, udp].map(|way| way != Datagrams::Direct));
            rules.extend(caught.map(|which| vec![which, Expression::Unreachable]));
        }
        Foreign::Reject | Foreign::Pass => rules.push(vec![refuse]),
    }
    rules
}

/// UDP where it is QUIC, where it is any other, or both.
fn datagrams_where(quic_others: [bool; 2]) -> Option<Expression> {
    match quic_others {
        [true, true] => Some(Expression::Protocol(Protocol::Udp)),
        [true, false] => Some(Expression::Port(Protocol::Udp, Is::In, QUIC)),
        [false, true] => Some(Expression::Port(Protocol::Udp, Is::NotIn, QUIC)),
        [false, false] => None,
    }
}

/// UDP of bridges where it cannot be captured, and may go directly then. QUIC may not.
fn lost(ruleset: &Ruleset, family: Family) -> impl Iterator<Item = NftRule> {
    let bridges = ruleset.environment.datagrams.bridges.iter();
    let bridges =
        bridges.filter(move |(of, _)| *of == family && ruleset.lets_uncaptured_go(family));
    bridges.map(|(_, bridge)| {
        vec![
            Expression::FromInterface(InterfaceName::new(bridge)),
            Expression::Port(Protocol::Udp, Is::NotIn, QUIC),
            Expression::Return,
        ]
    })
}

pub(super) fn refuse() -> NftChain {
    let rules = vec![
        vec![Expression::Syn, Expression::Reset],
        // A TCP connection that conntrack picked up in its middle: not ours to end.
        vec![Expression::Protocol(Protocol::Tcp), Expression::Return],
        vec![Expression::Unreachable],
    ];
    NftChain { name: REFUSE.into(), hook: None, rules }
}
