//! Who drops what we redirect: the daemon's proof is sent once more and followed on its way.
//!
//! nf_tables, and with it iptables-nft, tells itself where a packet ends (`nftables::trace`). The
//! rules of iptables-legacy count: the one whose counter moves with our packets is the one. Nothing
//! is changed; what is found is a line for the operator, with the command that lets our packets
//! pass.

use super::nftables::table::Protocol;
use super::nftables::trace::{Dropped, TracedPort, Tracer};
use super::tools::Iptables;
use super::tools::command;
use crate::family::Family;
use crate::net;
use crate::probe;
use crate::search_path;
use socket2::Socket;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// Packets of each kind that are sent to see which counter moves.
const SENT: usize = 3;

/// Packets over loopback arrive at once; a reset or an answer, too.
const FLIGHT: Duration = Duration::from_millis(150);

/// What drops the proof of this family, and the command that mends it; `None`: nobody is seen to.
/// `ports`: of connections and of names, where they are redirected to. Waits for packets and runs
/// tools.
pub fn culprit(family: Family, [tcp, dns]: [u16; 2]) -> Option<String> {
    let there = [
        TracedPort { protocol: Protocol::Tcp, asked: probe::TCP_PORT, arrives: tcp },
        TracedPort { protocol: Protocol::Udp, asked: probe::DNS_PORT, arrives: dns },
    ];
    let knock = || net::probe::knock(probe::address(family), probe::TCP_PORT, probe::DNS_PORT);
    found(family, &there, &REDIRECTED, knock)
}

/// The same of captured UDP, which keeps its port.
pub fn culprit_of_datagrams(family: Family) -> Option<String> {
    let port = probe::UDP_PORT;
    let there = [TracedPort { protocol: Protocol::Udp, asked: port, arrives: port }];
    let knock = || Vec::from_iter(net::probe::send(SocketAddr::new(probe::address(family), port)));
    found(family, &there, &DATAGRAM, knock)
}

fn found(
    family: Family,
    ports: &[TracedPort],
    leaving: &Leaving,
    knock: impl Fn() -> Vec<Socket>,
) -> Option<String> {
    if let Ok(tracer) = Tracer::start(family, ports) {
        let sockets = knock();
        let dropped = tracer.dropped_within(FLIGHT);
        drop(sockets);
        if let Some(dropped) = dropped {
            return Some(told_of(&dropped, family, leaving));
        }
    }
    let legacy: Vec<Iptables> =
        Iptables::every(family).into_iter().filter(Iptables::is_legacy).collect();
    if legacy.is_empty() {
        return None;
    }
    let before: Vec<Vec<RuleCounter>> = legacy.iter().map(counters).collect();
    let sockets: Vec<_> = (0..SENT).map(|_| knock()).collect();
    thread::sleep(FLIGHT);
    drop(sockets);
    legacy.iter().zip(before).find_map(|(tools, before)| {
        let moved = moved(&before, &counters(tools))?;
        Some(moved.told(&tools.to_string(), leaving))
    })
}

/// By what the packets are known where they leave, in the words of iptables and of nft: the
/// interface there is that of the way out, not yet the loopback.
struct Leaving {
    iptables: &'static str,
    nft: &'static str,
}

const REDIRECTED: Leaving =
    Leaving { iptables: "-m conntrack --ctstate DNAT", nft: "ct status dnat" };

/// [`Fwmark::OWN_DATAGRAMS`](crate::mark::Fwmark::OWN_DATAGRAMS)
const DATAGRAM: Leaving = Leaving {
    iptables: "-p udp -m mark --mark 0x4000000/0x4000000",
    nft: "meta l4proto udp meta mark and 0x4000000 != 0",
};

/// A chain, or the first chain that leads to it, by where the kernel enters it.
fn remedy_of_iptables(tool: &str, table: &str, chain: &str, leaving: &Leaving) -> String {
    let accept = match chain {
        "PREROUTING" | "INPUT" => "-i lo",
        "POSTROUTING" => "-o lo",
        _ => leaving.iptables,
    };
    let chain = match chain {
        "PREROUTING" | "INPUT" | "POSTROUTING" => chain,
        _ => "OUTPUT",
    };
    format!("{tool} -t {table} -I {chain} {accept} -j ACCEPT")
}

fn remedy_of_nft(dropped: &Dropped, hook: &str, leaving: &Leaving) -> String {
    let accept = match hook {
        "prerouting" | "input" => "iifname lo",
        "postrouting" => "oifname lo",
        _ => leaving.nft,
    };
    let Dropped { family, table, chain, .. } = dropped;
    format!("nft insert rule {family} {table} {chain} {accept} accept")
}

fn told_of(dropped: &Dropped, family: Family, leaving: &Leaving) -> String {
    let Dropped { family: of, table, chain, rule } = dropped;
    let listed = list(dropped);
    let tool = family.tool();
    let is_iptables = matches!(*of, "ip" | "ip6")
        && matches!(table.as_str(), "raw" | "mangle" | "nat" | "filter" | "security");
    let what = match rule.map(|handle| text_of(&listed, handle)) {
        None => format!("the policy of chain {chain} drops it"),
        Some(Some(text)) => format!("the rule `{text}` in chain {chain} drops it"),
        Some(None) => format!("a rule in chain {chain} drops it"),
    };
    let base = base_of(&listed, chain);
    if is_iptables {
        let chain = base.as_ref().map_or(chain.as_str(), |(name, _)| name);
        let remedy = remedy_of_iptables(tool, table, chain, leaving);
        return format!("{what} ({tool}, table {table}); to let it pass: {remedy}");
    }
    let hook = base.as_ref().map_or("output", |(_, hook)| hook);
    let at =
        Dropped { chain: base.as_ref().map_or(chain, |(name, _)| name).clone(), ..dropped.clone() };
    let remedy = remedy_of_nft(&at, hook, leaving);
    format!("{what} (nft table {of} {table}); to let it pass: {remedy}")
}

/// The table with the handles of its rules, as nft prints it; nothing where nft is not installed.
fn list(dropped: &Dropped) -> String {
    let Some(nft) = search_path::find("nft") else { return String::new() };
    let table = ["-a", "list", "table", dropped.family, dropped.table.as_str()];
    command::run(&nft, &table, "").unwrap_or_default()
}

fn text_of(listed: &str, handle: u64) -> Option<String> {
    let end = format!("# handle {handle}");
    let line = listed.lines().find_map(|line| line.trim().strip_suffix(&end))?;
    // Counters are not of the rule.
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut text = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "packets" || word == "bytes" {
            words.next();
        } else if word != "counter" {
            text.push(word);
        }
    }
    Some(text.join(" "))
}

/// The base chain that is this one or leads to it, and its hook.
fn base_of(listed: &str, chain: &str) -> Option<(String, String)> {
    let mut bases = Vec::new();
    let mut jumps: Vec<(String, String)> = Vec::new();
    let mut current = String::new();
    for line in listed.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        if let Some(name) = line.strip_prefix("chain ") {
            current = name.split_whitespace().next().unwrap_or_default().to_owned();
        } else if line.starts_with("type ") {
            let hook = words.skip_while(|word| *word != "hook").nth(1);
            bases.extend(hook.map(|hook| (current.clone(), hook.to_owned())));
        } else if let Some(aim) =
            words.find(|word| matches!(*word, "jump" | "goto")).and(words.next())
        {
            jumps.push((current.clone(), aim.to_owned()));
        }
    }
    let mut at = vec![chain.to_owned()];
    let mut place = 0;
    while let Some(name) = at.get(place).cloned() {
        if let Some(base) = bases.iter().find(|(base, _)| *base == name) {
            return Some(base.clone());
        }
        let from = jumps.iter().filter(|(_, aim)| *aim == name).map(|(from, _)| from.clone());
        let new: Vec<String> = from.filter(|from| !at.contains(from)).collect();
        at.extend(new);
        place += 1;
    }
    None
}

/// A rule or policy that drops or rejects, and how many packets met it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RuleCounter {
    table: String,
    chain: String,
    /// As iptables-save writes it behind the chain; `None`: the policy.
    rule: Option<String>,
    packets: u64,
}

impl RuleCounter {
    fn told(&self, tool: &str, leaving: &Leaving) -> String {
        let RuleCounter { table, chain, rule, .. } = self;
        let what = match rule {
            Some(rule) => format!("the rule `{rule}` in chain {chain} drops it"),
            None => format!("the policy of chain {chain} drops it"),
        };
        let remedy = remedy_of_iptables(tool, table, chain, leaving);
        format!("{what} ({tool}, table {table}); to let it pass: {remedy}")
    }
}

fn counters(tools: &Iptables) -> Vec<RuleCounter> {
    read(&tools.save_counted(None).unwrap_or_default())
}

/// Reads the output of `iptables-save -c`.
fn read(saved: &str) -> Vec<RuleCounter> {
    let mut table = String::new();
    let mut read = Vec::new();
    let number = |counted: &str| {
        counted.trim_start_matches('[').split(':').next().and_then(|packets| packets.parse().ok())
    };
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.trim().clone_into(&mut table);
        } else if let Some(policy) = line.strip_prefix(':') {
            let mut words = policy.split(' ');
            let (chain, policy, counted) = (words.next(), words.next(), words.next());
            if let (Some(chain), Some("DROP"), Some(packets)) =
                (chain, policy, counted.and_then(number))
            {
                read.push(RuleCounter {
                    table: table.clone(),
                    chain: chain.into(),
                    rule: None,
                    packets,
                });
            }
        } else if let Some((counted, rule)) = line.split_once(" -A ")
            && let Some((chain, rule)) = rule.split_once(' ')
            && (rule.contains("-j DROP") || rule.contains("-j REJECT"))
            && !chain.starts_with("SNET")
            && let Some(packets) = number(counted)
        {
            let (table, chain, rule) = (table.clone(), chain.into(), Some(rule.into()));
            read.push(RuleCounter { table, chain, rule, packets });
        }
    }
    read
}

/// The first that met as many packets as were sent.
fn moved(before: &[RuleCounter], after: &[RuleCounter]) -> Option<RuleCounter> {
    let same = |one: &RuleCounter, other: &RuleCounter| {
        (&one.table, &one.chain, &one.rule) == (&other.table, &other.chain, &other.rule)
    };
    let met = |now: &&RuleCounter| {
        let then = before.iter().find(|then| same(then, now)).map_or(0, |then| then.packets);
        now.packets.saturating_sub(then) >= SENT as u64
    };
    after.iter().find(met).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_move_with_our_packets() {
        let saved = |policy, rule| {
            format!(
                "*filter\n:INPUT ACCEPT [9:9]\n:OUTPUT DROP [{policy}:1]\n\
                 [5:1] -A OUTPUT -o lo -j ACCEPT\n[{rule}:1] -A ufw-out -p tcp -j DROP\n\
                 [7:7] -A SNET-REJECT -j REJECT\nCOMMIT\n"
            )
        };
        let before = read(&saved(1, 2));
        assert_eq!(before.len(), 2, "{before:?}");
        assert_eq!(moved(&before, &read(&saved(2, 3))), None);
        let policy = moved(&before, &read(&saved(7, 2))).unwrap();
        assert_eq!(
            policy.told("iptables", &REDIRECTED),
            "the policy of chain OUTPUT drops it (iptables, table filter); to let it pass: \
             iptables -t filter -I OUTPUT -m conntrack --ctstate DNAT -j ACCEPT"
        );
        assert_eq!(moved(&before, &read(&saved(1, 5))).unwrap().chain, "ufw-out");
    }

    #[test]
    fn a_rule_by_its_handle_and_the_base_chain_that_leads_to_it() {
        let listed = "table ip filter { # handle 1\n\tchain OUTPUT { # handle 2\n\
            \t\ttype filter hook output priority filter; policy accept;\n\
            \t\tcounter packets 7 bytes 8 jump before # handle 9\n\t}\n\
            \tchain before { # handle 3\n\t\tcounter packets 1 bytes 2 goto deep # handle 10\n\t}\n\
            \tchain deep { # handle 4\n\t\tip daddr 10.0.0.1 counter packets 3 bytes 4 drop # handle 11\n\t}\n}\n";
        assert_eq!(text_of(listed, 11).unwrap(), "ip daddr 10.0.0.1 drop");
        assert_eq!(text_of(listed, 1), Some("table ip filter {".into()));
        assert_eq!(base_of(listed, "deep").unwrap(), ("OUTPUT".into(), "output".into()));
        assert_eq!(base_of(listed, "nowhere"), None);
        let dropped = Dropped {
            family: "inet",
            table: "fw4".into(),
            chain: "raw_prerouting".into(),
            rule: None,
        };
        assert_eq!(
            remedy_of_nft(&dropped, "prerouting", &DATAGRAM),
            "nft insert rule inet fw4 raw_prerouting iifname lo accept"
        );
    }
}
