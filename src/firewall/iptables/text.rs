//! The tables of one family as text for `iptables-restore`. Pure.

use super::rules::tables;
use crate::family::Family;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::tools::LOCK_SECONDS;
use std::fmt::Write;

/// How the text of [`restore`] is applied.
pub(in crate::firewall) fn command(family: Family) -> String {
    format!("{}-restore --noflush -w {LOCK_SECONDS}", family.tool())
}

/// Installs all tables. A table is committed whole: its chains, then the jumps that make them
/// live.
pub(in crate::firewall) fn restore(ruleset: &Ruleset, family: Family) -> String {
    let mut text = String::new();
    for table in tables(ruleset, family) {
        // A String takes every write.
        let _ = writeln!(text, "*{}", table.part.table());
        for chain in &table.chains {
            let _ = writeln!(text, ":{} - [0:0]", chain.name);
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                let _ = writeln!(text, "-A {} {rule}", chain.name);
            }
        }
        // First, because docker, ufw and the like append theirs, and some of those accept.
        for jump in &table.jumps {
            let _ = writeln!(text, "-I {jump}");
        }
        let _ = writeln!(text, "COMMIT");
    }
    text
}
