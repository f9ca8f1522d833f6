//! The address sets that both backends have, and what each holds. Pure.

use super::entry::{Entry, halves_v4, halves_v6};
use super::environment::lan::{Interface, anywhere};
use super::names::PREFIX;
use super::ruleset::Ruleset;
use crate::family::Family;
use crate::ipset::IpSet;
use crate::route::Route;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// One of our sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Every address, for as long as the daemon is alive and proven to capture this family.
    Alive,
    /// Every address, for as long as this family cannot be captured and the other one is.
    Rejected,
    /// Every address, for as long as the same holds for foreign UDP of this family.
    AliveDatagrams,
    /// Every address, for as long as foreign UDP of this family cannot be captured and that of the
    /// other one is.
    RejectedDatagrams,
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
    /// UDP flows that began while nothing was captured: they stay direct.
    Older,
    /// UDP flows that were captured: they stay so.
    Taken,
}

/// Entries in a set that grows while the daemon runs: as many as `route::Learned` remembers.
pub(super) const GROWING: usize = 65_536;

impl Set {
    /// What both modes have.
    pub(super) const COMMON: [Set; 14] = [
        Set::Alive,
        Set::Rejected,
        Set::AliveDatagrams,
        Set::RejectedDatagrams,
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

    /// What rules that capture UDP have beside them.
    const FLOWS: [Set; 2] = [Set::Older, Set::Taken];

    /// The sets of these rules.
    pub(super) fn of(ruleset: &Ruleset) -> Vec<Set> {
        let lan: &[Set] = if ruleset.policy.lan.is_some() { &Set::LAN } else { &[] };
        let captures = Family::ALL.into_iter().any(|family| ruleset.captures_datagrams(family));
        let flows: &[Set] = if captures { &Set::FLOWS } else { &[] };
        [&Set::COMMON, lan, flows].concat()
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
        format!("{PREFIX}{}{}", self.word(), family.digit())
    }

    /// Its name, whatever the family.
    pub(super) fn word(self) -> &'static str {
        match self {
            Set::Alive => "alive",
            Set::Rejected => "rejected",
            Set::AliveDatagrams => "alive-udp",
            Set::RejectedDatagrams => "rejected-udp",
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
            Set::Older => "older",
            Set::Taken => "taken",
        }
    }

    pub(super) fn kind(self) -> SetKind {
        match self {
            Set::Alive | Set::Rejected | Set::AliveDatagrams | Set::RejectedDatagrams => {
                SetKind::Switch
            }
            Set::Servers => SetKind::Addresses,
            Set::LearnedBlock | Set::LearnedProxy | Set::LearnedDirect => SetKind::Expiring,
            Set::Lan | Set::OnLink => SetKind::AtInterfaces,
            Set::Older => SetKind::Flows { timeout: OLDER_LIFETIME },
            Set::Taken => SetKind::Flows { timeout: TAKEN_LIFETIME },
            Set::Connected
            | Set::Block
            | Set::Proxy
            | Set::Direct
            | Set::Reserved
            | Set::China
            | Set::Sources => SetKind::Prefixes,
        }
    }

    pub(super) fn content(self, ruleset: &Ruleset, family: Family) -> Vec<Entry> {
        let (policy, environment) = (&ruleset.policy, &ruleset.environment);
        let set = match self {
            Set::Connected => &environment.connected,
            Set::Block => &policy.rules.block,
            Set::Proxy => &policy.rules.proxy,
            Set::Direct => &policy.rules.direct,
            Set::Reserved => &policy.rules.reserved,
            Set::China => &policy.rules.china,
            Set::Servers => return addresses(&environment.servers, family),
            Set::Alive
            | Set::Rejected
            | Set::AliveDatagrams
            | Set::RejectedDatagrams
            | Set::LearnedBlock
            | Set::LearnedProxy
            | Set::LearnedDirect
            | Set::Older
            | Set::Taken => return Vec::new(),
            Set::Sources => match &policy.lan {
                Some(lan) => &lan.direct_sources,
                None => return Vec::new(),
            },
            Set::Lan | Set::OnLink => {
                return self.at_interfaces(&environment.lan.interfaces, family);
            }
        };
        // Counted first: what a vector leaves behind as it grows stays with the allocator.
        let mut entries = Vec::with_capacity(prefixes(set, family).count());
        entries.extend(prefixes(set, family).map(Entry::Prefix));
        entries
    }

    /// How many entries [`content`](Self::content) has.
    pub(super) fn size(self, ruleset: &Ruleset, family: Family) -> usize {
        match self {
            // By far the longest one, and asked every few seconds.
            Set::China => prefixes(&ruleset.policy.rules.china, family).count(),
            _ => self.content(ruleset, family).len(),
        }
    }

    fn at_interfaces(self, interfaces: &[Interface], family: Family) -> Vec<Entry> {
        // What does not fit is told by whoever adds interfaces.
        let captured = interfaces.iter().filter(|interface| interface.captures(family));
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

/// Not an `IpSet`: that one joins neighbours to prefixes, and hash:ip holds addresses.
fn addresses(servers: &[IpAddr], family: Family) -> Vec<Entry> {
    let servers: BTreeSet<IpAddr> = servers.iter().map(|address| address.to_canonical()).collect();
    servers.into_iter().filter(|ip| Family::of(*ip) == family).map(Entry::Address).collect()
}

/// What a set holds, which is its type in ipset's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetKind {
    Prefixes,
    Addresses,
    Expiring,
    /// A prefix of length 0 is allowed here, but only [`MOST_INTERFACES`] for one prefix.
    AtInterfaces,
    Switch,
    /// UDP flows, by both addresses and their ports; added and renewed by the packets.
    Flows {
        timeout: Duration,
    },
}

/// A flow that is older than the capture is forgotten after so much silence: conntrack's own
/// time-out, rounded up (net.netfilter.nf_conntrack_udp_timeout_stream is 120 s, and was 180 s
/// before Linux 5.0).
pub(super) const OLDER_LIFETIME: Duration = Duration::from_secs(180);

/// The same for one that was captured; as long as the longest silence of a session of the relay
/// that was answered.
pub(super) const TAKEN_LIFETIME: Duration = Duration::from_secs(300);

/// ipset takes no more interfaces for one prefix (AHASH_MAX_TUNED, ip_set_hash_gen.h).
pub(super) const MOST_INTERFACES: usize = 64;

/// The names of all sets of these rules, in both families.
pub(super) fn names(ruleset: &Ruleset) -> Vec<String> {
    let sets = Set::of(ruleset);
    let of_family = |family: Family| sets.iter().map(move |set| set.name(family));
    Family::ALL.into_iter().flat_map(of_family).collect()
}
