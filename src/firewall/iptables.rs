//! The rules of one family, as text for `iptables-restore`. Pure.
//!
//! One [`LADDER`] of destinations is read twice: for nat, where foreign TCP is redirected, and for
//! filter, where the rest of the verdicts is spoken. Every rule that acts (redirect, reject, zone)
//! is made in [`nat`], [`filter`] or [`raw`] from a [`Verdict`]; router mode adds a second hook to
//! the jumps, a dead man's switch one more match to these rules.

use super::ruleset::{Family, Foreign, Ruleset};
use super::sets::Set;
use std::fmt::Write;

/// The conntrack zone of captured queries, see [`super`]. Any number but 0 that nobody else uses
/// here; Open vSwitch and the CNIs of clusters count from 1 upwards.
pub(super) const ZONE: u16 = 0x5353;

/// Seconds to wait for the lock that iptables-legacy takes (/run/xtables.lock).
pub(super) const LOCK_SECONDS: &str = "10";

/// Every chain of ours is this one or begins with it and a dash.
pub(super) const CHAIN: &str = "SNET";
const TCP: &str = "SNET-TCP";
const REJECT: &str = "SNET-REJECT";
const QUIC: &str = "SNET-QUIC";

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Destination {
    /// This machine; in IPv4 broadcast, too.
    Local,
    /// A rung of its own: for IPv6 the kernel wants all the types of a list at once, so that
    /// `LOCAL,MULTICAST` never matches (match_type6 in net/netfilter/xt_addrtype.c; seen: ::1 was
    /// captured).
    Multicast,
    In(Set),
    Anywhere,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Block,
    Foreign,
}

/// The first rung that holds decides. From `Block` on it is the order of [`crate::route`].
///
/// `Reserved` stands behind the operator's rules: a prefix that somebody wrote down by hand, say
/// `rules.proxy = ["10.8.0.0/16"]`, beats a list made for everybody. What must never be captured,
/// this machine and its links, stands before them.
pub(super) const LADDER: [(Destination, Verdict); 13] = [
    (Destination::Local, Verdict::Pass),
    (Destination::Multicast, Verdict::Pass),
    (Destination::In(Set::Connected), Verdict::Pass),
    (Destination::In(Set::Block), Verdict::Block),
    (Destination::In(Set::Proxy), Verdict::Foreign),
    (Destination::In(Set::Direct), Verdict::Pass),
    (Destination::In(Set::Servers), Verdict::Pass),
    (Destination::In(Set::LearnedBlock), Verdict::Block),
    (Destination::In(Set::LearnedProxy), Verdict::Foreign),
    (Destination::In(Set::LearnedDirect), Verdict::Pass),
    (Destination::In(Set::Reserved), Verdict::Pass),
    (Destination::In(Set::China), Verdict::Pass),
    (Destination::Anywhere, Verdict::Foreign),
];

impl Destination {
    /// The match, with a space behind it if there is one.
    fn matching(self, family: Family) -> String {
        match (self, family) {
            (Destination::Local, Family::V4) => "-m addrtype --dst-type LOCAL,BROADCAST ".into(),
            (Destination::Local, Family::V6) => "-m addrtype --dst-type LOCAL ".into(),
            (Destination::Multicast, _) => "-m addrtype --dst-type MULTICAST ".into(),
            (Destination::In(set), _) => in_set(set, family),
            (Destination::Anywhere, _) => String::new(),
        }
    }
}

/// The tables we have a part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Raw,
    Filter,
    Nat,
}

impl Part {
    pub(super) const ALL: [Part; 3] = [Part::Raw, Part::Filter, Part::Nat];

    pub(super) fn table(self) -> &'static str {
        match self {
            Part::Raw => "raw",
            Part::Filter => "filter",
            Part::Nat => "nat",
        }
    }

    /// The rule that leads to us, as it stands behind `-I`. iptables-save prints it word by word.
    pub(super) fn jump(self) -> String {
        let only = match self {
            Part::Raw => "-p udp ",
            Part::Filter => "-m conntrack --ctstate NEW --ctdir ORIGINAL ",
            Part::Nat => "",
        };
        format!("OUTPUT {only}-j {CHAIN}")
    }

    /// The chains there may be. The jump leads to the first.
    pub(super) fn chains(self) -> &'static [&'static str] {
        match self {
            Part::Raw => &[CHAIN],
            Part::Filter => &[CHAIN, REJECT, QUIC],
            Part::Nat => &[CHAIN, TCP],
        }
    }
}

/// Our part of one table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) part: Part,
    pub(super) chains: Vec<Chain>,
}

/// A chain of ours with its rules, each as it stands behind `-A CHAIN`.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) rules: Vec<String>,
}

/// How the text of [`restore`] is applied.
pub(super) fn command(family: Family) -> String {
    format!("{}-restore --noflush -w {LOCK_SECONDS}", family.tool())
}

/// Installs all tables. A table is committed whole: its chains, then the jump that makes them
/// live.
pub(super) fn restore(ruleset: &Ruleset, family: Family) -> String {
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
        let _ = writeln!(text, "-I {}\nCOMMIT", table.part.jump());
    }
    text
}

/// What is installed, in this order: nat, which draws the traffic to us, is last.
pub(super) fn tables(ruleset: &Ruleset, family: Family) -> Vec<Table> {
    let dns = ruleset.listens(family);
    let foreign = ruleset.foreign(family);
    let mut tables = vec![filter(ruleset, family, foreign)];
    if dns {
        tables.insert(0, raw(ruleset, family));
        tables.push(nat(ruleset, family, foreign));
    }
    tables
}

/// Captured UDP queries and the replies to them get their zone. The exemptions are those of the
/// DNS rules in nat.
fn raw(ruleset: &Ruleset, family: Family) -> Table {
    let replies = format!("-p udp -o lo --sport {}", ruleset.dns_port);
    let rules = vec![
        // Replies to redirected queries leave over loopback: their destination is an address of
        // this machine. They are judged before the mark, in case their socket carries it. CT does
        // not end the walk.
        format!("{replies} -j CT --zone {ZONE}"),
        format!("{replies} -j RETURN"),
        "-p udp ! --dport 53 -j RETURN".into(),
        asleep(family),
        marked(ruleset),
        format!("-d {} -j RETURN", loopback(family)),
        format!("{}-j RETURN", in_set(Set::Direct, family)),
        format!("-j CT --zone {ZONE}"),
    ];
    Table { part: Part::Raw, chains: vec![Chain { name: CHAIN, rules }] }
}

/// Redirects. Only packets that conntrack takes for the first of a connection come here.
fn nat(ruleset: &Ruleset, family: Family, foreign: Foreign) -> Table {
    let mut rules = vec![asleep(family), marked(ruleset)];
    if family == Family::V6 {
        rules.push(format!("-d {LINK_LOCAL} -j RETURN"));
    }
    rules.extend(queries(family).map(|query| {
        format!("! -d {} {query} -j REDIRECT --to-ports {}", loopback(family), ruleset.dns_port)
    }));
    let mut chains = vec![Chain { name: CHAIN, rules }];
    if matches!(foreign, Foreign::Redirect { .. }) {
        chains[0].rules.push(format!("-p tcp --syn -j {TCP}"));
        let rules = LADDER.iter().map(|(destination, verdict)| {
            let matching = destination.matching(family);
            match verdict {
                // The reject is in filter, which comes next.
                Verdict::Pass | Verdict::Block => format!("{matching}-j RETURN"),
                Verdict::Foreign => {
                    format!("-p tcp {matching}-j REDIRECT --to-ports {}", ruleset.tcp_port)
                }
            }
        });
        chains.push(Chain { name: TCP, rules: rules.collect() });
    }
    Table { part: Part::Nat, chains }
}

/// Rejects. The destination of what nat redirected is local by now, so it passes on the first
/// rung. The jump takes the first packets of connections only, so that the bytes of a running
/// transfer cost one match, and so that a QUIC connection or a game that was there before us goes
/// on.
fn filter(ruleset: &Ruleset, family: Family, foreign: Foreign) -> Table {
    let unreachable = match family {
        Family::V4 => "icmp-port-unreachable",
        Family::V6 => "icmp6-port-unreachable",
    };
    let mut rules = vec![asleep(family), marked(ruleset)];
    if family == Family::V6 && ruleset.listens(family) {
        rules.extend(queries(family).map(|query| format!("-d {LINK_LOCAL} {query} -g {REJECT}")));
    }
    rules.extend(LADDER.iter().map(|(destination, verdict)| {
        let then = match (verdict, foreign) {
            (Verdict::Block, _) | (Verdict::Foreign, Foreign::Reject) => format!("-g {REJECT}"),
            (Verdict::Foreign, Foreign::Redirect { reject_quic: true }) => format!("-g {QUIC}"),
            (Verdict::Pass | Verdict::Foreign, _) => "-j RETURN".into(),
        };
        format!("{}{then}", destination.matching(family))
    }));
    let mut chains = vec![Chain { name: CHAIN, rules }];
    chains.push(Chain {
        name: REJECT,
        rules: vec![
            "-p tcp --syn -j REJECT --reject-with tcp-reset".into(),
            // A TCP connection that conntrack picked up in its middle: not ours to end.
            "-p tcp -j RETURN".into(),
            format!("-j REJECT --reject-with {unreachable}"),
        ],
    });
    if foreign == (Foreign::Redirect { reject_quic: true }) {
        let quic = format!("-p udp --dport 443 -j REJECT --reject-with {unreachable}");
        chains.push(Chain { name: QUIC, rules: vec![quic] });
    }
    Table { part: Part::Filter, chains }
}

/// Name servers of this prefix cannot be captured by a redirect: the query arrives, but its source
/// is a link-local address too, and over loopback there is no way back to it (seen: ENETUNREACH).
/// Refused at once, so that the client asks its next name server and nobody gets a forged answer;
/// who wants to ask them nevertheless names them in `rules.direct`. Router mode will translate
/// such queries to the interface's own link-local address.
pub(super) const LINK_LOCAL: &str = "fe80::/10";

/// The matches of a DNS query that is ours to answer, UDP and TCP.
fn queries(family: Family) -> impl Iterator<Item = String> {
    let exempt = Set::Direct.name(family);
    ["-p udp --dport 53", "-p tcp --dport 53 --syn"]
        .into_iter()
        .map(move |query| format!("{query} -m set ! --match-set {exempt} dst"))
}

/// The dead man's switch: nothing acts unless the daemon has just renewed this set, see
/// [`Handle::beat`](super::Handle::beat).
fn asleep(family: Family) -> String {
    format!("-m set ! --match-set {} dst -j RETURN", Set::Alive.name(family))
}

fn marked(ruleset: &Ruleset) -> String {
    format!("-m mark --mark {} -j RETURN", ruleset.mark)
}

fn in_set(set: Set, family: Family) -> String {
    format!("-m set --match-set {} dst ", set.name(family))
}

fn loopback(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1/128",
    }
}
