//! ThirdParty' rules, as far as they say what becomes of the first packet of a connection. Pure.
//!
//! [`saved`] reads what iptables-save prints, [`listed`] what nft lists; both make
//! [`ThirdPartyTable`]s, and a [`Packet`] is walked through one of their base chains. The walk is
//! about certainty: what is not understood holds "perhaps", so that "nothing is accepted" is said
//! only where it is so whatever the rest means. A rule that perhaps matches and accepts is an
//! accept; one that perhaps drops is none.
//!
//! Every base chain of a hook has a say: an accept is final only in its own, a drop in all.

pub(super) mod from_tools;
mod listed;
pub(crate) mod reverse_path;
mod saved;
pub(super) mod words;

use crate::family::Family;
use crate::ipset::{IpSet, reserved};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

/// The tables that have a say, as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThirdParty(pub(super) Vec<ThirdPartyTable>);

/// A table of iptables or of nft, without our own rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThirdPartyTable {
    /// As the operator knows it: `iptables, table filter`, `nft table inet fw4`.
    pub(super) name: String,
    pub(super) families: Vec<Family>,
    pub(super) chains: Vec<ThirdPartyChain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThirdPartyChain {
    pub(super) name: String,
    /// `None`: only others' rules lead here.
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<ThirdPartyRule>,
}

/// Where the kernel enters a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) hook: Hook,
    /// Its policy.
    pub(super) accepts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// All conditions hold, then something happens. A verdict map is several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThirdPartyRule {
    /// As its tool prints it.
    pub(super) text: String,
    pub(super) conditions: Vec<Condition>,
    pub(super) then: Then,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// By which interface it came in.
    From(Sense, Vec<InterfacePattern>),
    /// By which it leaves.
    Out(Sense, Vec<InterfacePattern>),
    /// The states of conntrack, in small letters.
    State(Sense, Vec<String>),
    /// `tcp`, `udp`, `icmp`, or a number.
    Protocol(Sense, Vec<String>),
    Family(Family),
    To(Sense, Vec<IpNet>),
    /// Addresses of this machine, broadcast or multicast: never a destination elsewhere.
    ToSpecial(Sense),
    /// Not understood.
    Perhaps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    In,
    NotIn,
}

/// The name of an interface, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InterfacePattern {
    pub(super) text: String,
    pub(super) is_prefix: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Accept,
    /// Dropped or rejected.
    Refuse,
    Return,
    Jump(String),
    Goto(String),
    /// The walk goes on: a counter, a mark, a log.
    Nothing,
    /// Not understood: it may accept.
    Unknown,
}

/// The first packet of a connection over TCP or UDP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) family: Family,
    /// `None`: it is this machine's own.
    pub(super) from: Option<&'a str>,
    /// By which interfaces it may leave; none are known: by any.
    pub(super) out: &'a [String],
    /// `None`: some address of the internet.
    pub(super) to: Option<IpAddr>,
}

/// Whether a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    No,
    Perhaps,
    Yes,
}

/// What a chain may do with a packet.
#[derive(Clone, Debug, Default)]
struct Fate {
    accepts: bool,
    /// It comes back to whoever led it here.
    returns: bool,
    /// The first rule that surely refuses what comes so far.
    refusal: Option<String>,
}

/// Deeper than the kernel lets chains lead to each other (NFT_JUMP_STACK_SIZE).
const DEEPEST: usize = 16;

static RESERVED: LazyLock<IpSet> = LazyLock::new(reserved);

impl ThirdParty {
    /// Why nothing like this packet passes the hook: where, and by which rule or policy. `None`:
    /// something may pass.
    pub(super) fn refusal(&self, hook: Hook, packet: &Packet<'_>) -> Option<String> {
        let tables = self.0.iter().filter(|table| table.families.contains(&packet.family));
        tables.flat_map(|table| table.refusals(hook, packet)).next()
    }
}

impl ThirdPartyTable {
    fn refusals(&self, hook: Hook, packet: &Packet<'_>) -> impl Iterator<Item = String> {
        let bases = self.chains.iter().filter_map(move |chain| {
            chain.base.filter(|base| base.hook == hook).map(|base| (chain, base))
        });
        bases.filter_map(|(chain, base)| {
            let fate = self.walk(chain, packet, &mut BTreeMap::new(), 0);
            let name = &chain.name;
            match fate {
                Fate { accepts: true, .. } => None,
                Fate { returns: true, .. } if base.accepts => None,
                Fate { returns: true, .. } => {
                    Some(format!("{}: chain {name} drops it by policy", self.name))
                }
                Fate { refusal, .. } => {
                    let rule = refusal.unwrap_or_default();
                    Some(format!("{}: the rule `{rule}` on the way through {name}", self.name))
                }
            }
        })
    }

    fn walk<'a>(
        &'a self,
        chain: &'a ThirdPartyChain,
        packet: &Packet<'_>,
        known: &mut BTreeMap<&'a str, Fate>,
        depth: usize,
    ) -> Fate {
        if let Some(fate) = known.get(chain.name.as_str()) {
            return fate.clone();
        }
        let fate = self.walk_anew(chain, packet, known, depth);
        // One that was cut short by the depth is known as one that accepts, which is on the safe
        // side.
        known.insert(&chain.name, fate.clone());
        fate
    }

    fn walk_anew<'a>(
        &'a self,
        chain: &'a ThirdPartyChain,
        packet: &Packet<'_>,
        known: &mut BTreeMap<&'a str, Fate>,
        depth: usize,
    ) -> Fate {
        let mut fate = Fate::default();
        for rule in &chain.rules {
            let answer = rule.answer(packet);
            if answer == Match::No {
                continue;
            }
            let is_sure = answer == Match::Yes;
            match &rule.then {
                Then::Nothing => {}
                Then::Unknown => fate.accepts = true,
                Then::Accept => {
                    fate.accepts = true;
                    if is_sure {
                        return fate;
                    }
                }
                Then::Refuse if is_sure => {
                    fate.refusal.get_or_insert_with(|| rule.text.clone());
                    return fate;
                }
                Then::Refuse => {}
                Then::Return => {
                    fate.returns = true;
                    if is_sure {
                        return fate;
                    }
                }
                Then::Jump(name) | Then::Goto(name) => {
                    let target = self.chains.iter().find(|chain| chain.name == *name);
                    let beyond = match target {
                        Some(target) if depth < DEEPEST => {
                            self.walk(target, packet, known, depth + 1)
                        }
                        _ => Fate { accepts: true, returns: true, refusal: None },
                    };
                    fate.accepts |= beyond.accepts;
                    let is_goto = matches!(rule.then, Then::Goto(_));
                    fate.returns |= is_goto && beyond.returns;
                    if is_sure && (is_goto || !beyond.returns) {
                        fate.refusal = fate.refusal.or(beyond.refusal);
                        return fate;
                    }
                }
            }
        }
        fate.returns = true;
        fate
    }
}

impl ThirdPartyRule {
    fn answer(&self, packet: &Packet<'_>) -> Match {
        let answers = self.conditions.iter().map(|condition| condition.answer(packet));
        answers.min().unwrap_or(Match::Yes)
    }
}

impl Condition {
    fn answer(&self, packet: &Packet<'_>) -> Match {
        match self {
            Condition::From(is, names) => {
                // What this machine sends has no such interface.
                let from = packet.from.unwrap_or_default();
                is.of(Match::sure(names.iter().any(|name| name.covers(from))))
            }
            Condition::Out(is, names) => {
                let covered = |out: &String| names.iter().any(|name| name.covers(out));
                let count = packet.out.iter().filter(|out| covered(out)).count();
                is.of(Match::part(count, packet.out.len()))
            }
            Condition::State(is, states) => {
                is.of(Match::sure(states.iter().any(|state| state == "new")))
            }
            Condition::Protocol(is, protocols) => {
                let ours = |known: &&String| matches!(known.as_str(), "tcp" | "6" | "udp" | "17");
                is.of(Match::part(protocols.iter().filter(ours).count().min(1), 2))
            }
            Condition::Family(family) => Match::sure(*family == packet.family),
            Condition::To(is, nets) => is.of(to(nets, packet)),
            Condition::ToSpecial(is) => is.of(match packet.to {
                None => Match::No,
                Some(_) => Match::Perhaps,
            }),
            Condition::Perhaps => Match::Perhaps,
        }
    }
}

fn to(nets: &[IpNet], packet: &Packet<'_>) -> Match {
    if let Some(address) = packet.to {
        return Match::sure(nets.iter().any(|net| net.contains(&address)));
    }
    let is_v4 = packet.family == Family::V4;
    let mut nets = nets.iter().filter(|net| net.addr().is_ipv4() == is_v4).peekable();
    if nets.peek().is_none() {
        return Match::No;
    }
    if nets.clone().any(|net| net.prefix_len() == 0) {
        return Match::Yes;
    }
    let is_inside = |net: &IpNet| is_reserved(*net);
    if nets.all(is_inside) { Match::No } else { Match::Perhaps }
}

/// Whether nothing of the internet is in it.
pub(super) fn is_reserved(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => RESERVED.prefixes_v4().any(|reserved| reserved.contains(&net)),
        IpNet::V6(net) => RESERVED.prefixes_v6().any(|reserved| reserved.contains(&net)),
    }
}

impl Sense {
    fn of(self, answer: Match) -> Match {
        match (self, answer) {
            (Sense::In, answer) => answer,
            (Sense::NotIn, Match::No) => Match::Yes,
            (Sense::NotIn, Match::Perhaps) => Match::Perhaps,
            (Sense::NotIn, Match::Yes) => Match::No,
        }
    }
}

impl Match {
    fn sure(is_so: bool) -> Self {
        if is_so { Match::Yes } else { Match::No }
    }

    /// It holds for so many of all; nobody knows which one it will be.
    fn part(count: usize, all: usize) -> Self {
        match count {
            _ if all == 0 => Match::Perhaps,
            0 => Match::No,
            count if count == all => Match::Yes,
            _ => Match::Perhaps,
        }
    }
}

impl InterfacePattern {
    /// `br+`, as iptables writes it, or `br*`, as nft does.
    pub(super) fn read(text: &str, wildcard: char) -> Self {
        let text = text.trim_matches('"');
        match text.strip_suffix(wildcard) {
            Some(text) => InterfacePattern { text: text.into(), is_prefix: true },
            None => InterfacePattern { text: text.into(), is_prefix: false },
        }
    }

    fn covers(&self, interface: &str) -> bool {
        if self.is_prefix { interface.starts_with(&self.text) } else { interface == self.text }
    }
}

#[cfg(test)]
mod tests;
