//! The firewall's tables and the routing rules, in a form that can be compared: without counters,
//! comments and built-in chains that hold nothing.

use super::{Unable, tools};
use crate::firewall::{self, Backend};

/// A rule of another program that makes the kernel track connections, as docker, ufw and the like
/// do on most machines; in a fresh namespace that would begin with snet's rules, and nothing would
/// be older than they are. snet must leave it as it is. Where no firewall tool is, there is no such
/// rule.
pub(super) fn track_connections(backend: Backend, has_ipv6: bool) -> Result<(), Unable> {
    const RULE: &str = "*filter\n-A OUTPUT -m conntrack ! --ctstate INVALID\nCOMMIT\n";
    if backend == Backend::Nftables {
        return Ok(());
    }
    tools::run("iptables-restore", &["--noflush"], RULE)?;
    if has_ipv6 {
        tools::run("ip6tables-restore", &["--noflush"], RULE)?;
    }
    Ok(())
}

/// What iptables, ip6tables (where there is IPv6) and ipset hold now, whether there is a table of
/// ours in nf_tables, which either backend makes, and the routing rules.
pub(super) fn now(backend: Backend, has_ipv6: bool) -> Result<Vec<String>, Unable> {
    let mut lines = routing_rules();
    let mut holders: Vec<(&'static str, &[&str])> = Vec::new();
    if backend == Backend::Iptables {
        holders.extend([("iptables-save", &[][..]), ("ipset", &["save"])]);
        if has_ipv6 {
            holders.push(("ip6tables-save", &[]));
        }
    }
    for (tool, arguments) in holders {
        let text = tools::run(tool, arguments, "")?;
        let state = text.lines().filter(|line| is_state(line));
        lines.extend(state.map(|line| format!("{tool}: {line}")));
    }
    let is_there = match (backend, firewall::has_table()) {
        (Backend::Nftables, there) => there?,
        // It does without, where the kernel has no nf_tables.
        (Backend::Iptables, there) => there.unwrap_or(false),
    };
    if is_there {
        lines.push("nftables: table inet snet".into());
    }
    Ok(lines)
}

/// Those of both families; none where the kernel has no policy routing.
fn routing_rules() -> Vec<String> {
    let of = |family: &str| tools::run("ip", &[family, "rule"], "").unwrap_or_default();
    let (v4, v6) = (of("-4"), of("-6"));
    v4.lines().chain(v6.lines()).map(|rule| format!("ip rule: {rule}")).collect()
}

/// Rules, chains that are not built in, policies that are not the default, and sets.
fn is_state(line: &str) -> bool {
    match line.as_bytes().first() {
        Some(b'#' | b'*') | None => false,
        Some(b':') => !line.contains(" ACCEPT "),
        _ => line != "COMMIT",
    }
}

/// What of `after` was not there before, and the other way round; "unchanged" if nothing.
pub(super) fn difference(before: &[String], after: &[String]) -> String {
    let first = |these: &[String], others: &[String]| {
        these.iter().find(|line| !others.contains(line)).cloned()
    };
    match (first(after, before), first(before, after)) {
        (Some(line), _) => format!("left: {line}"),
        (None, Some(line)) => format!("lost: {line}"),
        (None, None) => "unchanged".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_empty_chains_do_not_count() {
        assert!(!is_state(":OUTPUT ACCEPT [12:345]"));
        assert!(is_state(":INPUT DROP [0:0]") && is_state(":SNET - [0:0]"));
        assert!(is_state("-A OUTPUT -j SNET") && is_state("create snet-china4 hash:net"));
        assert!(!is_state("# Generated") && !is_state("*nat") && !is_state("COMMIT"));
        assert!(!is_state(""));
    }

    #[test]
    fn differences_are_named() {
        let lines = |list: &[&str]| list.iter().map(|line| line.to_string()).collect::<Vec<_>>();
        let (none, one) = (lines(&[]), lines(&["a"]));
        assert_eq!(difference(&one, &one), "unchanged");
        assert_eq!(difference(&none, &one), "left: a");
        assert_eq!(difference(&one, &none), "lost: a");
    }
}
