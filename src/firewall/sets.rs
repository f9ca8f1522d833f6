//! The address sets in the kernel, as text for `ipset restore`. Pure.
//!
//! Each exists once for a family, since an ipset holds one family only. Format: ipset(8), "restore".

mod missing;

pub(super) use missing::{Missing, missing};

use super::PULSE;
use super::ipset_netlink::Change;
use super::lan::{Lan, anywhere};
use super::ruleset::{Family, Ruleset};
use crate::ipset::IpSet;
use crate::route::Route;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Write};
use std::net::IpAddr;

/// What is run with the text of [`restore`] or [`destroy`] on its standard input.
pub(super) const COMMAND: &str = "ipset restore";

/// Every set of ours begins so, and nobody else's does.
pub(super) const PREFIX: &str = "snet-";

/// One of our sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Every address, for as long as the daemon is alive and proven to capture this family.
    Alive,
    /// Every address, for as long as this family cannot be captured and the other one is.
    Rejected,
    /// The prefixes on our links.
    Connected,
    /// `rules.block`.
    Block,
    /// `rules.proxy`.
    Proxy,
    /// `rules.direct`.
    Direct,
    /// Upstream servers.
    Servers,
    /// Addresses of names that are refused, each with its own time to live.
    LearnedBlock,
    /// Addresses of names that take the proxy.
    LearnedProxy,
    /// Addresses of names that go direct.
    LearnedDirect,
    /// Addresses that never leave the local networks.
    Reserved,
    /// The China list.
    China,
    /// Router mode: everything that comes in by an interface of the LAN side.
    Lan,
    /// Router mode: the prefixes on a LAN-side link, each with its interface.
    OnLink,
    /// Router mode: `rules.direct-sources`.
    Sources,
}

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Prefix(IpNet),
    Address(IpAddr),
    /// A prefix, seen at this interface.
    At(IpNet, String),
}

/// A learned set forgets an entry after so many seconds unless it is told otherwise; ours always
/// tell.
const DEFAULT_TIMEOUT: u32 = 300;

/// Entries in a set that grows while the daemon runs: as many as `route::Learned` remembers.
pub(super) const GROWING: usize = 65_536;

/// Entries that a set of prefixes has room for, at least: a reload adds the new list before the old
/// one goes. Only those that are there take memory.
const ROOM: usize = 1 << 20;

impl Set {
    /// What both modes have.
    pub(super) const COMMON: [Set; 12] = [
        Set::Alive,
        Set::Rejected,
        Set::Connected,
        Set::Block,
        Set::Proxy,
        Set::Direct,
        Set::Servers,
        Set::LearnedBlock,
        Set::LearnedProxy,
        Set::LearnedDirect,
        Set::Reserved,
        Set::China,
    ];

    /// What router mode has beside them.
    const LAN: [Set; 3] = [Set::Lan, Set::OnLink, Set::Sources];

    /// The sets of these rules.
    pub(super) fn of(ruleset: &Ruleset) -> Vec<Set> {
        let lan: &[Set] = if ruleset.lan.is_some() { &Set::LAN } else { &[] };
        [&Set::COMMON, lan].concat()
    }

    /// The set of addresses that were learned to take this route.
    pub(super) fn learned(route: Route) -> Set {
        match route {
            Route::Block => Set::LearnedBlock,
            Route::Proxy => Set::LearnedProxy,
            Route::Direct => Set::LearnedDirect,
        }
    }

    /// Its name in the kernel; at most 31 characters (IPSET_MAXNAMELEN).
    pub(super) fn name(self, family: Family) -> String {
        let name = match self {
            Set::Alive => "alive",
            Set::Rejected => "rejected",
            Set::Connected => "connected",
            Set::Block => "block",
            Set::Proxy => "proxy",
            Set::Direct => "direct",
            Set::Servers => "servers",
            Set::LearnedBlock => "learned-block",
            Set::LearnedProxy => "learned-proxy",
            Set::LearnedDirect => "learned-direct",
            Set::Reserved => "reserved",
            Set::China => "china",
            Set::Lan => "lan",
            Set::OnLink => "on-link",
            Set::Sources => "sources",
        };
        format!("{PREFIX}{name}{}", family.digit())
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Set::Alive | Set::Rejected => Kind::Pulse,
            Set::Servers => Kind::Addresses,
            Set::LearnedBlock | Set::LearnedProxy | Set::LearnedDirect => Kind::Expiring,
            Set::Lan | Set::OnLink => Kind::AtInterfaces,
            Set::Connected
            | Set::Block
            | Set::Proxy
            | Set::Direct
            | Set::Reserved
            | Set::China
            | Set::Sources => Kind::Prefixes,
        }
    }

    pub(super) fn content(self, ruleset: &Ruleset, family: Family) -> Vec<Entry> {
        let lan = ruleset.lan.as_ref();
        let set = match self {
            Set::Connected => &ruleset.connected,
            Set::Block => &ruleset.block,
            Set::Proxy => &ruleset.proxy,
            Set::Direct => &ruleset.direct,
            Set::Reserved => &ruleset.reserved,
            Set::China => &ruleset.china,
            Set::Servers => return addresses(&ruleset.servers, family),
            Set::Alive
            | Set::Rejected
            | Set::LearnedBlock
            | Set::LearnedProxy
            | Set::LearnedDirect => return Vec::new(),
            Set::Sources => match lan {
                Some(lan) => &lan.direct_sources,
                None => return Vec::new(),
            },
            Set::Lan | Set::OnLink => {
                return lan.map(|lan| self.at_interfaces(lan, family)).unwrap_or_default();
            }
        };
        prefixes(set, family).map(Entry::Prefix).collect()
    }

    /// How many entries [`content`](Self::content) has.
    fn size(self, ruleset: &Ruleset, family: Family) -> usize {
        match self {
            // By far the longest one, and asked every few seconds.
            Set::China => prefixes(&ruleset.china, family).count(),
            _ => self.content(ruleset, family).len(),
        }
    }

    fn at_interfaces(self, lan: &Lan, family: Family) -> Vec<Entry> {
        // What does not fit is told by whoever adds interfaces.
        let captured = lan.interfaces.iter().filter(|interface| interface.captures(family));
        let captured = captured.take(MOST_INTERFACES);
        match self {
            Set::OnLink => captured
                .flat_map(|at| {
                    prefixes(&at.on_link, family).map(|net| Entry::At(net, at.name.clone()))
                })
                .collect(),
            _ => captured.map(|at| Entry::At(anywhere(family), at.name.clone())).collect(),
        }
    }
}

fn prefixes(set: &IpSet, family: Family) -> Box<dyn Iterator<Item = IpNet> + '_> {
    match family {
        Family::V4 => Box::new(set.prefixes_v4().flat_map(halves_v4).map(IpNet::V4)),
        Family::V6 => Box::new(set.prefixes_v6().flat_map(halves_v6).map(IpNet::V6)),
    }
}

/// Both halves of a family's addresses.
pub(super) fn everything(family: Family) -> Vec<Entry> {
    let halves: Vec<IpNet> = match family {
        Family::V4 => halves_v4(Ipv4Net::default()).map(IpNet::V4).collect(),
        Family::V6 => halves_v6(Ipv6Net::default()).map(IpNet::V6).collect(),
    };
    halves.into_iter().map(Entry::Prefix).collect()
}

/// Not an `IpSet`: that one joins neighbours to prefixes, and hash:ip holds addresses.
fn addresses(servers: &[IpAddr], family: Family) -> Vec<Entry> {
    let servers: BTreeSet<IpAddr> = servers.iter().map(|address| address.to_canonical()).collect();
    servers.into_iter().filter(|ip| Family::of(*ip) == family).map(Entry::Address).collect()
}

/// What a set holds, which is its type in ipset's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Prefixes,
    Addresses,
    Expiring,
    /// A prefix of length 0 is allowed here, but only [`MOST_INTERFACES`] for one prefix.
    AtInterfaces,
    Pulse,
}

/// ipset takes no more interfaces for one prefix (AHASH_MAX_TUNED, ip_set_hash_gen.h).
pub(super) const MOST_INTERFACES: usize = 64;

/// Creates and fills all sets of these families.
pub(super) fn restore(ruleset: &Ruleset, families: &[Family]) -> String {
    create(&Set::of(ruleset), ruleset, families)
}

/// Creates and fills the sets that the rules of `after` have and those of `before` had not.
pub(super) fn restore_new(before: &Ruleset, after: &Ruleset, families: &[Family]) -> String {
    let known = Set::of(before);
    let mut new = Set::of(after);
    new.retain(|set| !known.contains(set));
    create(&new, after, families)
}

/// Creates and fills all sets of these families; one of those that are `there` is exchanged for the
/// new one at one moment, also while rules name it.
pub(super) fn exchange(ruleset: &Ruleset, families: &[Family], there: &[String]) -> String {
    let is_there = |name: &str| there.iter().any(|known| known == name);
    let mut text = String::new();
    if is_there(EXCHANGED) {
        text.push_str(&destroy([EXCHANGED.to_owned()]));
    }
    for family in families {
        for set in Set::of(ruleset) {
            let name = set.name(*family);
            if !is_there(&name) {
                text.push_str(&create(&[set], ruleset, &[*family]));
                continue;
            }
            create_as(EXCHANGED, set, ruleset, *family, &mut text);
            // A String takes every write.
            let _ = writeln!(text, "swap {EXCHANGED} {name}\ndestroy {EXCHANGED}");
        }
    }
    text
}

/// The set that is filled beside another one.
const EXCHANGED: &str = "snet-exchanged";

fn create(sets: &[Set], ruleset: &Ruleset, families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        for set in sets {
            create_as(&set.name(*family), *set, ruleset, *family, &mut text);
        }
    }
    text
}

fn create_as(name: &str, set: Set, ruleset: &Ruleset, family: Family, text: &mut String) {
    let content = set.content(ruleset, family);
    let (inet, size) = (family.inet(), hash_size(content.len()));
    // A String takes every write.
    let _ = match set.kind() {
        Kind::Prefixes => writeln!(
            text,
            "create {name} hash:net family {inet} hashsize {size} maxelem {}",
            (2 * content.len()).max(ROOM)
        ),
        Kind::Pulse => writeln!(
            text,
            "create {name} hash:net family {inet} hashsize {size} maxelem {GROWING} \
                     timeout {}",
            PULSE.as_secs()
        ),
        Kind::Addresses => {
            writeln!(text, "create {name} hash:ip family {inet} hashsize {size} maxelem {GROWING}")
        }
        Kind::Expiring => writeln!(
            text,
            "create {name} hash:ip family {inet} hashsize {size} maxelem {GROWING} \
                     timeout {DEFAULT_TIMEOUT}"
        ),
        Kind::AtInterfaces => writeln!(
            text,
            "create {name} hash:net,iface family {inet} hashsize {size} maxelem {GROWING}"
        ),
    };
    for entry in content {
        let _ = writeln!(text, "add {name} {entry}");
    }
}

/// As ipset(8) writes it.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Prefix(net) => net.fmt(f),
            Entry::Address(address) => address.fmt(f),
            Entry::At(net, interface) => write!(f, "{net},{interface}"),
        }
    }
}

/// Destroys the sets of these names.
pub(super) fn destroy(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().map(|name| format!("destroy {name}\n")).collect()
}

/// What turns the content of the sets of `before` into that of `after`: all additions, then all
/// deletions, for the reason given in [`renew`](super::renew). An interface becomes LAN side when
/// all is known of it, and ceases to be before that is forgotten. Sets that only one of the two has
/// are left out, and so is what comes with time.
pub(super) fn changes(before: &Ruleset, after: &Ruleset, families: &[Family]) -> Vec<Change> {
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    let known = Set::of(before);
    let lasting = |set: &Set| !matches!(set.kind(), Kind::Pulse | Kind::Expiring);
    let mut sets = Set::of(after);
    sets.retain(|set| known.contains(set) && lasting(set));
    // See above: Lan is the last one that grows, and the first one that shrinks.
    sets.sort_by_key(|set| *set == Set::Lan);
    for set in sets {
        for family in families.iter().copied() {
            let (old, new) = (set.content(before, family), set.content(after, family));
            if old == new {
                continue;
            }
            let (was, is): (HashSet<_>, HashSet<_>) =
                (old.iter().cloned().collect(), new.iter().cloned().collect());
            let name = set.name(family);
            added.extend(new.iter().filter(|entry| !was.contains(entry)).map(|entry| {
                Change::Add { set: name.clone(), family, entry: entry.clone(), timeout: None }
            }));
            deleted.extend(
                old.into_iter().filter(|entry| !is.contains(entry)).map(|entry| Change::Delete {
                    set: name.clone(),
                    family,
                    entry,
                }),
            );
        }
    }
    deleted.reverse();
    [added, deleted].concat()
}

/// The names of all sets of these rules, in both families.
pub(super) fn names(ruleset: &Ruleset) -> Vec<String> {
    let sets = Set::of(ruleset);
    let of_family = |family: Family| sets.iter().map(move |set| set.name(family));
    Family::ALL.into_iter().flat_map(of_family).collect()
}

/// Buckets for so many entries: a power of two, as the kernel rounds up to one. With an entry a
/// bucket the table is not rehashed while it is loaded (a bucket takes a dozen entries before
/// that; ip_set_hash_gen.h).
fn hash_size(entries: usize) -> usize {
    entries.next_power_of_two().max(64)
}

/// hash:net cannot hold a prefix of length 0 (ipset(8)): two halves instead.
fn halves_v4(net: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    let halves = if net.prefix_len() == 0 { net.subnets(1).ok() } else { None };
    let whole = halves.is_none().then_some(net);
    halves.into_iter().flatten().chain(whole)
}

fn halves_v6(net: Ipv6Net) -> impl Iterator<Item = Ipv6Net> {
    let halves = if net.prefix_len() == 0 { net.subnets(1).ok() } else { None };
    let whole = halves.is_none().then_some(net);
    halves.into_iter().flatten().chain(whole)
}
