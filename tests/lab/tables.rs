//! What the kernel holds: the tables of both variants of iptables, our table, and ipset.

use crate::process::{Place, finish};
use crate::variant::{IPTABLES, Variant};
use std::process::Command;

/// Everything that a stop has to restore, as text. Left out: counters, comments, and tables in
/// which nothing but empty built-in chains stands, since looking at a table creates it.
pub fn snapshot() -> String {
    let mut text = String::new();
    for variant in [Variant::Nft, Variant::Legacy] {
        for save in IPTABLES.iter().filter(|name| name.ends_with("-save")) {
            let finished = finish(&mut Command::new(variant.folder().join(save)));
            assert!(finished.status.success(), "{save}: {}", finished.stderr);
            text.push_str(&format!("{save} {variant:?}\n{}", essence(&finished.stdout)));
        }
    }
    let tables = crate::process::run(Place::Machine, "nft", &["list", "tables"]);
    text.extend(
        tables.lines().filter(|line| line.contains("snet")).map(|line| format!("{line}\n")),
    );
    text.push_str("ipset\n");
    text.push_str(&crate::process::run(Place::Machine, "ipset", &["save"]));
    text
}

/// Fails with the difference.
pub fn assert_same(before: &str, after: &str) {
    if before != after {
        let gone: Vec<_> = before.lines().filter(|line| !after.contains(line)).collect();
        let new: Vec<_> = after.lines().filter(|line| !before.contains(line)).collect();
        panic!("not restored.\ngone: {gone:#?}\nnew: {new:#?}\nbefore:\n{before}\nafter:\n{after}");
    }
}

/// Whether anything of snet's is there.
pub fn snets(snapshot: &str) -> bool {
    snapshot.to_lowercase().contains("snet")
}

fn essence(saved: &str) -> String {
    let mut kept = String::new();
    let mut table = String::new();
    let mut is_empty = true;
    for line in saved.lines().filter(|line| !line.starts_with('#')) {
        let line = line.split(" [").next().unwrap_or(line);
        table.push_str(line);
        table.push('\n');
        // A rule, a policy other than ACCEPT, or a chain that somebody made.
        is_empty &= line.starts_with('*') || line.ends_with(" ACCEPT") || line == "COMMIT";
        if line == "COMMIT" {
            if !is_empty {
                kept.push_str(&table);
            }
            table.clear();
            is_empty = true;
        }
    }
    kept
}
