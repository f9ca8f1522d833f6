//! The rules of one family, as text for `iptables-restore`. Pure.
//!
//! One [`LADDER`] of destinations is read twice: for nat, where foreign TCP is redirected, and for
//! filter, where the rest of the verdicts is spoken. Every rule that acts (redirect, reject, zone)
//! is made in [`nat`], [`filter`] or [`raw`] from a [`Verdict`]. Router mode enters the same ladder
//! from PREROUTING and FORWARD too, behind the question [`of_the_lan`] whether the packet is one of
//! the LAN side.

mod filter;

use super::probe;
use super::ruleset::{Family, Foreign, Ruleset};
use super::sets::Set;
use filter::filter;
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
const FOREIGN: &str = "SNET-FOREIGN";
/// The ladder of the rejects.
const FILTER: &str = "SNET-FILTER";
/// What filter does while the family is not captured, as [`OnFailure`] says.
const INACTIVE: &str = "SNET-INACTIVE";
/// By its name a closed network is recognised, whoever left it.
pub(super) const CLOSED: &str = "SNET-CLOSED";
/// What programs complain of answers that came too late.
const STRAY: &str = "SNET-STRAY";
/// Where the daemon's proof goes.
const PROBE: &str = "SNET-PROBE";
/// Of an earlier version.
const QUIC: &str = "SNET-QUIC";
const LAN: &str = "SNET-LAN";
/// What filter asks of this machine's packets and of the LAN's, where somebody is left alone: only a
/// chain that OUTPUT alone leads to may look at the owner of a socket (xt_owner.c, `.hooks`).
const RUNGS: &str = "SNET-RUNGS";
const LAN_DNS: &str = "SNET-LAN-DNS";
const LINK: &str = "SNET-LINK";
/// The guard at our ports, in filter.
pub(super) const INPUT: &str = "SNET-INPUT";

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

    /// The rules that may lead to us, each as it stands behind `-I`. iptables-save prints them word
    /// by word.
    pub(super) fn jumps(self, is_router: bool) -> Vec<String> {
        let rejected = "-m conntrack --ctstate NEW --ctdir ORIGINAL";
        let (own, lan) = match self {
            Part::Raw => {
                (format!("OUTPUT -p udp -j {CHAIN}"), vec![format!("PREROUTING -p udp -j {LAN}")])
            }
            Part::Filter => (
                format!("OUTPUT {rejected} -j {CHAIN}"),
                vec![format!("FORWARD {rejected} -j {LAN}"), format!("INPUT ! -i lo -j {INPUT}")],
            ),
            Part::Nat => (format!("OUTPUT -j {CHAIN}"), vec![format!("PREROUTING -j {LAN}")]),
        };
        std::iter::once(own).chain(lan.into_iter().filter(|_| is_router)).collect()
    }

    /// The rules in filter that lead to [`STRAY`], in OUTPUT and FORWARD.
    ///
    /// A program whose socket is gone when the answer to its query comes has its kernel complain to
    /// the server that it asked. Conntrack knows nothing of it, since captured queries are in a zone
    /// of their own: the complaint would leave for the foreign server, with the answer quoted in it,
    /// and that of a LAN host untranslated (seen).
    pub(super) fn stray_jumps(family: Family) -> [String; 2] {
        let complaint = match family {
            Family::V4 => "-p icmp -m icmp --icmp-type 3/3",
            Family::V6 => "-p ipv6-icmp -m icmp6 --icmpv6-type 1/4",
        };
        ["OUTPUT", "FORWARD"]
            .map(|chain| format!("{chain} {complaint} -m conntrack --ctstate INVALID -j {STRAY}"))
    }

    /// The chains there may be.
    pub(super) fn chains(self) -> &'static [&'static str] {
        match self {
            Part::Raw => &[CHAIN, LAN],
            Part::Filter => {
                &[CHAIN, RUNGS, INACTIVE, CLOSED, FILTER, FOREIGN, REJECT, QUIC, STRAY, LAN, INPUT]
            }
            Part::Nat => &[CHAIN, PROBE, TCP, LINK, LAN, LAN_DNS],
        }
    }
}

/// Our part of one table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) part: Part,
    /// The rules that lead to us, each as it stands behind `-I`.
    pub(super) jumps: Vec<String>,
    pub(super) chains: Vec<Chain>,
}

/// A chain of ours with its rules, each as it stands behind `-A CHAIN`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) rules: Vec<String>,
}

/// How the text of [`restore`] is applied.
pub(super) fn command(family: Family) -> String {
    format!("{}-restore --noflush -w {LOCK_SECONDS}", family.tool())
}

/// Installs all tables. A table is committed whole: its chains, then the jumps that make them
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
        for jump in &table.jumps {
            let _ = writeln!(text, "-I {jump}");
        }
        let _ = writeln!(text, "COMMIT");
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
    // Replies to this machine's queries leave over loopback, those to LAN hosts by any interface.
    let way = if ruleset.lan.is_some() { "" } else { "-o lo " };
    let replies = format!("-p udp {way}--sport {}", ruleset.dns_port);
    let mut rules = vec![
        // They are judged before the mark, in case their socket carries it. CT does not end the
        // walk.
        format!("{replies} -j CT --zone {ZONE}"),
        format!("{replies} -j RETURN"),
        "-p udp ! --dport 53 -j RETURN".into(),
        format!("{}-j CT --zone {ZONE}", to_probe(family)),
        format!("{}-j RETURN", to_probe(family)),
        asleep(family),
        marked(ruleset),
    ];
    rules.extend(left_alone(ruleset));
    rules.extend([
        format!("-d {} -j RETURN", loopback(family)),
        format!("{}-j RETURN", in_set(Set::Direct, family)),
        format!("-j CT --zone {ZONE}"),
    ]);
    let mut chains = vec![Chain { name: CHAIN, rules }];
    if ruleset.lan.is_some() {
        let mut rules = vec!["-p udp ! --dport 53 -j RETURN".into(), asleep(family)];
        rules.extend(of_the_lan(family));
        rules.push(marked(ruleset));
        rules.extend(unasked(family));
        rules.push(format!("-j CT --zone {ZONE}"));
        chains.push(Chain { name: LAN, rules });
    }
    Table { part: Part::Raw, jumps: Part::Raw.jumps(ruleset.lan.is_some()), chains }
}

/// Lets go what is none of the LAN side's: what comes in elsewhere, and the hosts that are left alone.
fn of_the_lan(family: Family) -> [String; 2] {
    let (lan, sources) = (Set::Lan.name(family), Set::Sources.name(family));
    [
        format!("-m set ! --match-set {lan} src,src -j RETURN"),
        format!("-m set --match-set {sources} src -j RETURN"),
    ]
}

/// Lets go the queries of the LAN side that are not ours to answer: to an address in
/// `rules.direct`, or to another host on the link they come from.
fn unasked(family: Family) -> [String; 2] {
    let on_link = Set::OnLink.name(family);
    [
        format!("{}-j RETURN", in_set(Set::Direct, family)),
        format!("-m addrtype ! --dst-type LOCAL -m set --match-set {on_link} dst,src -j RETURN"),
    ]
}

/// Redirects. Only packets that conntrack takes for the first of a connection come here.
fn nat(ruleset: &Ruleset, family: Family, foreign: Foreign) -> Table {
    let mut rules = vec![
        // First of all: it proves the way also while the rules sleep, and also where everything else
        // of root's is left alone.
        format!("{}-g {PROBE}", to_probe(family)),
        asleep(family),
        marked(ruleset),
    ];
    rules.extend(left_alone(ruleset));
    let link_local = family == Family::V6 && ruleset.listens_link_local();
    if link_local {
        rules.push(format!("-d {LINK_LOCAL} -g {LINK}"));
    } else if family == Family::V6 {
        rules.push(format!("-d {LINK_LOCAL} -j RETURN"));
    }
    rules.extend(queries(family).map(|query| {
        format!("! -d {} {query} -j REDIRECT --to-ports {}", loopback(family), ruleset.dns_port)
    }));
    let proof = vec![
        format!("-p tcp --syn -j REDIRECT --to-ports {}", ruleset.tcp_port),
        format!("-p udp -j REDIRECT --to-ports {}", ruleset.dns_port),
    ];
    let mut chains = vec![Chain { name: CHAIN, rules }, Chain { name: PROBE, rules: proof }];
    let foreign_tcp = matches!(foreign, Foreign::Redirect { .. });
    if foreign_tcp {
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
    if link_local {
        chains.push(link(ruleset));
    }
    if ruleset.lan.is_some() {
        // A redirect leads to the interface by which the packet came in.
        let mut rules = vec![asleep(family)];
        rules.extend(of_the_lan(family));
        rules.push(marked(ruleset));
        rules.extend([
            format!("-p udp --dport 53 -j {LAN_DNS}"),
            format!("-p tcp --dport 53 --syn -j {LAN_DNS}"),
        ]);
        if foreign_tcp {
            rules.push(format!("-p tcp --syn -j {TCP}"));
        }
        chains.push(Chain { name: LAN, rules });
        let mut rules = unasked(family).to_vec();
        rules.extend(
            ["udp", "tcp"].map(|protocol| {
                format!("-p {protocol} -j REDIRECT --to-ports {}", ruleset.dns_port)
            }),
        );
        chains.push(Chain { name: LAN_DNS, rules });
    }
    Table { part: Part::Nat, jumps: Part::Nat.jumps(ruleset.lan.is_some()), chains }
}

/// Queries of this machine to the name servers of its links, each to the link's own address.
fn link(ruleset: &Ruleset) -> Chain {
    let port = ruleset.dns_port;
    let rules = ruleset.link_local.iter().flat_map(|(name, own)| {
        queries(Family::V6)
            .map(move |query| format!("-o {name} {query} -j DNAT --to-destination [{own}]:{port}"))
    });
    Chain { name: LINK, rules: rules.collect() }
}

/// What makes the chain of link-local name servers that of `after`; `None` if it is so already.
pub(super) fn follow(before: &Ruleset, after: &Ruleset) -> Option<String> {
    if before.link_local == after.link_local || !after.listens_link_local() {
        return None;
    }
    let rules = link(after).rules.into_iter();
    let rules: String = rules.map(|rule| format!("-A {LINK} {rule}\n")).collect();
    Some(format!("*nat\n-F {LINK}\n{rules}COMMIT\n"))
}

/// Name servers of this prefix cannot be captured by a redirect: the query arrives, but its source
/// is a link-local address too, and over loopback there is no way back to it (seen: ENETUNREACH).
/// A translation to the interface's own link-local address works, and needs a listener there: with
/// `listen.address = "::"`, as in router mode, that is done. Elsewhere they are refused at once, so
/// that the client asks its next name server and nobody gets a forged answer. Who wants to ask them
/// nevertheless names them in `rules.direct`.
pub(super) const LINK_LOCAL: &str = "fe80::/10";

/// The matches of a DNS query that is ours to answer, UDP and TCP.
fn queries(family: Family) -> impl Iterator<Item = String> {
    let exempt = Set::Direct.name(family);
    ["-p udp --dport 53", "-p tcp --dport 53 --syn"]
        .into_iter()
        .map(move |query| format!("{query} -m set ! --match-set {exempt} dst"))
}

/// The dead man's switch: nothing is redirected unless the daemon has just renewed this set, see
/// [`Handle::beat`](super::Handle::beat).
fn asleep(family: Family) -> String {
    format!("-m set ! --match-set {} dst -j RETURN", Set::Alive.name(family))
}

/// The match of the daemon's proof, see [`probe`].
fn to_probe(family: Family) -> String {
    format!("-d {} ", probe::prefix(family))
}

/// Lets go what shall be left alone on this machine.
fn left_alone(ruleset: &Ruleset) -> impl Iterator<Item = String> {
    ruleset.left_alone.matches().map(|whose| format!("{whose} -j RETURN"))
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
