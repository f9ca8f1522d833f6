//! The filter table: what is rejected, what is dropped, and who comes in at our own ports. Pure.

use super::datagrams::{is_flow_of, is_reply};
use super::direct;
use super::lan::of_the_lan;
use super::matches::{exempt, loopback, marked, queries, to, to_probe};
use super::table::{
    CLOSED, FILTER, FOREIGN, INACTIVE, INPUT, IptablesChain, IptablesTable, LAN, OUTPUT, Part,
    REJECT, RUNGS, STRAY,
};
use crate::family::Family;
use crate::firewall::ladder::{Destination, LADDER, LINK_LOCAL, Verdict};
use crate::firewall::names::CHAIN;
use crate::firewall::policy::{Datagrams, Foreign, QUIC};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;
use crate::firewall::switch::OnFailure;
use crate::mark::Fwmark;

/// Rejects. The destination of what nat redirected is local by now, so it passes on the first
/// rung. The jump takes the first packets of connections only, so that the bytes of a running
/// transfer cost one match, and so that a QUIC connection or a game that was there before us goes
/// on.
pub(super) fn filter(ruleset: &Ruleset, family: Family, foreign: Foreign) -> IptablesTable {
    let unreachable = match family {
        Family::V4 => "icmp-port-unreachable",
        Family::V6 => "icmp6-port-unreachable",
    };
    // While the family is not captured.
    let (inactive, mut otherwise) = match ruleset.policy.on_failure {
        OnFailure::Closed => (CLOSED, Vec::new()),
        OnFailure::Open => {
            let rejected = Set::Rejected.name(family);
            (INACTIVE, vec![format!("-m set ! --match-set {rejected} dst -j RETURN")])
        }
    };
    let not_captured = format!("-m set ! --match-set {} dst", Set::Alive.name(family));
    // The proof never leaves this machine, whoever took it out of our redirect.
    let own = [format!("{}-g {REJECT}", to_probe(family)), marked(ruleset)];
    let own = own.into_iter().chain(exempt(ruleset));
    let mut chains = Vec::new();
    let (rungs, mut rules) = if ruleset.policy.lan.is_some() && !ruleset.policy.exempt.is_empty() {
        let rules = own.chain([format!("-g {RUNGS}")]).collect();
        chains.push(IptablesChain { name: CHAIN, rules });
        (RUNGS, vec![marked(ruleset)])
    } else {
        (CHAIN, own.collect())
    };
    rules.push(format!("{not_captured} -g {inactive}"));
    if family == Family::V6 && ruleset.policy.listens(family) {
        rules.extend(queries(family).map(|query| format!("-d {LINK_LOCAL} {query} -g {REJECT}")));
    }
    rules.push(format!("-g {FILTER}"));
    if foreign != Foreign::Pass {
        otherwise.extend(
            queries(family).map(|query| format!("! -d {} {query} -g {REJECT}", loopback(family))),
        );
    }
    otherwise.push(format!("-g {FILTER}"));
    let ladder = LADDER.iter().map(|(destination, verdict)| {
        let then = match (verdict, foreign) {
            (Verdict::Block, _) | (Verdict::Foreign, Foreign::Reject) => format!("-g {REJECT}"),
            (Verdict::Foreign, Foreign::Redirect { .. }) => format!("-g {FOREIGN}"),
            (Verdict::Pass, _) | (Verdict::Foreign, Foreign::Pass) => {
                direct::let_go(ruleset, *destination)
            }
        };
        format!("{}{then}", to(*destination, family))
    });
    chains.extend([
        IptablesChain { name: rungs, rules },
        IptablesChain { name: inactive, rules: otherwise },
        IptablesChain { name: FILTER, rules: ladder.collect() },
        IptablesChain {
            name: REJECT,
            rules: vec![
                "-p tcp --syn -j REJECT --reject-with tcp-reset".into(),
                // A TCP connection that conntrack picked up in its middle: not ours to end.
                "-p tcp -j RETURN".into(),
                format!("-j REJECT --reject-with {unreachable}"),
            ],
        },
    ]);
    if let Foreign::Redirect { quic, udp } = foreign {
        // Foreign TCP that is captured is local by now: other protocols come here, and what nat
        // missed.
        let mut rules = vec![format!("{not_captured} -g {REJECT}")];
        if ruleset.captures_datagrams(family) {
            // One that gets no answers is NEW with each datagram.
            rules.push(format!("-p udp {} -j RETURN", is_flow_of(Set::Older, family)));
            if ruleset.policy.on_failure == OnFailure::Open {
                let proxied = datagrams_where([quic, udp].map(|way| way == Datagrams::Proxy));
                let [alive, rejected] = [Set::AliveDatagrams, Set::RejectedDatagrams]
                    .map(|set| format!("-m set ! --match-set {} dst", set.name(family)));
                rules.extend(proxied.map(|which| format!("{which} {alive} {rejected} -j RETURN")));
            }
        }
        rules.extend(lost(ruleset, family));
        // What is to be captured and comes here was missed: better refused than direct.
        let caught = datagrams_where([quic, udp].map(|way| way != Datagrams::Direct));
        rules.extend(caught.map(|which| format!("{which} -j REJECT --reject-with {unreachable}")));
        // Of this machine's own: somebody took it out of nat, or flushed that. Better refused than
        // direct. What others translate is theirs. (Not for LAN hosts: while the mode changes,
        // theirs would be refused for a moment.)
        rules.push(
            "-p tcp --syn -m addrtype --src-type LOCAL -m conntrack ! --ctstate DNAT -j REJECT \
             --reject-with tcp-reset"
                .into(),
        );
        if ruleset.policy.counts_direct {
            rules.push(direct::let_go(ruleset, Destination::Anywhere));
        }
        chains.push(IptablesChain { name: FOREIGN, rules });
    }
    chains.extend(direct::labels(ruleset));
    let mut jumps = Part::Filter.jumps(true);
    let datagrams = ruleset.captures_datagrams(family);
    if datagrams {
        chains.push(IptablesChain { name: OUTPUT, rules: output(ruleset) });
        jumps.splice(0..0, Part::Filter.datagram_jumps(ruleset.policy.lan.is_some()));
    }
    if ruleset.policy.listens(family) || datagrams {
        chains.push(IptablesChain { name: STRAY, rules: stray(family, datagrams) });
        let hooks = if ruleset.policy.lan.is_some() { 2 } else { 1 };
        // Inserted before the others, so that it stands behind them.
        jumps.splice(0..0, Part::stray_jumps(family, datagrams).into_iter().take(hooks));
    }
    if ruleset.policy.lan.is_some() {
        let mut rules = of_the_lan(family).to_vec();
        rules.push(format!("-g {rungs}"));
        chains.push(IptablesChain { name: LAN, rules });
    } else {
        jumps.retain(|jump| !jump.ends_with(LAN));
    }
    let input = input(ruleset, family);
    if !input.is_empty() {
        chains.push(IptablesChain { name: INPUT, rules: input });
    } else {
        jumps.retain(|jump| !jump.ends_with(INPUT));
    }
    IptablesTable { part: Part::Filter, jumps, chains }
}

/// The match of UDP where it is QUIC, where it is any other, or both.
fn datagrams_where(quic_others: [bool; 2]) -> Option<String> {
    match quic_others {
        [true, true] => Some("-p udp".into()),
        [true, false] => Some(format!("-p udp --dport {QUIC}")),
        [false, true] => Some(format!("-p udp ! --dport {QUIC}")),
        [false, false] => None,
    }
}

/// UDP that cannot be captured, and may go directly then: of bridges, and of this machine. QUIC may
/// not.
fn lost(ruleset: &Ruleset, family: Family) -> Vec<String> {
    if !ruleset.lets_uncaptured_go(family) {
        return Vec::new();
    }
    let then = format!("-p udp ! --dport {QUIC} -j RETURN");
    let bridges = ruleset.environment.datagrams.bridges.iter().filter(|(of, _)| *of == family);
    let bridges = bridges.map(|(_, bridge)| format!("-i {bridge} {then}"));
    let own = format!("-m addrtype --src-type LOCAL {then}");
    let own = (!ruleset.captures_own_datagrams_in_mangle(family)).then_some(own);
    bridges.chain(own).collect()
}

/// At our own door: redirected packets of the LAN side come in, whatever a firewall says that
/// knows nothing of them; strangers, who were not redirected, find nobody there. A translation of
/// another program's that leads here is left to the others' rules.
fn input(ruleset: &Ruleset, family: Family) -> Vec<String> {
    let is_router = ruleset.policy.lan.is_some();
    // First of all: the port is that of a foreign destination, and can be any.
    let datagrams = (is_router && ruleset.captures_datagrams(family))
        .then(|| format!("-p udp -m mark --mark {} -j ACCEPT", Fwmark::LAN_DATAGRAMS));
    if !ruleset.policy.has_input_guard() || !ruleset.policy.listens(family) {
        return datagrams.into_iter().collect();
    }
    let ports = [
        format!("-p tcp --dport {}", ruleset.policy.tcp_port),
        format!("-p udp --dport {}", ruleset.policy.dns_port),
        format!("-p tcp --dport {}", ruleset.policy.dns_port),
    ];
    let lan = Set::Lan.name(family);
    let redirected = "-m conntrack --ctstate DNAT";
    // In local mode nothing is redirected but over loopback.
    let accepts = ports
        .iter()
        .filter(|_| is_router)
        .map(|port| format!("{port} {redirected} -m set --match-set {lan} src,src -j ACCEPT"));
    let drops = ports.iter().map(|port| format!("{port} -m conntrack ! --ctstate DNAT -j DROP"));
    datagrams.into_iter().chain(accepts).chain(drops).collect()
}

/// Captured datagrams of this machine, which a firewall takes for outgoing ones in the state
/// UNTRACKED (the interface of the hook is that of before the new route), and replies. One that
/// mangle has not seen is lost rather than direct.
fn output(ruleset: &Ruleset) -> Vec<String> {
    vec![
        format!("-m mark --mark {} -j DROP", Fwmark::LAN_DATAGRAMS),
        format!("-m mark --mark {} -j ACCEPT", Fwmark::OWN_DATAGRAMS),
        format!("{} -j ACCEPT", is_reply(ruleset)),
    ]
}

fn stray(family: Family, datagrams: bool) -> Vec<String> {
    // By these the hosts of a path that is not seen whole find its MTU (RFC 1191).
    let too_big = "-p icmp -m icmp --icmp-type 3/4 -j RETURN".to_owned();
    let too_big = (datagrams && family == Family::V4).then_some(too_big);
    too_big.into_iter().chain(["-j DROP".into()]).collect()
}
