//! The capture of foreign UDP: chains in raw that decide, and the table mangle that obeys. Pure.
//!
//! # Theory of operation
//!
//! Captured datagrams are kept out of conntrack, since an entry would outlive the rules: with none
//! a client's flow goes directly, translated as any other, at the first datagram that is not
//! captured. That has to be said before conntrack looks, in raw. TPROXY works in mangle alone
//! (xt_TPROXY.c), and so does the new routing of what this machine sends (ipt_mangle_out). So raw
//! decides, and tells mangle by [`Fwmark::LAN_DATAGRAMS`]; that another program has taken something
//! out of conntrack means nothing here. In mangle OUTPUT the mark is exchanged for
//! [`Fwmark::OWN_DATAGRAMS`]: the change makes the kernel ask for a route again, and the policy
//! route leads to `lo`, where PREROUTING takes the datagram.
//!
//! The order of what raw asks: snet's own mark, exempt programs and hosts, what never leaves; flows
//! that are *older* than the capture, which pass; flows that were *taken*, which are taken again
//! whatever the lists say by now; then the ladder. Both sets are kept by the datagrams themselves.
//! While the switch of the family is off, what would be taken is learned as older instead.
//!
//! No datagram leaves half captured: TPROXY drops where no socket listens (xt_TPROXY.c), mangle
//! drops what bears a mark and leaves by another interface than `lo` (the policy routes are gone),
//! and filter drops what mangle has not seen (another program flushed it).
//!
//! A server here, or behind a forwarded port, answers as it did: the flow of who asks it is noted
//! as older where it has passed all firewalls: in the chains INPUT and POSTROUTING of nat.
//!
//! Replies leave from the foreign address, with snet's mark. Conntrack must not see them either, or
//! the client's next datagram would be the reply of that entry, and leave untranslated.

use super::lan::of_the_lan;
use super::matches::{exempt, in_set, marked, to, to_probe};
use super::table::{
    CAPTURE, DATAGRAMS, FORWARDED, INBOUND, IptablesChain, IptablesTable, LAN_UDP, LEARN, OUTSIDE,
    Part, STRAY, TAKE, TPROXY, UDP,
};
use crate::family::Family;
use crate::firewall::ladder::{Destination, LADDER, Verdict};
use crate::firewall::names::CHAIN;
use crate::firewall::policy::{Datagrams, Foreign, QUIC};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::{OLDER_LIFETIME, Set, TAKEN_LIFETIME};
use crate::firewall::switch::OnFailure;
use crate::mark::Fwmark;
use crate::probe;

/// The rules that stand before all others in the chain of OUTPUT: replies to what was captured.
pub(super) fn replies(ruleset: &Ruleset) -> [String; 2] {
    let reply = is_reply(ruleset);
    [format!("{reply} -j CT --notrack"), format!("{reply} -j RETURN")]
}

/// The match of a datagram that leaves from a foreign address, which only snet's sockets do.
pub(super) fn is_reply(ruleset: &Ruleset) -> String {
    format!("-m mark --mark {} -m addrtype ! --src-type LOCAL", ruleset.policy.mark)
}

/// The source and the destination of an older flow, and those of its answers.
const THERE: &str = "src,src,dst";
const BACK: &str = "dst,dst,src";

/// The match of a flow in one of the two sets of flows.
pub(super) fn is_flow_of(set: Set, family: Family) -> String {
    format!("-m set --match-set {} {THERE}", set.name(family))
}

/// The chains in raw.
pub(super) fn raw(ruleset: &Ruleset, family: Family) -> Vec<IptablesChain> {
    let mut own = vec![
        format!("{}-p udp --dport {} -g {CAPTURE}", to_probe(family), probe::UDP_PORT),
        marked(ruleset),
    ];
    own.extend(exempt(ruleset));
    // What mangle would take is lost behind it: then filter rejects it.
    if ruleset.captures_own_datagrams_in_mangle(family) {
        own.push(format!("-g {DATAGRAMS}"));
    }
    let mut chains = vec![IptablesChain { name: UDP, rules: own }];
    if ruleset.policy.lan.is_some() {
        let mut rules = of_the_lan(family).to_vec();
        rules.push(marked(ruleset));
        let lost = ruleset.environment.datagrams.bridges.iter().filter(|(of, _)| *of == family);
        rules.extend(lost.map(|(_, bridge)| format!("-i {bridge} -j RETURN")));
        rules.push(format!("-g {DATAGRAMS}"));
        chains.push(IptablesChain { name: LAN_UDP, rules });
    }
    let mut learn = vec![
        // What is rejected meanwhile does not go on.
        format!("{}-j RETURN", in_set(Set::RejectedDatagrams, family)),
    ];
    learn.push(renew(Set::Older, family, THERE));
    let capture =
        vec![format!("-j MARK --set-xmark {}", Fwmark::LAN_DATAGRAMS), "-j CT --notrack".into()];
    chains.extend([
        IptablesChain { name: DATAGRAMS, rules: ladder(family) },
        IptablesChain { name: TAKE, rules: take(ruleset, family) },
    ]);
    if ruleset.policy.on_failure == OnFailure::Open {
        chains.push(IptablesChain { name: LEARN, rules: learn });
    }
    chains.push(IptablesChain { name: CAPTURE, rules: capture });
    chains
}

fn ladder(family: Family) -> Vec<String> {
    let older = is_flow_of(Set::Older, family);
    let flows = [
        format!("{older} {}", renew(Set::Older, family, THERE)),
        format!("{older} -j RETURN"),
        format!("{} -g {TAKE}", is_flow_of(Set::Taken, family)),
    ];
    let rung = |(destination, verdict): &(Destination, Verdict)| {
        let then = match verdict {
            // The reject is in filter.
            Verdict::Pass | Verdict::Block => "-j RETURN".into(),
            Verdict::Foreign => format!("-g {TAKE}"),
        };
        format!("{}{then}", to(*destination, family))
    };
    let never_leaves = |(destination, _): &&(Destination, Verdict)| {
        use Destination::{In, Local, Multicast};
        matches!(destination, Local | Multicast | In(Set::Connected))
    };
    let first = LADDER.iter().take_while(never_leaves).map(rung);
    let rest = LADDER.iter().skip_while(never_leaves).map(rung);
    first.chain(flows).chain(rest).collect()
}

fn take(ruleset: &Ruleset, family: Family) -> Vec<String> {
    let mut rules = Vec::new();
    if let Foreign::Redirect { quic, udp } = ruleset.policy.foreign(family) {
        match [quic, udp].map(|way| way == Datagrams::Proxy) {
            [true, false] => rules.push(format!("-p udp ! --dport {QUIC} -j RETURN")),
            [false, true] => rules.push(format!("-p udp --dport {QUIC} -j RETURN")),
            _ => {}
        }
    }
    let otherwise = match ruleset.policy.on_failure {
        OnFailure::Open => format!("-g {LEARN}"),
        OnFailure::Closed => "-j RETURN".into(),
    };
    rules.extend([
        format!("-m set ! --match-set {} dst {otherwise}", Set::AliveDatagrams.name(family)),
        // In a rule of its own: a set that is full takes nothing, and the datagram is captured.
        renew(Set::Taken, family, THERE),
        format!("-g {CAPTURE}"),
    ]);
    rules
}

/// Adds the flow, or gives it its whole time again. The walk goes on.
fn renew(set: Set, family: Family, way: &str) -> String {
    let lifetime = if set == Set::Taken { TAKEN_LIFETIME } else { OLDER_LIFETIME };
    let (set, seconds) = (set.name(family), lifetime.as_secs());
    format!("-j SET --add-set {set} {way} --exist --timeout {seconds}")
}

/// The chains in nat: what begins outside is noted. A flow that is captured stays so: a forged
/// datagram does not make it direct.
pub(super) fn nat(ruleset: &Ruleset, family: Family) -> Vec<IptablesChain> {
    let noted = vec![
        format!("-m set --match-set {} {BACK} -j RETURN", Set::Taken.name(family)),
        renew(Set::Older, family, BACK),
    ];
    let outside = IptablesChain { name: OUTSIDE, rules: noted };
    let lan = |is: &str, way| format!("-m set {is}--match-set {} {way}", Set::Lan.name(family));
    let then = format!("-g {OUTSIDE}");
    if ruleset.policy.lan.is_none() {
        return vec![IptablesChain { name: INBOUND, rules: vec![then] }, outside];
    }
    let inbound = vec![format!("{} -j RETURN", lan("", "src,src")), then.clone()];
    // Where it is forwarded from is not known any more: what leaves for a LAN host.
    let forwarded = vec![
        format!("{} -j RETURN", lan("! ", "dst,dst")),
        "-m addrtype --src-type LOCAL -j RETURN".into(),
        then,
    ];
    vec![
        IptablesChain { name: INBOUND, rules: inbound },
        IptablesChain { name: FORWARDED, rules: forwarded },
        outside,
    ]
}

/// The table mangle.
pub(super) fn mangle(ruleset: &Ruleset, family: Family) -> IptablesTable {
    let [own, lan] = [Fwmark::OWN_DATAGRAMS, Fwmark::LAN_DATAGRAMS];
    let exchange = format!("-j MARK --set-xmark {:#x}/{:#x}", own.value(), own.mask() | lan.mask());
    let to_listener = |which: &str, mark: Fwmark| {
        format!(
            "{which}-p udp -m mark --mark {mark} -j TPROXY --on-port {} --on-ip {} \
             --tproxy-mark {mark}",
            ruleset.policy.udp_port,
            family.loopback(),
        )
    };
    let mut tproxy = vec![to_listener("-i lo ", own)];
    if ruleset.policy.lan.is_some() {
        tproxy.push(to_listener("", lan));
    }
    let mut lost = [own, lan].map(|mark| format!("-m mark --mark {mark} -j DROP")).to_vec();
    // Another program has overwritten the mark: what conntrack does not know leaves untranslated.
    lost.push(format!(
        "-m conntrack --ctstate UNTRACKED {}{} -j DROP",
        in_set(Set::AliveDatagrams, family),
        is_flow_of(Set::Taken, family),
    ));
    IptablesTable {
        part: Part::Mangle,
        jumps: Part::Mangle.datagram_jumps(ruleset.policy.lan.is_some()),
        chains: vec![
            // And no rule behind it gives it another mark.
            IptablesChain { name: CHAIN, rules: vec![exchange, "-j ACCEPT".into()] },
            IptablesChain { name: TPROXY, rules: tproxy },
            IptablesChain { name: STRAY, rules: lost },
        ],
    }
}
