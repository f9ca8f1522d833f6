//! From one ruleset to another while traffic flows: what the tools are told, table by table. Pure.
//!
//! Theory of operation. Neither foreign traffic may leave directly nor domestic traffic be captured
//! on the way, and three tables of two families and a dozen sets do not change at one moment. So
//! the order is such that for every connection the state in between is the old or the new one:
//!
//! - **Sets** ([`sets::changes`](super::sets::changes)): first everything new is added, then
//!   everything stale is taken out. A prefix that changes sides is in both for a moment, and there
//!   the stronger of its two verdicts counts; never a third.
//! - **A table is committed whole** by iptables-restore, in both variants: our chains are emptied
//!   and filled in one commit.
//! - **Tables one by one**: who redirects must not stop before who rejects has begun, and the other
//!   way round, see [`order`]. Captured UDP is decided in raw: mangle has to be there before, and
//!   filter rejects it only where raw captures it.
//!
//! A packet that is just between two hooks (nat, then filter) may be judged by both worlds; so it
//! is with every firewall, nf_tables' transactions included.

use super::residue::Residue;
use super::rules;
use super::table::{IptablesTable, Part};
use crate::family::Family;
use crate::firewall::policy::Foreign;
use crate::firewall::ruleset::Ruleset;
use std::fmt::Write;

/// In which order the tables change.
pub(in crate::firewall) fn order(old: &Ruleset, new: &Ruleset, family: Family) -> [Part; 4] {
    let rejects = |ruleset: &Ruleset| ruleset.foreign(family) == Foreign::Reject;
    let datagrams = |ruleset: &Ruleset| ruleset.captures_datagrams(family);
    if rejects(new) {
        // What is captured is local, or no beginning, when filter sees it, so the reject may come
        // before the end of the capture.
        [Part::Filter, Part::Raw, Part::Mangle, Part::Nat]
    } else if rejects(old) {
        [Part::Mangle, Part::Nat, Part::Raw, Part::Filter]
    } else if new.policy.lan.is_none() && old.policy.lan.is_some() {
        // The guard lets in what is captured: it goes after the capture of the LAN side.
        if datagrams(new) && !datagrams(old) {
            [Part::Mangle, Part::Nat, Part::Raw, Part::Filter]
        } else {
            [Part::Nat, Part::Raw, Part::Filter, Part::Mangle]
        }
    } else if datagrams(old) && !datagrams(new) {
        [Part::Filter, Part::Raw, Part::Mangle, Part::Nat]
    } else {
        // As at the start: what draws the traffic to us is last.
        [Part::Mangle, Part::Raw, Part::Filter, Part::Nat]
    }
}

/// The input of `iptables-restore --noflush` that turns one table; `None` if nothing in it changes.
pub(in crate::firewall) fn text(
    part: Part,
    old: &Ruleset,
    new: &Ruleset,
    family: Family,
) -> Option<String> {
    // The same path may be another cgroup by now, see [`crate::exempt_programs`].
    let is_stale = old.environment.cgroups != new.environment.cgroups;
    let of = |ruleset: &Ruleset| {
        let mut tables = rules::tables(ruleset, family);
        let place = tables.iter().position(|table| table.part == part)?;
        Some(tables.swap_remove(place))
    };
    let empty = || IptablesTable { part, jumps: Vec::new(), chains: Vec::new() };
    let (old, new) = (of(old).unwrap_or_else(empty), of(new).unwrap_or_else(empty));
    (old != new || is_stale).then(|| turn(&old, &new))
}

fn turn(old: &IptablesTable, new: &IptablesTable) -> String {
    let kept = |jump: &&String| !new.jumps.contains(jump);
    let there = Residue {
        table: old.part.table().into(),
        jumps: old.jumps.iter().filter(kept).cloned().collect(),
        chains: old.chains.iter().map(|chain| (chain.name.into(), chain.rules.len())).collect(),
    };
    let added = new.jumps.iter().filter(|jump| !old.jumps.contains(jump));
    written(&there, new, added)
}

/// The input of `iptables-restore --noflush` that makes of what is there of ours in a table,
/// whatever it is, what should be there. All of it is one commit: nothing is missing in between.
pub(in crate::firewall) fn mended(there: &Residue, wanted: &IptablesTable) -> String {
    written(there, wanted, wanted.jumps.iter())
}

/// Takes the jumps of `there` out, fills the chains of `new`, and puts `jumps` in.
fn written<'a>(
    there: &Residue,
    new: &IptablesTable,
    jumps: impl Iterator<Item = &'a String>,
) -> String {
    let mut text = format!("*{}\n", new.part.table());
    let mut line = |line: std::fmt::Arguments<'_>| {
        // A String takes every write.
        let _ = writeln!(text, "{line}");
    };
    let had = |name: &str| there.chains.iter().any(|(known, _)| known == name);
    for chain in new.chains.iter().filter(|chain| !had(chain.name)) {
        line(format_args!(":{} - [0:0]", chain.name));
    }
    for jump in &there.jumps {
        line(format_args!("-D {jump}"));
    }
    for (name, _) in &there.chains {
        line(format_args!("-F {name}"));
    }
    for chain in &new.chains {
        for rule in &chain.rules {
            line(format_args!("-A {} {rule}", chain.name));
        }
    }
    let has = |name: &str| new.chains.iter().any(|chain| chain.name == name);
    for (name, _) in there.chains.iter().filter(|(name, _)| !has(name)) {
        line(format_args!("-X {name}"));
    }
    for jump in jumps {
        line(format_args!("-I {jump}"));
    }
    line(format_args!("COMMIT"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::policy::{Datagrams, Ipv6};
    use crate::firewall::tests::{router, ruleset, set};

    #[test]
    fn what_does_not_change_is_not_touched() {
        let other_sets = ruleset().with_rules(|rules| rules.direct = set("192.0.2.0/24"));
        for family in Family::ALL {
            for part in Part::ALL {
                assert_eq!(text(part, &ruleset(), &other_sets, family), None);
            }
        }
        let no_quic = ruleset().with(|policy| policy.quic = Datagrams::Direct);
        assert_eq!(text(Part::Nat, &ruleset(), &no_quic, Family::V4), None);
        let filter = text(Part::Filter, &ruleset(), &no_quic, Family::V4).unwrap();
        assert!(filter.contains("-F SNET-FOREIGN\n") && !filter.contains("-D "), "{filter}");
        assert!(!filter.contains("--dport 443"), "{filter}");
    }

    #[test]
    fn a_mode_brings_its_chains_and_jumps_and_takes_them_away() {
        let local =
            ruleset().with(|policy| policy.listeners.clone_from(&router().policy.listeners));
        let nat = text(Part::Nat, &local, &router(), Family::V4).unwrap();
        assert!(
            nat.starts_with("*nat\n:SNET-LAN - [0:0]\n:SNET-LAN-DNS - [0:0]\n-F SNET\n"),
            "{nat}"
        );
        assert!(nat.ends_with("-I PREROUTING -j SNET-LAN\nCOMMIT\n"), "{nat}");
        let back = text(Part::Nat, &router(), &local, Family::V4).unwrap();
        assert!(back.starts_with("*nat\n-D PREROUTING -j SNET-LAN\n"), "{back}");
        assert!(back.ends_with("-X SNET-LAN\n-X SNET-LAN-DNS\nCOMMIT\n"), "{back}");
    }

    #[test]
    fn a_reject_begins_before_the_redirect_ends_and_the_other_way_round() {
        let block = ruleset().with(|policy| policy.ipv6 = Ipv6::Block);
        let before = |parts: [Part; 4], first, second| {
            let place = |part| parts.iter().position(|other| *other == part);
            place(first) < place(second)
        };
        let blocking = order(&ruleset(), &block, Family::V6);
        assert!(before(blocking, Part::Filter, Part::Nat));
        let unblocking = order(&block, &ruleset(), Family::V6);
        assert!(before(unblocking, Part::Nat, Part::Filter));
        let leaving = order(&router(), &ruleset(), Family::V4);
        assert!(before(leaving, Part::Nat, Part::Filter));
    }

    #[test]
    fn what_raw_draws_out_of_conntrack_mangle_takes() {
        let with_udp = |ruleset: Ruleset| ruleset.with(|policy| policy.udp = Datagrams::Proxy);
        for old in [ruleset(), router()] {
            for new in [ruleset(), router()] {
                let place = |parts: [Part; 4], part| parts.iter().position(|it| *it == part);
                let begins = order(&old, &with_udp(new.clone()), Family::V4);
                assert!(place(begins, Part::Mangle) < place(begins, Part::Raw));
                assert!(place(begins, Part::Raw) < place(begins, Part::Filter));
                let ends = order(&with_udp(old.clone()), &new, Family::V4);
                assert!(place(ends, Part::Raw) < place(ends, Part::Mangle));
            }
        }
    }
}
