//! What of ours stands in the tables, read from the text of `iptables-save`, and the text that
//! removes it. Pure.
//!
//! It needs no memory of what was installed, so it works for every state: half-made chains, one
//! jump or five, rules of another version. A chain is ours by its name.

use super::table::INPUT;
use super::table::{IptablesTable, Part};
use crate::family::Family;
use crate::firewall::names::is_ours;
use crate::firewall::third_party::words::Words;
use std::fmt::Write;

/// What of ours stands in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::firewall) struct Residue {
    pub(in crate::firewall) table: String,
    /// Rules in the chains of others that lead to a chain of ours, without the leading `-A`.
    pub(in crate::firewall) jumps: Vec<String>,
    /// Our chains, and how many rules each has.
    pub(in crate::firewall) chains: Vec<(String, usize)>,
}

/// Reads the output of `iptables-save`. Tables without anything of ours are left out.
pub(in crate::firewall) fn find(saved: &str) -> Vec<Residue> {
    let mut found: Vec<Residue> = Vec::new();
    for line in saved.lines() {
        if let Some(table) = line.strip_prefix('*') {
            found.push(Residue { table: table.trim().into(), ..Residue::default() });
            continue;
        }
        let Some(current) = found.last_mut() else { continue };
        if let Some(declared) = line.strip_prefix(':') {
            let name = declared.split(' ').next().unwrap_or_default();
            if is_ours(name) {
                current.chains.push((name.into(), 0));
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap_or_default();
            if let Some((_, rules)) = current.chains.iter_mut().find(|(name, _)| name == chain) {
                *rules += 1;
            } else if target(rule).is_some_and(is_ours) {
                current.jumps.push(rule.into());
            }
        }
    }
    found.retain(|left| !left.jumps.is_empty() || !left.chains.is_empty());
    found
}

/// Whether only rules of `ours` stand before this one in its chain.
pub(in crate::firewall) fn is_first(
    saved: &str,
    table: &str,
    rule: &str,
    ours: &[&String],
) -> bool {
    let chain = rule.split(' ').next().unwrap_or_default();
    let lines = saved.lines().skip_while(|line| line.strip_prefix('*') != Some(table));
    let rules = lines.take_while(|line| *line != "COMMIT").filter_map(|l| l.strip_prefix("-A "));
    let of_chain = rules.filter(|rule| rule.split(' ').next() == Some(chain));
    let mut first = of_chain.take_while(|rule| ours.iter().any(|own| own == rule));
    first.any(|other| other == rule)
}

/// What [`find`] should find where these tables are installed.
pub(in crate::firewall) fn of(tables: &[IptablesTable]) -> Vec<Residue> {
    let left = |table: &IptablesTable| Residue {
        table: table.part.table().into(),
        jumps: table.jumps.clone(),
        chains: table.chains.iter().map(|chain| (chain.name.into(), chain.rules.len())).collect(),
    };
    tables.iter().map(left).collect()
}

/// The tables of ours in which somebody made rules that iptables-nft cannot express. It does not
/// show them, but still changes them: iptables 1.8.9 says "Table `nat' is incompatible, use 'nft'
/// tool." in a comment, and `-D` works.
pub(in crate::firewall) fn unreadable(saved: &str) -> Vec<Part> {
    let says = |part: &Part| {
        let words = format!("Table `{}' is incompatible", part.table());
        saved.lines().any(|line| line.starts_with('#') && line.contains(&words))
    };
    Part::ALL.into_iter().filter(says).collect()
}

/// Texts that remove what may be there of this part, each of which fails if it is not.
pub(in crate::firewall) fn blind_removal(part: Part) -> Vec<String> {
    let table = part.table();
    let flushed = part.chains().iter().map(|name| format!("-F {name}"));
    let deleted = part.chains().iter().map(|name| format!("-X {name}"));
    let every = |family| [false, true].map(|is_any| Part::stray_jumps(family, is_any));
    let stray = Family::ALL.into_iter().flat_map(every).flatten();
    let stray = stray.filter(|_| part == Part::Filter);
    let jumps = part.jumps(true).into_iter().chain(part.datagram_jumps(true)).chain(stray);
    let tally = Part::tally_jumps().into_iter().filter(|_| part == Part::Mangle);
    let jumps = jumps.chain(tally);
    let jumps = jumps.map(|jump| format!("-D {jump}"));
    let acts = jumps.chain(flushed).chain(deleted);
    acts.map(|act| format!("*{table}\n{act}\nCOMMIT\n")).collect()
}

/// The input of `iptables-restore --noflush` that takes the jumps out and leaves the chains. The
/// guard at our ports stays too: what was captured has to come in to its end, and strangers not at
/// all.
pub(in crate::firewall) fn detachment(found: &[Residue]) -> String {
    let mut jumps = Vec::new();
    for left in found {
        let mut left = Residue { chains: Vec::new(), ..left.clone() };
        left.jumps.retain(|jump| target(jump) != Some(INPUT));
        if !left.jumps.is_empty() {
            jumps.push(left);
        }
    }
    removal(&jumps)
}

/// The input of `iptables-restore --noflush` that removes all of it. nat and raw go first, so that
/// nothing is drawn to us any longer; in each table the jumps, then the chains.
pub(in crate::firewall) fn removal(found: &[Residue]) -> String {
    let mut text = String::new();
    let draws = [Part::Nat, Part::Raw].map(Part::table);
    let place = |left: &&Residue| draws.iter().position(|table| *table == left.table);
    let mut found: Vec<&Residue> = found.iter().collect();
    found.sort_by_key(|left| place(left).unwrap_or(draws.len()));
    for left in found {
        // A String takes every write.
        let _ = writeln!(text, "*{}", left.table);
        for jump in &left.jumps {
            let _ = writeln!(text, "-D {jump}");
        }
        // All are emptied before the first is deleted: they refer to each other.
        for (name, _) in &left.chains {
            let _ = writeln!(text, "-F {name}");
        }
        for (name, _) in &left.chains {
            let _ = writeln!(text, "-X {name}");
        }
        let _ = writeln!(text, "COMMIT");
    }
    text
}

/// The chain or target a rule leads to. A quoted comment is one word, whatever it says.
fn target(rule: &str) -> Option<&str> {
    let mut words = Words(rule);
    words.find(|word| matches!(*word, "-j" | "-g"))?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"# Generated by iptables-save
*filter
:INPUT ACCEPT [1:2]
:SNETWORK - [0:0]
-A INPUT -j SNETWORK
-A INPUT -m comment --comment "not \" -j SNET yet" -j ACCEPT
COMMIT
*nat
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:SNET - [0:0]
:SNET-TCP - [0:0]
-A OUTPUT -j SNET
-A OUTPUT -m comment --comment "a -j DROP in words" -j SNET
-A DOCKER -g SNET-TCP
-A SNET -p tcp -j SNET-TCP
-A SNET-TCP -j RETURN
COMMIT
"#;

    #[test]
    fn finds_ours_and_nobody_elses() {
        let found = find(SAVED);
        assert_eq!(
            found,
            [Residue {
                table: "nat".into(),
                jumps: vec![
                    "OUTPUT -j SNET".into(),
                    r#"OUTPUT -m comment --comment "a -j DROP in words" -j SNET"#.into(),
                    "DOCKER -g SNET-TCP".into(),
                ],
                chains: vec![("SNET".into(), 1), ("SNET-TCP".into(), 1)],
            }]
        );
    }

    #[test]
    fn removes_jumps_then_rules_then_chains_and_nat_first() {
        let raw =
            Residue { table: "raw".into(), jumps: vec!["OUTPUT -j SNET".into()], chains: vec![] };
        let mut found = vec![raw];
        found.extend(find(SAVED));
        assert_eq!(
            removal(&found),
            "*nat\n-D OUTPUT -j SNET\n\
             -D OUTPUT -m comment --comment \"a -j DROP in words\" -j SNET\n\
             -D DOCKER -g SNET-TCP\n-F SNET\n-F SNET-TCP\n-X SNET\n-X SNET-TCP\nCOMMIT\n\
             *raw\n-D OUTPUT -j SNET\nCOMMIT\n"
        );
    }

    #[test]
    fn tables_that_only_nft_can_read() {
        let saved = "*filter\nCOMMIT\n# Table `nat' is incompatible, use 'nft' tool.\n";
        assert_eq!(unreadable(saved), [Part::Nat]);
        assert_eq!(unreadable(SAVED), []);
        assert_eq!(blind_removal(Part::Nat)[0], "*nat\n-D OUTPUT -j SNET\nCOMMIT\n");
    }

    #[test]
    fn the_first_rule_of_a_chain() {
        let first = |table, rule: &str| is_first(SAVED, table, rule, &[&rule.to_owned()]);
        assert!(first("nat", "OUTPUT -j SNET"));
        assert!(!first("nat", "DOCKER -j SNET"));
        assert!(!first("filter", "OUTPUT -j SNET"));
        assert!(first("filter", "INPUT -j SNETWORK"));
        let saved = "*filter\n-A OUTPUT -j SNET-A\n-A OUTPUT -j SNET-B\n-A OUTPUT -j X\nCOMMIT\n";
        let [a, b] = ["OUTPUT -j SNET-A", "OUTPUT -j SNET-B"].map(str::to_owned);
        assert!(is_first(saved, "filter", &b, &[&a, &b]));
        assert!(!is_first(saved, "filter", &b, &[&b]), "somebody else stands before it");
    }

    #[test]
    fn nothing_of_ours() {
        assert_eq!(find("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"), []);
        assert_eq!(find(""), []);
    }
}
