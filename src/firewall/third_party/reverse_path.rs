//! Chains of nf_tables that ask whether a packet came in the right way, as `nft list ruleset`
//! prints them: firewalld has one (IPv6_rpfilter), NixOS another, wg-quick a third.

use crate::family::Family;

/// A chain at prerouting that drops what came in the wrong way, and does not except `lo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReversePath {
    /// Family and name, as nft(8) takes them.
    pub(in crate::firewall) table: String,
    pub(in crate::firewall) chain: String,
    /// Those it drops packets of.
    pub(in crate::firewall) families: Vec<Family>,
}

/// The chains that look up the way back to the source.
pub(in crate::firewall) fn find(listed: &str) -> Vec<ReversePath> {
    chains(listed, |chain, line| {
        let drops = line.contains("oif missing drop")
            || chain.contains("policy drop") && line.contains("oif exists accept");
        line.contains("fib saddr") && drops
    })
}

/// The chains that drop what is for the address of a tunnel and did not come by it, unless a local
/// address sent it (wg-quick).
pub(in crate::firewall) fn tunnel_guards(listed: &str) -> Vec<ReversePath> {
    chains(listed, |_, line| {
        line.contains("iifname != ") && line.contains("fib saddr type != local drop")
    })
}

/// The chains at prerouting with such a line; `drops` is given the whole chain, and the line.
fn chains(listed: &str, drops: impl Fn(&str, &str) -> bool) -> Vec<ReversePath> {
    let tables = listed.split("\ntable ").map(|text| text.trim_start_matches("table "));
    let mut found = Vec::new();
    for text in tables {
        let table = text.split(" {").next().unwrap_or_default();
        for chain in text.split("\tchain ").skip(1) {
            let chain = chain.split("\n\t}").next().unwrap_or_default();
            let line = chain.lines().map(str::trim).find(|line| drops(chain, line));
            // A rule in a chain that another one jumps to is not found.
            if let Some(line) = line.filter(|_| chain.contains("hook prerouting"))
                && !is_open_to_loopback(chain)
            {
                found.push(ReversePath {
                    table: table.to_owned(),
                    chain: chain.split(" {").next().unwrap_or_default().to_owned(),
                    families: families(table, line),
                });
            }
        }
    }
    found
}

fn is_open_to_loopback(chain: &str) -> bool {
    let opens = |line: &str| matches!(line, "iifname \"lo\" accept" | "iif \"lo\" accept");
    chain.lines().map(str::trim).any(opens)
}

fn families(table: &str, line: &str) -> Vec<Family> {
    let is_of = |family: &Family| {
        let (own, other) = if *family == Family::V4 { ("ip ", "ipv6") } else { ("ip6 ", "ipv4") };
        (table.starts_with(own) || table.starts_with("inet "))
            && !line.contains(&format!("meta nfproto {other}"))
    };
    Family::ALL.into_iter().filter(is_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, policy: &str, rules: &str) -> String {
        format!(
            "table {table} {{\n\tchain out {{\n\t\ttype filter hook output priority 0;\n\t\tfib \
             saddr . iif oif missing drop\n\t}}\n\n\tchain pre {{\n\t\ttype filter hook prerouting \
             priority mangle + 10; policy {policy};\n\t\t{rules}\n\t}}\n}}\n"
        )
    }

    #[test]
    fn chains_that_look_up_the_way_back() {
        // As firewalld 1.3 has it.
        let firewalld = chain(
            "inet firewalld",
            "accept",
            "icmpv6 type { nd-router-advert } accept\n\t\tmeta nfproto ipv6 fib saddr . mark . iif \
             oif missing drop",
        );
        let found = find(&firewalld);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].table, "inet firewalld");
        assert_eq!(found[0].families, [Family::V6]);
        let nixos = chain(
            "inet nixos-fw",
            "drop",
            "meta nfproto ipv4 udp sport 67 accept\n\t\tfib saddr . mark . iif oif exists accept",
        );
        let found = find(&(firewalld + &nixos));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[1].chain.as_str(), &*found[1].families), ("pre", &Family::ALL[..]));
        let only_v4 = chain("ip mine", "accept", "fib saddr . iif oif missing drop");
        assert_eq!(find(&only_v4)[0].families, [Family::V4]);
        let mended = nixos.replace("meta nfproto ipv4 udp sport 67", "iifname \"lo\"");
        assert_eq!(find(&mended), []);
        let open = chain("inet x", "accept", "fib saddr . mark . iif oif exists accept");
        assert_eq!(find(&open), [], "nothing is dropped");
    }

    #[test]
    fn chains_that_guard_a_tunnel() {
        let rule = "iifname != \"wg0\" ip daddr 10.66.0.2 fib saddr type != local drop";
        let listed = chain("ip wg-quick-wg0", "accept", rule);
        let found = tunnel_guards(&listed);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].table.as_str(), &*found[0].families),
            ("ip wg-quick-wg0", &[Family::V4][..])
        );
        let mended =
            chain("ip wg-quick-wg0", "accept", &format!("iifname \"lo\" accept\n\t\t{rule}"));
        assert_eq!(tunnel_guards(&mended), []);
    }
}
