//! The kernel's own count of what leaves the machine for foreign addresses without snet's mark.
//!
//! Two rules without a target stand in a chain of the selftest's own, at the end of filter OUTPUT:
//! what snet redirects or rejects never comes by, what it sends itself carries the mark. The
//! proxies' addresses are foreign, too, so that a connection of snet's own that lost its mark is
//! counted as well. First packets of TCP only: a connection that was there before snet goes on
//! directly.
//!
//! The jump makes the kernel track connections, as docker, ufw and the like do on most machines;
//! in a fresh namespace it would begin with snet's rules, and nothing would be older than they are.

use super::{Unable, tools, world};
use crate::mark::Fwmark;

const CHAIN: &str = "SELFTEST";

/// Installs the counters. They are somebody else's rules to snet, which must leave them as they are.
pub(super) fn watch(has_ipv6: bool) -> Result<(), Unable> {
    tools::run("iptables-restore", &["--noflush"], &rules(world::FOREIGN_RANGE))?;
    if has_ipv6 {
        tools::run("ip6tables-restore", &["--noflush"], &rules(world::FOREIGN_RANGE_V6))?;
    }
    Ok(())
}

/// Packets since [`watch`].
pub(super) fn count(has_ipv6: bool) -> Result<u64, Unable> {
    let mut saved = tools::run("iptables-save", &["-c", "-t", "filter"], "")?;
    if has_ipv6 {
        saved.push_str(&tools::run("ip6tables-save", &["-c", "-t", "filter"], "")?);
    }
    Ok(saved.lines().filter_map(packets).sum())
}

fn rules(foreign: &str) -> String {
    let unmarked = format!("-m mark ! --mark {}", Fwmark::SNET);
    format!(
        "*filter\n\
         :{CHAIN} - [0:0]\n\
         -A {CHAIN} -d {foreign} -p tcp --syn {unmarked}\n\
         -A {CHAIN} -d {foreign} -p udp {unmarked}\n\
         -A OUTPUT -m conntrack ! --ctstate INVALID -j {CHAIN}\n\
         COMMIT\n"
    )
}

/// Of a line like `[packets:bytes] -A SELFTEST ...`.
fn packets(line: &str) -> Option<u64> {
    let (counters, rule) = line.strip_prefix('[')?.split_once("] ")?;
    rule.strip_prefix("-A ")?.strip_prefix(CHAIN)?.strip_prefix(' ')?;
    counters.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::packets;

    #[test]
    fn packets_of_our_own_rules_are_read() {
        assert_eq!(packets("[12:720] -A SELFTEST -d 203.0.113.0/24 -p udp"), Some(12));
        assert_eq!(
            packets("[12:720] -A OUTPUT -m conntrack ! --ctstate INVALID -j SELFTEST"),
            None
        );
        assert_eq!(packets("[12:720] -A SELFTEST-2 -j RETURN"), None);
        assert_eq!(packets(":SELFTEST - [0:0]"), None);
    }
}
