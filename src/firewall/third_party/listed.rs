//! Reads what `nft list ruleset` prints, with or without the elements of named sets. Our own table
//! is left out, and so are jumps to chains of ours. What a named set or map holds is not read.

use super::{
    Base, Condition, Hook, InterfacePattern, Sense, Then, ThirdPartyChain, ThirdPartyRule,
    ThirdPartyTable,
};
use crate::family::Family;
use crate::firewall::names::TABLE;
use crate::firewall::names::is_ours;
use ipnet::IpNet;
use std::net::IpAddr;

/// The tables of IP; a dormant one has no say.
pub(in crate::firewall) fn read(listed: &str) -> Vec<ThirdPartyTable> {
    let mut tables: Vec<ThirdPartyTable> = Vec::new();
    let (mut in_table, mut in_chain, mut in_other) = (false, false, 0_usize);
    for line in listed.lines().map(str::trim) {
        if let Some(declared) = line.strip_prefix("table ") {
            let table = table(declared);
            in_table = table.is_some();
            tables.extend(table);
            (in_chain, in_other) = (false, 0);
        } else if !in_table || line.starts_with('#') {
        } else if in_other > 0 {
            in_other =
                (in_other + line.matches('{').count()).saturating_sub(line.matches('}').count());
        } else if let (false, Some(declared)) = (in_chain, line.strip_prefix("chain ")) {
            in_chain = true;
            let name = declared.split(' ').next().unwrap_or_default().into();
            if let Some(table) = tables.last_mut() {
                table.chains.push(ThirdPartyChain { name, base: None, rules: Vec::new() });
            }
        } else if line == "}" {
            in_table = in_chain;
            in_chain = false;
        } else if in_chain {
            if let Some(chain) = tables.last_mut().and_then(|table| table.chains.last_mut()) {
                take_in(chain, line);
            }
        } else if line.starts_with("flags ") && line.contains("dormant") {
            tables.pop();
            in_table = false;
        } else if line.ends_with('{') {
            in_other = 1;
        }
    }
    tables
}

/// `inet fw4 {`
fn table(declared: &str) -> Option<ThirdPartyTable> {
    let mut words = declared.split_whitespace();
    let (family, name) = (words.next()?, words.next()?);
    let families = match family {
        "ip" => vec![Family::V4],
        "ip6" => vec![Family::V6],
        "inet" => Family::ALL.to_vec(),
        _ => return None,
    };
    if (family, name) == ("inet", TABLE) {
        return None;
    }
    Some(ThirdPartyTable {
        name: format!("nft table {family} {name}"),
        families,
        chains: Vec::new(),
    })
}

fn take_in(chain: &mut ThirdPartyChain, line: &str) {
    if line.starts_with("type ") && line.contains(" hook ") {
        let hook = line.split(" hook ").nth(1).and_then(|rest| rest.split(' ').next());
        let hook = match hook {
            Some("prerouting") => Hook::Prerouting,
            Some("input") => Hook::Input,
            Some("forward") => Hook::Forward,
            Some("output") => Hook::Output,
            Some("postrouting") => Hook::Postrouting,
            _ => return,
        };
        chain.base = Some(Base { hook, accepts: !line.contains("policy drop") });
    } else if !line.starts_with("comment ") {
        chain.rules.extend(rules(line));
    }
}

/// One rule, or one for each entry of its verdict map.
fn rules(text: &str) -> Vec<ThirdPartyRule> {
    let words = words(text);
    let mut read = Reading { words: &words, at: 0, conditions: Vec::new() };
    let (key, then) = read.verdict();
    let rule = |conditions, then| ThirdPartyRule { text: text.into(), conditions, then };
    let conditions = read.conditions;
    let leads_to_us = |then: &Then| matches!(then, Then::Jump(to) | Then::Goto(to) if is_ours(to));
    let outcomes = match then {
        RuleOutcome::One(then) => vec![rule(conditions, then)],
        RuleOutcome::Map(map) => {
            let entry = |(value, then): (&str, Then)| {
                let condition = match value {
                    "*" => Condition::Perhaps,
                    value => key.condition(Sense::In, value),
                };
                rule(conditions.iter().cloned().chain([condition]).collect(), then)
            };
            entries(map).map(entry).collect()
        }
    };
    outcomes.into_iter().filter(|rule| !leads_to_us(&rule.then)).collect()
}

/// Words; a quoted text or a group in braces is one.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').map(|end| end + 2),
            '{' => rest.find('}').map(|end| end + 1),
            _ => rest.find(' '),
        };
        let (word, behind) = rest.split_at(length.unwrap_or(rest.len()));
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

/// Of conntrack; "untracked" is none, and never that of a connection that could be redirected.
const STATES: [&str; 5] = ["new", "established", "related", "invalid", "untracked"];

/// What a match asks.
#[derive(Clone, Copy, Debug)]
enum MapKey {
    From,
    Out,
    State,
    Protocol,
    Family,
    To,
    Other,
}

impl MapKey {
    /// That it is (not) this value, which is one, a list or a group.
    fn condition(self, is: Sense, value: &str) -> Condition {
        if value.starts_with('@') {
            return Condition::Perhaps;
        }
        let inner = value.trim_matches(['{', '}', ' ']);
        let values: Vec<&str> = inner.split(',').map(str::trim).collect();
        let names = || values.iter().map(|name| InterfacePattern::read(name, '*')).collect();
        let texts = || values.iter().map(|text| (*text).to_owned()).collect();
        match self {
            MapKey::From => Condition::From(is, names()),
            MapKey::Out => Condition::Out(is, names()),
            MapKey::State if !values.iter().all(|state| STATES.contains(state)) => {
                Condition::Perhaps
            }
            MapKey::State => Condition::State(is, texts()),
            MapKey::Protocol => Condition::Protocol(is, texts()),
            MapKey::Family => match (is, inner) {
                (Sense::In, "ipv4") => Condition::Family(Family::V4),
                (Sense::In, "ipv6") => Condition::Family(Family::V6),
                _ => Condition::Perhaps,
            },
            MapKey::To => {
                let nets = values.iter().map(|net| {
                    let address = || net.parse::<IpAddr>().map(IpNet::from);
                    net.parse::<IpNet>().ok().or_else(|| address().ok())
                });
                // A range is not read.
                nets.collect::<Option<_>>()
                    .map_or(Condition::Perhaps, |nets| Condition::To(is, nets))
            }
            MapKey::Other => Condition::Perhaps,
        }
    }
}

enum RuleOutcome<'a> {
    One(Then),
    Map(&'a str),
}

struct Reading<'a> {
    words: &'a [&'a str],
    at: usize,
    conditions: Vec<Condition>,
}

impl<'a> Reading<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    /// Reads to the end of the rule, and as many conditions as are understood.
    fn verdict(&mut self) -> (MapKey, RuleOutcome<'a>) {
        while let Some(word) = self.next() {
            let key = match (word, self.peek()) {
                ("iifname" | "iif", _) => MapKey::From,
                ("oifname" | "oif", _) => MapKey::Out,
                ("ct", Some("state")) => self.behind(MapKey::State),
                ("ct", Some("status")) if self.words.get(self.at + 1) == Some(&"dnat") => {
                    self.at += 2;
                    // What goes to the internet is translated by nobody.
                    self.conditions.push(Condition::ToSpecial(Sense::In));
                    continue;
                }
                ("meta", Some("l4proto")) | ("ip", Some("protocol")) | ("ip6", Some("nexthdr")) => {
                    self.of_family(word);
                    self.behind(MapKey::Protocol)
                }
                ("meta", Some("nfproto")) => self.behind(MapKey::Family),
                ("ip" | "ip6", Some("daddr")) => {
                    self.of_family(word);
                    self.behind(MapKey::To)
                }
                ("ip" | "ip6", Some("saddr")) => {
                    self.of_family(word);
                    self.behind(MapKey::Other)
                }
                ("tcp" | "udp" | "th", Some("dport" | "sport")) => self.behind(MapKey::Other),
                ("icmp" | "icmpv6" | "igmp", _) => {
                    self.conditions.push(Condition::Protocol(Sense::In, vec![word.into()]));
                    return self.unread();
                }
                ("log", _) => {
                    const OPTIONS: [&str; 6] =
                        ["prefix", "level", "group", "snaplen", "queue-threshold", "flags"];
                    while self.peek().is_some_and(|word| OPTIONS.contains(&word)) {
                        self.at += 2;
                    }
                    continue;
                }
                ("counter", _) => {
                    while self.peek().is_some_and(|word| {
                        matches!(word, "packets" | "bytes" | "name")
                            || word.starts_with('"')
                            || word.bytes().all(|byte| byte.is_ascii_digit())
                    }) {
                        self.at += 1;
                    }
                    continue;
                }
                _ => match self.then(word) {
                    Some(then) => return (MapKey::Other, RuleOutcome::One(then)),
                    None => return self.unread(),
                },
            };
            let is = match self.peek() {
                Some("!=") => Sense::NotIn,
                _ => Sense::In,
            };
            if matches!(self.peek(), Some("!=" | "==")) {
                self.at += 1;
            }
            match self.next() {
                Some("vmap") => return (key, self.map()),
                // Not a key of several parts, a mask or an order.
                Some(value)
                    if value.starts_with(|first: char| {
                        first.is_ascii_alphanumeric() || "\"{@:".contains(first)
                    }) && !matches!(self.peek(), Some("." | "/" | "&" | "|")) =>
                {
                    self.conditions.push(key.condition(is, value));
                }
                _ => return self.unread(),
            }
        }
        (MapKey::Other, RuleOutcome::One(Then::Nothing))
    }

    fn behind(&mut self, key: MapKey) -> MapKey {
        self.at += 1;
        key
    }

    fn of_family(&mut self, word: &str) {
        match word {
            "ip" => self.conditions.push(Condition::Family(Family::V4)),
            "ip6" => self.conditions.push(Condition::Family(Family::V6)),
            _ => {}
        }
    }

    fn then(&mut self, word: &str) -> Option<Then> {
        Some(match word {
            "accept" => Then::Accept,
            "drop" | "reject" => Then::Refuse,
            "return" => Then::Return,
            "continue" => Then::Nothing,
            "jump" => Then::Jump(self.next().unwrap_or_default().into()),
            "goto" => Then::Goto(self.next().unwrap_or_default().into()),
            "queue" | "xt" | "synproxy" | "tproxy" => Then::Unknown,
            _ => return None,
        })
    }

    fn map(&mut self) -> RuleOutcome<'a> {
        match self.next() {
            Some(map) if map.starts_with('{') => RuleOutcome::Map(map),
            _ => RuleOutcome::One(Then::Unknown),
        }
    }

    /// The rest is not understood, but for its verdict.
    fn unread(&mut self) -> (MapKey, RuleOutcome<'a>) {
        self.conditions.push(Condition::Perhaps);
        while let Some(word) = self.next() {
            if word == "vmap" {
                return (MapKey::Other, self.map());
            }
            if let Some(then) = self.then(word) {
                return (MapKey::Other, RuleOutcome::One(then));
            }
        }
        (MapKey::Other, RuleOutcome::One(Then::Nothing))
    }
}

/// `{ established : accept, "br-lan" : jump lan }`
fn entries(map: &str) -> impl Iterator<Item = (&str, Then)> {
    let inner = map.trim_start_matches('{').trim_end_matches('}');
    inner.split(',').filter_map(|entry| entry.split_once(" : ")).map(|(value, verdict)| {
        let words: Vec<&str> = verdict.split_whitespace().collect();
        let mut read = Reading { words: &words, at: 1, conditions: Vec::new() };
        let then = words.first().and_then(|word| read.then(word));
        (value.trim(), then.unwrap_or(Then::Unknown))
    })
}
