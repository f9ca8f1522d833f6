//! The rules of one family, as text for `iptables-restore`. Pure.
//!
//! One [`LADDER`] of destinations is read twice: for nat, where foreign TCP is redirected, and for
//! filter, where the rest of the verdicts is spoken. Every rule that acts (redirect, reject, zone)
//! is made in [`nat`], [`filter`](mod@super::filter) or [`raw`] from a [`Verdict`]. Router mode
//! enters the same ladder from PREROUTING and FORWARD too, behind the question
//! [`of_the_lan`](lan::of_the_lan) whether the packet is one of the LAN side.

use super::datagrams;
use super::direct;
use super::filter::filter;
use super::lan;
use super::matches::{exempt, in_set, inactive, loopback, marked, queries, to, to_probe};
use super::table::{IptablesChain, IptablesTable, LAN_UDP, LINK, PROBE, Part, TCP, UDP};
use crate::family::Family;
use crate::firewall::ladder::{LADDER, LINK_LOCAL, Verdict};
use crate::firewall::names::{CHAIN, ZONE};
use crate::firewall::policy::Foreign;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;

/// What is installed, in this order: mangle comes before raw, whose decisions it carries out, and
/// nat, which draws the traffic to us, is last.
pub(in crate::firewall) fn tables(ruleset: &Ruleset, family: Family) -> Vec<IptablesTable> {
    let dns = ruleset.policy.listens(family);
    let datagrams = ruleset.captures_datagrams(family);
    let foreign = ruleset.foreign(family);
    let mut tables = Vec::new();
    let mut mangle = IptablesTable { part: Part::Mangle, jumps: Vec::new(), chains: Vec::new() };
    if datagrams {
        mangle = datagrams::mangle(ruleset, family);
    }
    direct::tally(ruleset, &mut mangle);
    if !mangle.chains.is_empty() {
        tables.push(mangle);
    }
    if dns || datagrams {
        tables.push(raw(ruleset, family, dns));
    }
    tables.push(filter(ruleset, family, foreign));
    if dns || datagrams {
        tables.push(nat(ruleset, family, foreign));
    }
    tables
}

/// Captured UDP queries and the replies to them get their zone; other captured UDP is kept out of
/// conntrack.
fn raw(ruleset: &Ruleset, family: Family, dns: bool) -> IptablesTable {
    let (mut rules, lan) = (Vec::new(), ruleset.policy.lan.is_some());
    let datagrams = ruleset.captures_datagrams(family);
    // Its target, and that of LAN hosts'.
    let [other, lan_other] = match datagrams {
        true => [format!("-g {UDP}"), format!("-g {LAN_UDP}")],
        false => ["-j RETURN", "-j RETURN"].map(String::from),
    };
    if datagrams {
        rules.extend(datagrams::replies(ruleset));
    }
    if dns {
        rules.extend(zone(ruleset, family, &other));
    } else {
        rules.push(format!("-p udp ! --dport 53 {other}"));
    }
    let mut chains = vec![IptablesChain { name: CHAIN, rules }];
    if lan {
        chains.push(lan::raw(ruleset, family, dns, &lan_other));
    }
    if datagrams {
        chains.extend(datagrams::raw(ruleset, family));
    }
    IptablesTable { part: Part::Raw, jumps: Part::Raw.jumps(lan), chains }
}

/// The zone of queries and of the replies to them. The exemptions are those of the DNS rules in
/// nat. `other`: the target of what is no query.
fn zone(ruleset: &Ruleset, family: Family, other: &str) -> Vec<String> {
    // Replies to this machine's queries leave over loopback, those to LAN hosts by any interface.
    let way = if ruleset.policy.lan.is_some() { "" } else { "-o lo " };
    let replies = format!("-p udp {way}--sport {}", ruleset.policy.dns_port);
    let mut rules = vec![
        // They are judged before the mark, in case their socket carries it. CT does not end the
        // walk.
        format!("{replies} -j CT --zone {ZONE}"),
        format!("{replies} -j RETURN"),
        format!("-p udp ! --dport 53 {other}"),
        format!("{}-j CT --zone {ZONE}", to_probe(family)),
        format!("{}-j RETURN", to_probe(family)),
        inactive(family),
        marked(ruleset),
    ];
    rules.extend(exempt(ruleset));
    rules.extend([
        format!("-d {} -j RETURN", loopback(family)),
        format!("{}-j RETURN", in_set(Set::Direct, family)),
        format!("-j CT --zone {ZONE}"),
    ]);
    rules
}

/// Redirects, and what is noted of UDP that begins outside. Only packets that conntrack takes for
/// the first of a connection come here.
fn nat(ruleset: &Ruleset, family: Family, foreign: Foreign) -> IptablesTable {
    let mut table = IptablesTable { part: Part::Nat, jumps: Vec::new(), chains: Vec::new() };
    if ruleset.policy.listens(family) {
        table = redirects(ruleset, family, foreign);
    }
    if ruleset.captures_datagrams(family) {
        table.jumps.extend(Part::Nat.datagram_jumps(ruleset.policy.lan.is_some()));
        table.chains.extend(datagrams::nat(ruleset, family));
    }
    table
}

fn redirects(ruleset: &Ruleset, family: Family, foreign: Foreign) -> IptablesTable {
    let mut rules = vec![
        // First of all: it proves the way also while the rules sleep, and also where everything
        // else of root's is left alone.
        format!("{}-g {PROBE}", to_probe(family)),
        inactive(family),
        marked(ruleset),
    ];
    rules.extend(exempt(ruleset));
    let link_local = family == Family::V6 && ruleset.policy.listens_link_local();
    if link_local {
        rules.push(format!("-d {LINK_LOCAL} -g {LINK}"));
    } else if family == Family::V6 {
        rules.push(format!("-d {LINK_LOCAL} -j RETURN"));
    }
    rules.extend(queries(family).map(|query| {
        format!(
            "! -d {} {query} -j REDIRECT --to-ports {}",
            loopback(family),
            ruleset.policy.dns_port
        )
    }));
    let proof = vec![
        format!("-p tcp --syn -j REDIRECT --to-ports {}", ruleset.policy.tcp_port),
        format!("-p udp -j REDIRECT --to-ports {}", ruleset.policy.dns_port),
    ];
    let mut chains =
        vec![IptablesChain { name: CHAIN, rules }, IptablesChain { name: PROBE, rules: proof }];
    let foreign_tcp = matches!(foreign, Foreign::Redirect { .. });
    if foreign_tcp {
        chains[0].rules.push(format!("-p tcp --syn -j {TCP}"));
        let rules = LADDER.iter().map(|(destination, verdict)| {
            let matching = to(*destination, family);
            match verdict {
                // The reject is in filter, which comes next.
                Verdict::Pass | Verdict::Block => format!("{matching}-j RETURN"),
                Verdict::Foreign => {
                    format!("-p tcp {matching}-j REDIRECT --to-ports {}", ruleset.policy.tcp_port)
                }
            }
        });
        chains.push(IptablesChain { name: TCP, rules: rules.collect() });
    }
    if link_local {
        chains.push(link(ruleset));
    }
    if ruleset.policy.lan.is_some() {
        chains.extend(lan::nat(ruleset, family, foreign_tcp));
    }
    IptablesTable { part: Part::Nat, jumps: Part::Nat.jumps(ruleset.policy.lan.is_some()), chains }
}

/// Queries of this machine to the name servers of its links, each to the link's own address.
fn link(ruleset: &Ruleset) -> IptablesChain {
    let port = ruleset.policy.dns_port;
    let rules = ruleset.environment.link_local.iter().flat_map(|(name, own)| {
        queries(Family::V6)
            .map(move |query| format!("-o {name} {query} -j DNAT --to-destination [{own}]:{port}"))
    });
    IptablesChain { name: LINK, rules: rules.collect() }
}

/// What makes the chain of link-local name servers that of `after`; `None` if it is so already.
pub(in crate::firewall) fn follow(before: &Ruleset, after: &Ruleset) -> Option<String> {
    if before.environment.link_local == after.environment.link_local
        || !after.policy.listens_link_local()
    {
        return None;
    }
    let rules = link(after).rules.into_iter();
    let rules: String = rules.map(|rule| format!("-A {LINK} {rule}\n")).collect();
    Some(format!("*nat\n-F {LINK}\n{rules}COMMIT\n"))
}
