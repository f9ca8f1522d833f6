//! Reads the text of iptables-save. Our own chains, and the jumps to them, are left out.

use super::words::Words;
use super::{
    Base, Condition, Hook, InterfacePattern, Sense, Then, ThirdPartyChain, ThirdPartyRule,
    ThirdPartyTable,
};
use crate::family::Family;
use crate::firewall::names::is_ours;

/// Modules that ask nothing by themselves, only by their options.
const ASK_NOTHING: [&str; 8] =
    ["tcp", "udp", "icmp", "icmp6", "conntrack", "state", "comment", "addrtype"];

/// Targets that let the walk go on.
const GO_ON: [&str; 17] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "MARK",
    "CONNMARK",
    "SECMARK",
    "CONNSECMARK",
    "CLASSIFY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
    "SET",
    "AUDIT",
    "CHECKSUM",
];

/// The tables that these tools, of this family, have printed.
pub(in crate::firewall) fn read(saved: &str, tools: &str, family: Family) -> Vec<ThirdPartyTable> {
    let mut tables: Vec<ThirdPartyTable> = Vec::new();
    for line in saved.lines() {
        if let Some(table) = line.strip_prefix('*') {
            let name = format!("{tools}, table {}", table.trim());
            tables.push(ThirdPartyTable { name, families: vec![family], chains: Vec::new() });
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(declared) = line.strip_prefix(':') {
            table.chains.extend(chain(declared));
        } else if let Some(text) = line.strip_prefix("-A ") {
            let mut words = Words(text);
            let name = words.next().unwrap_or_default();
            if let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == name) {
                chain.rules.extend(rule(text, words));
            }
        }
    }
    tables
}

/// `FORWARD DROP [0:0]`, `mine - [0:0]`
fn chain(declared: &str) -> Option<ThirdPartyChain> {
    let mut words = declared.split_whitespace();
    let name = words.next().filter(|name| !is_ours(name))?;
    let hook = match name {
        "PREROUTING" => Some(Hook::Prerouting),
        "INPUT" => Some(Hook::Input),
        "FORWARD" => Some(Hook::Forward),
        "OUTPUT" => Some(Hook::Output),
        "POSTROUTING" => Some(Hook::Postrouting),
        _ => None,
    };
    let policy = words.next().filter(|policy| *policy != "-");
    let base = hook.zip(policy).map(|(hook, policy)| Base { hook, accepts: policy != "DROP" });
    Some(ThirdPartyChain { name: name.into(), base, rules: Vec::new() })
}

fn rule(text: &str, words: Words<'_>) -> Option<ThirdPartyRule> {
    let words: Vec<&str> = words.collect();
    let (mut conditions, mut then, mut is) = (Vec::new(), Then::Nothing, Sense::In);
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let value = words.get(at + 1).copied().unwrap_or_default();
        let list = || value.split(',').map(str::to_lowercase).collect::<Vec<_>>();
        match *word {
            "!" => {
                is = Sense::NotIn;
                at += 1;
                continue;
            }
            "-i" => conditions.push(Condition::From(is, vec![InterfacePattern::read(value, '+')])),
            "-o" => conditions.push(Condition::Out(is, vec![InterfacePattern::read(value, '+')])),
            "-p" => conditions.push(Condition::Protocol(is, list())),
            "-d" => conditions.push(match value.parse() {
                Ok(net) => Condition::To(is, vec![net]),
                Err(_) => Condition::Perhaps,
            }),
            "--ctstate" | "--state" => conditions.push(Condition::State(is, list())),
            "--dst-type" if !value.contains("UNICAST") => {
                conditions.push(Condition::ToSpecial(is));
            }
            "--comment" => {}
            "-m" if ASK_NOTHING.contains(&value) => {}
            "-j" | "-g" => {
                then = target(word, value)?;
                break;
            }
            _ => {
                // Its values end with the next option.
                conditions.push(Condition::Perhaps);
                while words.get(at + 1).is_some_and(|next| !next.starts_with('-') && *next != "!") {
                    at += 1;
                }
                (is, at) = (Sense::In, at + 1);
                continue;
            }
        }
        (is, at) = (Sense::In, at + 2);
    }
    Some(ThirdPartyRule { text: text.into(), conditions, then })
}

/// `None`: it leads to us.
fn target(how: &str, name: &str) -> Option<Then> {
    Some(match name {
        ours if is_ours(ours) => return None,
        "ACCEPT" => Then::Accept,
        "DROP" | "REJECT" => Then::Refuse,
        "RETURN" => Then::Return,
        other if GO_ON.contains(&other) => Then::Nothing,
        other if how == "-g" => Then::Goto(other.into()),
        // An unknown target has no chain, and what has none may accept.
        other => Then::Jump(other.into()),
    })
}
