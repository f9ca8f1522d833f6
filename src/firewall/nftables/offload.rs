//! `firewall.offload`: forwarded domestic flows take a short way through the kernel. Pure.
//!
//! # Theory of operation
//!
//! A flowtable looks at packets where they come in, before every other hook. One whose flow it
//! knows gets its addresses translated and goes out by the interface that it had before: no
//! conntrack, no routing, no rule of any program (Documentation/networking/nf_flowtable.rst). A
//! flow gets there by a rule of a forward chain, and only as an established one
//! (net/netfilter/nft_flow_offload.c). A FIN or a RST, another route, an interface that goes down,
//! or half a minute of silence takes it out again: the packets go the long way as before, and
//! conntrack has the flow all the while.
//!
//! **Which flows.** Those that a LAN host began, over TCP or UDP, to a destination that the ladder
//! lets pass because it is domestic or because a rule says "direct"; not because it is near. The
//! base chain stands behind everybody's filters, so that no flow is offloaded that another program
//! refuses. It takes packets of the original direction only, whose source and destination mean what
//! they mean to the ladder, and only flows that conntrack calls assured: a handshake that is not
//! complete, or one question over UDP and its answer, would cost more than it spares. What is
//! captured never passes FORWARD.
//!
//! **When the rules change** the flowtable is made anew, in the same transaction: all its flows
//! take the long way, where the rules of others see them again, and those that still go directly
//! come back with their next packet. Our own rules judge only what begins, as ever: the connection
//! goes on.

use super::exempt::of_the_lan;
use super::matches::{BEHIND_ALL, active, base, chain, listening, marked, rungs};
use super::sets;
use super::table::{
    ChainKind, Expression, InterfaceName, NftChain, NftFlowtable, NftTable, Point, Protocol,
};
use crate::family::Family;
use crate::firewall::ladder::{Destination, LADDER};
use crate::firewall::names::TABLE;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;

const FLOWTABLE: &str = "direct";

/// The base chain, and the beginning of those of each family. Not "offload" or "flow", which are
/// words of nft's language.
const FLOWS: &str = "flows";

/// The only chain whose rules name the flowtable.
const SHORTCUT: &str = "shortcut";

/// `None`: nothing is offloaded.
pub(super) fn flowtable(ruleset: &Ruleset) -> Option<NftFlowtable> {
    let devices = ruleset.environment.offload.devices().filter(|_| ruleset.policy.offloads());
    let devices: Vec<InterfaceName> = devices.map(InterfaceName::new).collect();
    (!devices.is_empty()).then_some(NftFlowtable { name: FLOWTABLE, devices })
}

pub(super) fn chains(ruleset: &Ruleset) -> Vec<NftChain> {
    if flowtable(ruleset).is_none() {
        return Vec::new();
    }
    let lasting = |family| [vec![Expression::Lasts], active(family, FLOWS)].concat();
    let rules = listening(ruleset).map(lasting);
    let mut chains = vec![base(FLOWS, ChainKind::Filter, Point::Forward, BEHIND_ALL, rules)];
    chains.extend(listening(ruleset).map(|family| ladder(ruleset, family)));
    chains.push(shortcut());
    chains
}

fn ladder(ruleset: &Ruleset, family: Family) -> NftChain {
    let mut rules = of_the_lan(family).to_vec();
    rules.push(marked(ruleset));
    for (destination, _) in LADDER {
        let Destination::In(set) = destination else {
            // What is forwarded is not for this machine; multicast has no flows; and nothing is
            // done with the rest.
            continue;
        };
        let then = match set {
            Set::Direct | Set::LearnedDirect | Set::China => Expression::Goto(SHORTCUT.into()),
            _ => Expression::Return,
        };
        rules.extend(rungs(destination, family, &then));
    }
    NftChain { name: chain(FLOWS, family), hook: None, rules }
}

fn shortcut() -> NftChain {
    let take = |protocol| vec![Expression::Protocol(protocol), Expression::Offload(FLOWTABLE)];
    let rules = [Protocol::Tcp, Protocol::Udp].map(take).into();
    NftChain { name: SHORTCUT.into(), hook: None, rules }
}

impl NftChain {
    /// Whether its rules name the flowtable, which can only be removed without them.
    pub(super) fn offloads(&self) -> bool {
        self.rules.iter().flatten().any(|it| matches!(it, Expression::Offload(_)))
    }
}

impl NftTable {
    /// The same without a flowtable.
    pub(super) fn without_offload(&self) -> NftTable {
        let of_offload = |chain: &NftChain| {
            chain.name == SHORTCUT
                || chain.name == FLOWS
                || Family::ALL.iter().any(|family| chain.name == self::chain(FLOWS, *family))
        };
        let mut table = self.clone();
        table.flowtable = None;
        table.chains.retain(|chain| !of_offload(chain));
        table
    }
}

/// All that offloading needs of a kernel. The loopback interface is there in every namespace.
pub(super) fn trial() -> NftTable {
    let flowtable = NftFlowtable { name: FLOWTABLE, devices: vec![InterfaceName::new("lo")] };
    let jump = vec![Expression::Lasts, Expression::Jump(SHORTCUT.into())];
    let forward = base(FLOWS, ChainKind::Filter, Point::Forward, BEHIND_ALL, std::iter::once(jump));
    NftTable {
        name: TABLE,
        sets: vec![sets::switch(sets::ALIVE, &[])],
        flowtable: Some(flowtable),
        counters: Vec::new(),
        chains: vec![forward, shortcut()],
    }
}

/// Whether what the kernel refused is the flowtable or a rule that names it.
pub(super) fn concerns(what: &str) -> bool {
    what == format!("flowtable {FLOWTABLE}") || what.contains(&format!("flow add @{FLOWTABLE}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::nftables::rules;
    use crate::firewall::tests::router;

    fn offloading() -> Ruleset {
        let mut ruleset = router().with(|policy| policy.lan.as_mut().unwrap().offload = true);
        ruleset.environment.offload.devices = ["br-lan".into(), "eth0".into()].into();
        ruleset
    }

    #[test]
    fn nothing_of_it_is_in_a_table_where_it_is_not_wanted_or_not_possible() {
        let plain = rules::table(&router());
        assert!(plain.flowtable.is_none() && !plain.to_string().contains(FLOWS));
        let unwanted = offloading().with(|policy| policy.lan.as_mut().unwrap().offload = false);
        assert_eq!(rules::table(&unwanted), plain);
        let local = offloading().with(|policy| policy.lan = None);
        assert!(rules::table(&local).flowtable.is_none());
        let mut impossible = offloading();
        impossible.environment.offload.without(&"no flowtables");
        assert_eq!(rules::table(&impossible), plain);
    }

    #[test]
    fn without_it_the_table_is_that_of_before() {
        let table = rules::table(&offloading());
        assert!(table.flowtable.is_some() && table.chains.iter().any(NftChain::offloads));
        assert_eq!(table.without_offload(), rules::table(&router()));
    }

    #[test]
    fn a_flow_is_judged_in_the_order_of_the_ladder() {
        let chain = ladder(&offloading(), Family::V4).to_string();
        let rungs: Vec<&str> = chain.lines().filter(|line| line.contains("daddr")).collect();
        let sets = LADDER.iter().filter(|(to, _)| matches!(to, Destination::In(_)));
        assert_eq!(rungs.len(), sets.count());
        let short: Vec<&str> =
            rungs.iter().filter(|rung| rung.contains(SHORTCUT)).map(|rung| rung.trim()).collect();
        assert_eq!(
            short,
            ["@direct4", "@learned-direct4", "@china4"]
                .map(|set| format!("ip daddr {set} goto {SHORTCUT}"))
        );
        assert!(!chain.contains("refuse") && !chain.contains("redirect"));
    }

    #[test]
    fn what_is_refused_is_known() {
        assert!(concerns("flowtable direct"));
        assert!(concerns("the rule `meta l4proto tcp flow add @direct` of chain shortcut"));
        assert!(!concerns("set direct4") && !concerns("the rule `ip daddr @direct4 return`"));
    }
}
