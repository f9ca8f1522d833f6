//! The capture of UDP: datagrams to foreign destinations go to the transparent listener. Pure.
//!
//! # Theory of operation
//!
//! | base chain | hook | what it does |
//! |---|---|---|
//! | udp-own | OUTPUT, before conntrack | judges this machine's datagrams |
//! | udp-early | PREROUTING, before conntrack | the same for LAN hosts |
//! | udp-late | PREROUTING, last of all | gives what was captured to the listener |
//! | udp-again, udp-lost | OUTPUT, POSTROUTING, last of all | what others have led away |
//! | udp-input, udp-forward | last of all | notes flows that begin outside |
//!
//! What is captured on this machine gets a mark, with which the policy route leads it to `lo`, and
//! so to PREROUTING.
//!
//! **No conntrack.** An entry of a captured flow would outlive us, and while it lives the flow of a
//! LAN host is forwarded without masquerading (seen: the private source left the house, and each
//! packet renewed the entry). The replies of snet's reply sockets would make the same entry the
//! other way round. So neither has one, and whatever ends the capture, the next datagram is the
//! first of a flow like any other.
//!
//! **Late.** A reverse-path check with `fib saddr . mark . iif oif` (firewalld, NixOS) drops this
//! machine's datagrams on `lo` once they belong to a socket; at priority 300 it has been passed.
//! Where the listener is gone TPROXY is no match (nft_tproxy.c): the drop behind it keeps untracked
//! datagrams from being forwarded as they are.
//!
//! **Flows keep their way.** Two sets know them by source, port, destination and port: `older`
//! those that began outside, or while nothing was captured (the rules note them as long as the
//! switch is off), `taken` those that were captured. The first is asked at any time, the second
//! while the switch is on: a flow that was captured is direct at once after a death. A full set
//! loses new flows, never the capture: each note is a rule of its own.
//!
//! In the chains here an accept means "not captured": it ends this base chain only. A return from
//! the ladder means "captured".

use super::exempt::{of_the_lan, ours};
use super::matches::{
    BEHIND_ALL, DNS, UNTRACKED, base, capturing, chain, flow_in, marked, rungs, to_probe,
};
use super::sets::{ALIVE_DATAGRAMS, REJECTED_DATAGRAMS, set_name};
use super::table::{
    AddressType, ChainKind, Expression, InterfaceName, Is, NftChain, NftRule, Point, Protocol, Way,
};
use crate::family::Family;
use crate::firewall::ladder::{Destination, LADDER, Verdict};
use crate::firewall::policy::{Datagrams, Foreign, QUIC};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;
use crate::firewall::switch::OnFailure;
use crate::mark::Fwmark;
use crate::probe;
use std::net::SocketAddr;

const LATE: &str = "udp-late";
const OWN: &str = "udp-own";
const LAN: &str = "udp-lan";
const FLOWS: &str = "udp-flows";
const OLD: &str = "udp-older";
const FOREIGN: &str = "udp-foreign";
const TAKE: &str = "udp-take";
const OUTSIDE: &str = "udp-outside";

/// All of it; nothing where no datagram is captured.
pub(super) fn chains(ruleset: &Ruleset) -> Vec<NftChain> {
    if capturing(ruleset).next().is_none() {
        return Vec::new();
    }
    let router = ruleset.policy.lan.is_some();
    let mut chains = vec![
        sorted(ruleset, OWN, ChainKind::Route, Point::Output, UNTRACKED, &[]),
        early(ruleset),
        sorted(ruleset, LATE, ChainKind::Filter, Point::Prerouting, BEHIND_ALL, &[]),
        again(ruleset),
        lost(ruleset),
        outside(ruleset, "udp-input", Point::Input),
    ];
    if router {
        chains.push(outside(ruleset, "udp-forward", Point::Forward));
    }
    for family in capturing(ruleset) {
        chains.push(own(ruleset, family));
        if router {
            chains.push(lan(ruleset, family));
        }
        chains.extend(judged(ruleset, family));
        chains.extend([
            late(ruleset, family),
            take(ruleset, family),
            from_outside(ruleset, family),
        ]);
    }
    chains
}

/// A base chain that sends the datagrams of each family to its chain.
fn sorted(
    ruleset: &Ruleset,
    name: &str,
    kind: ChainKind,
    point: Point,
    priority: i32,
    which: &[Expression],
) -> NftChain {
    base(name, kind, point, priority, jumps(ruleset, name, which))
}

fn jumps(ruleset: &Ruleset, name: &str, which: &[Expression]) -> impl Iterator<Item = NftRule> {
    capturing(ruleset).map(move |family| {
        let sort = [Expression::Protocol(Protocol::Udp), Expression::Family(family)];
        let then = Expression::Jump(chain(name, family));
        sort.into_iter().chain(which.iter().cloned()).chain([then]).collect()
    })
}

/// This machine's datagrams.
fn own(ruleset: &Ruleset, family: Family) -> NftChain {
    let mark = Fwmark::OWN_DATAGRAMS;
    let mut rules = vec![
        // What a reply socket sends: its source is not ours.
        vec![
            Expression::Marked(ruleset.policy.mark),
            Expression::FromType(Is::NotIn, AddressType::Local),
            Expression::Untrack,
            Expression::Accept,
        ],
        vec![
            to_probe(family),
            Expression::Port(Protocol::Udp, Is::In, probe::UDP_PORT),
            Expression::Mark(mark),
            Expression::Untrack,
            Expression::Accept,
        ],
    ];
    rules.extend(ours(ruleset));
    rules.extend(captured(family, mark));
    NftChain { name: chain(OWN, family), hook: None, rules }
}

/// The datagrams of LAN hosts.
fn lan(ruleset: &Ruleset, family: Family) -> NftChain {
    let mut rules = of_the_lan(family).to_vec();
    rules.push(marked(ruleset));
    let lost = ruleset.environment.datagrams.bridges.iter().filter(|(of, _)| *of == family);
    rules.extend(lost.map(|(_, bridge)| {
        vec![Expression::FromInterface(InterfaceName::new(bridge)), Expression::Return]
    }));
    rules.extend(captured(family, Fwmark::LAN_DATAGRAMS));
    NftChain { name: chain(LAN, family), hook: None, rules }
}

/// What becomes of a datagram that may be captured.
fn captured(family: Family, mark: Fwmark) -> [NftRule; 4] {
    [
        vec![Expression::Port(Protocol::Udp, Is::In, DNS), Expression::Return],
        vec![Expression::Jump(chain(FLOWS, family))],
        vec![remember(Set::Taken, family, Way::Same)],
        vec![Expression::Mark(mark), Expression::Untrack],
    ]
}

fn remember(set: Set, family: Family, way: Way) -> Expression {
    Expression::Remember(family, way, set_name(set, family))
}

/// The base chain that sees datagrams before conntrack where they come in.
fn early(ruleset: &Ruleset) -> NftChain {
    let again = vec![
        Expression::Protocol(Protocol::Udp),
        Expression::FromLoopback,
        Expression::Marked(Fwmark::OWN_DATAGRAMS),
        Expression::Untrack,
        Expression::Accept,
    ];
    let of_the_lan = ruleset.policy.lan.iter().flat_map(|_| jumps(ruleset, LAN, &[]));
    let rules = std::iter::once(again).chain(of_the_lan);
    base("udp-early", ChainKind::Filter, Point::Prerouting, UNTRACKED, rules)
}

/// Whether a datagram is captured: by its flow, by the ladder, by its port.
fn judged(ruleset: &Ruleset, family: Family) -> [NftChain; 3] {
    let mut rules = Vec::new();
    for (destination, verdict) in LADDER {
        let then = match verdict {
            // The reject of `rules.block` is in filter.
            Verdict::Pass | Verdict::Block => Expression::Accept,
            Verdict::Foreign => Expression::Goto(chain(FOREIGN, family)),
        };
        rules.extend(rungs(destination, family, &then));
        // Behind what must never be captured, this machine and its links.
        if matches!(destination, Destination::In(Set::Connected)) {
            let older = Expression::Goto(chain(OLD, family));
            rules.push(vec![flow_in(Set::Older, family, Way::Same), older]);
            rules.push(vec![
                Expression::FamilyIn(Is::In, ALIVE_DATAGRAMS),
                flow_in(Set::Taken, family, Way::Same),
                Expression::Return,
            ]);
        }
    }
    let older = vec![vec![remember(Set::Older, family, Way::Same)], vec![Expression::Accept]];
    let named = |name, rules| NftChain { name: chain(name, family), hook: None, rules };
    [named(FLOWS, rules), named(OLD, older), named(FOREIGN, foreign(ruleset, family))]
}

/// Foreign datagrams. While the switch is off they are noted: their flows are older than the
/// capture that will be.
fn foreign(ruleset: &Ruleset, family: Family) -> Vec<NftRule> {
    let Foreign::Redirect { quic, udp } = ruleset.policy.foreign(family) else {
        return Vec::new();
    };
    let others = match [quic, udp].map(|way| way == Datagrams::Proxy) {
        [true, false] => Some(Is::NotIn),
        [false, true] => Some(Is::In),
        _ => None,
    };
    let others =
        others.map(|is| vec![Expression::Port(Protocol::Udp, is, QUIC), Expression::Accept]);
    let mut rules: Vec<NftRule> = others.into_iter().collect();
    rules.push(vec![Expression::FamilyIn(Is::In, ALIVE_DATAGRAMS), Expression::Return]);
    if ruleset.policy.on_failure == OnFailure::Open {
        rules.push(vec![
            Expression::FamilyIn(Is::NotIn, REJECTED_DATAGRAMS),
            remember(Set::Older, family, Way::Same),
        ]);
    }
    rules.push(vec![Expression::Accept]);
    rules
}

/// This machine's datagrams whose mark another program has overwritten get it back, and their way
/// with it (nf_route_table_hook looks for the route anew).
fn again(ruleset: &Ruleset) -> NftChain {
    let rules = capturing(ruleset)
        .map(|family| untracked(family).chain([Expression::Mark(Fwmark::OWN_DATAGRAMS)]).collect());
    base("udp-again", ChainKind::Route, Point::Output, BEHIND_ALL, rules)
}

/// A policy rule of another program may stand before ours. What conntrack does not know would leave
/// as it is, past the proxy and without masquerading.
fn lost(ruleset: &Ruleset) -> NftChain {
    let to_the_listener = vec![Expression::ToLoopback, Expression::Accept];
    let lost =
        capturing(ruleset).map(|family| untracked(family).chain([Expression::Drop]).collect());
    let rules = std::iter::once(to_the_listener).chain(lost);
    base("udp-lost", ChainKind::Filter, Point::Postrouting, BEHIND_ALL, rules)
}

/// The match of what was captured, by its flow.
fn untracked(family: Family) -> impl Iterator<Item = Expression> {
    let flow = flow_in(Set::Taken, family, Way::Same);
    let captured = [
        Expression::Protocol(Protocol::Udp),
        Expression::Untracked,
        Expression::Family(family),
        Expression::FamilyIn(Is::In, ALIVE_DATAGRAMS),
    ];
    captured.into_iter().chain([flow])
}

/// What was captured, at the end of PREROUTING. The mark of a LAN host's datagram may have been
/// overwritten on the way, and then its flow is known: it has no conntrack, and would be forwarded
/// without masquerading.
fn late(ruleset: &Ruleset, family: Family) -> NftChain {
    let take = || Expression::Goto(chain(TAKE, family));
    let mut rules =
        vec![vec![Expression::FromLoopback, Expression::Marked(Fwmark::OWN_DATAGRAMS), take()]];
    if ruleset.policy.lan.is_some() {
        let lan = set_name(Set::Lan, family);
        let from_lan = [Expression::FromInterfaceIn(Is::In, lan), Expression::Untracked];
        let rule = |rest: &[Expression]| {
            from_lan.iter().chain(rest).cloned().chain([take()]).collect::<NftRule>()
        };
        let mark = Fwmark::LAN_DATAGRAMS;
        rules.push(rule(&[Expression::Marked(mark)]));
        rules.push(rule(&[flow_in(Set::Taken, family, Way::Same), Expression::Mark(mark)]));
    }
    NftChain { name: chain(LATE, family), hook: None, rules }
}

fn take(ruleset: &Ruleset, family: Family) -> NftChain {
    let listener = SocketAddr::new(family.loopback(), ruleset.policy.udp_port);
    let rules =
        vec![vec![Expression::Tproxy(listener), Expression::Accept], vec![Expression::Drop]];
    NftChain { name: chain(TAKE, family), hook: None, rules }
}

/// The base chain that sees what begins outside once every firewall has let it pass: the answers of
/// a server here, or of one behind a forwarded port, go back as they came.
fn outside(ruleset: &Ruleset, name: &str, point: Point) -> NftChain {
    let rules = capturing(ruleset).map(|family| {
        vec![
            Expression::Protocol(Protocol::Udp),
            Expression::Begins,
            Expression::Family(family),
            Expression::Jump(chain(OUTSIDE, family)),
        ]
    });
    base(name, ChainKind::Filter, point, BEHIND_ALL, rules)
}

/// A flow that is captured stays so: a forged datagram does not make it direct.
fn from_outside(ruleset: &Ruleset, family: Family) -> NftChain {
    let mut rules = vec![vec![Expression::FromLoopback, Expression::Return]];
    if ruleset.policy.lan.is_some() {
        let lan = Expression::FromInterfaceIn(Is::In, set_name(Set::Lan, family));
        rules.push(vec![lan, Expression::Return]);
    }
    rules.push(vec![flow_in(Set::Taken, family, Way::Back), Expression::Return]);
    rules.push(vec![remember(Set::Older, family, Way::Back)]);
    NftChain { name: chain(OUTSIDE, family), hook: None, rules }
}
