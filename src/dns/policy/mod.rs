//! What the settings say of a query: that it is answered here, and with what, or whom to ask.
//!
//! Pure: no I/O, no clock, no memory. The only thing that others know and that matters here, whose
//! name it was judged to be, is given.
//!
//! The rungs, first match wins: `dns.hosts`; localhost and other special names; `rules.block`;
//! types that the operator does not want; ANY. What passes them is asked: the servers of
//! `dns.forward`, those of local names, the one side that the operator's lists name, or both.

use super::cache::NameVerdict;
use super::hosts::Hosts;
use super::reply::{self, Clamp, Ede, HintFamilies, Reply, Side, Stored, UNTIL_RELOAD};
use super::settings::{HttpsRecords, Settings};
use super::special::{self, Special};
use super::wire::{Query, rcode, rr};
use crate::ipset::IpSet;
use crate::route::{NamedWay, Route};
use crate::stats::DecidedBy;
use std::net::SocketAddr;

/// The bound, in seconds, of what one answer teaches: it may be a lie. Such an answer is not kept
/// for longer either.
pub(super) const LEARNED_AT_MOST: u32 = 3600;

/// What the asked server says may change soon: containers come and go. In seconds.
const ASKED_SERVER_LIFETIME: u32 = 60;

/// The settings, in the form in which queries are looked up.
#[derive(Debug)]
pub(super) struct QueryPolicy {
    pub(super) settings: Settings,
    hosts: Hosts,
    clamp: Clamp,
}

/// What becomes of a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan<'a> {
    /// It is answered without asking.
    Known(KnownAnswer),
    /// The name servers are asked.
    Ask(Ask<'a>),
}

/// An answer that needs no name server, see [`QueryPolicy::write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownAnswer {
    /// `dns.hosts` has the name.
    Hosts,
    /// This machine.
    Localhost,
    /// A special name that does not exist.
    NxDomain,
    /// A special name without records.
    NoData,
    /// `rules.block`
    Blocked,
    /// A type that the operator does not want, of this name or of all.
    Filtered,
    /// All types at once (RFC 8482).
    Any,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// These servers of `dns.forward`; no other hears of the name.
    Forward(&'a [SocketAddr]),
    /// The servers of local names; no other hears of the name.
    Local,
    /// The domestic side; the trusted one if that is silent or forged.
    Domestic,
    /// The trusted side only.
    Trusted,
    /// An address of a name that no list has: both sides, see [`split`](super::split).
    Both,
    /// The same with `dns.no-leak`: the trusted side first, see [`no_leak`](super::no_leak).
    TrustedFirst,
    /// Another type of such a name: the side that its addresses belong to.
    SideOfAddresses,
}

impl QueryPolicy {
    pub(super) fn new(settings: Settings) -> Self {
        QueryPolicy {
            hosts: Hosts::new(&settings.answers.hosts),
            clamp: Clamp::new(settings.cache.min_ttl, settings.cache.max_ttl),
            settings,
        }
    }

    /// What becomes of a query for a name that was judged so.
    pub(super) fn plan(&self, query: &Query, verdict: Option<NameVerdict>) -> Plan<'_> {
        self.known(query, verdict).map_or_else(|| Plan::Ask(self.ask(query)), Plan::Known)
    }

    /// What is answered without asking, if anything.
    pub(super) fn known(&self, query: &Query, verdict: Option<NameVerdict>) -> Option<KnownAnswer> {
        if self.hosts.has(query) {
            return Some(KnownAnswer::Hosts);
        }
        self.special(query).or_else(|| self.filtered(query, verdict))
    }

    /// Names that a forward rule mentions are not special, but for localhost.
    fn special(&self, query: &Query) -> Option<KnownAnswer> {
        match Special::of(query.name()) {
            Special::Ordinary | Special::Local => None,
            Special::Localhost => Some(KnownAnswer::Localhost),
            _ if self.forward(query).is_some() => None,
            Special::NxDomain => Some(KnownAnswer::NxDomain),
            Special::NoData => Some(KnownAnswer::NoData),
        }
    }

    fn filtered(&self, query: &Query, verdict: Option<NameVerdict>) -> Option<KnownAnswer> {
        let rule = self.rule(query);
        if rule == Some(Route::Block) {
            return Some(KnownAnswer::Blocked);
        }
        let is_foreign = rule == Some(Route::Proxy) || verdict == Some(NameVerdict::Foreign);
        let answers = &self.settings.answers;
        let https = answers.https_records == HttpsRecords::Block
            && matches!(query.qtype(), rr::HTTPS | rr::SVCB);
        if is_foreign && self.hides_if_foreign(query)
            || https
            || answers.block_types.contains(&query.qtype())
        {
            return Some(KnownAnswer::Filtered);
        }
        (query.qtype() == rr::ANY).then_some(KnownAnswer::Any)
    }

    /// Whether the answer is withheld if the name turns out to be foreign (`firewall.ipv6`).
    pub(super) fn hides_if_foreign(&self, query: &Query) -> bool {
        self.settings.no_foreign_aaaa && query.qtype() == rr::AAAA
    }

    /// The message for a client that takes `limit` bytes.
    pub(super) fn write(&self, known: KnownAnswer, query: &Query, limit: usize) -> Vec<u8> {
        match known {
            KnownAnswer::Hosts => self.hosts.answer(query, limit),
            KnownAnswer::Localhost => special::localhost(query, limit),
            KnownAnswer::NxDomain => reply::nxdomain(query, None, UNTIL_RELOAD),
            KnownAnswer::NoData => reply::nodata(query, None, UNTIL_RELOAD),
            KnownAnswer::Blocked => reply::blocked(query),
            KnownAnswer::Filtered => reply::nodata(query, Some(Ede::FILTERED), UNTIL_RELOAD),
            KnownAnswer::Any => reply::minimal_any(query),
        }
    }

    /// Whom to ask for what is not known.
    pub(super) fn ask(&self, query: &Query) -> Ask<'_> {
        if let Some(servers) = self.forward(query) {
            return Ask::Forward(servers);
        }
        if self.is_local(query) {
            return Ask::Local;
        }
        match self.rule(query) {
            Some(Route::Direct) => Ask::Domestic,
            Some(Route::Proxy) => Ask::Trusted,
            _ if self.settings.rules.is_domestic_name(query.name()) => Ask::Domestic,
            _ if !matches!(query.qtype(), rr::A | rr::AAAA) => Ask::SideOfAddresses,
            _ if self.settings.privacy.no_leak => Ask::TrustedFirst,
            _ => Ask::Both,
        }
    }

    /// The route that the operator's rules give the name.
    pub(super) fn rule(&self, query: &Query) -> Option<Route> {
        self.settings.rules.name_route(query.name())
    }

    /// The same, with the group of proxies that carries what the name leads to, if one does.
    pub(super) fn way(&self, query: &Query) -> Option<NamedWay> {
        self.settings.rules.name_way(query.name())
    }

    /// The rule or list that decides on what becomes of the query, if one does.
    pub(super) fn decided_by(&self, query: &Query) -> Option<DecidedBy> {
        if self.hosts.has(query) || self.special(query).is_some() {
            return None;
        }
        let way = self.way(query);
        let is_blocked = way.is_some_and(|way| way.route == Route::Block);
        if !is_blocked && (self.forward(query).is_some() || self.is_local(query)) {
            return None;
        }
        let is_domestic = || self.settings.rules.is_domestic_name(query.name());
        way.map(|way| way.by).or_else(|| is_domestic().then_some(DecidedBy::ChinaList))
    }

    fn forward(&self, query: &Query) -> Option<&[SocketAddr]> {
        self.settings.servers.forward.lookup(query.name()).map(Vec::as_slice)
    }

    /// Whether it is for the servers of local names.
    pub(super) fn is_local(&self, query: &Query) -> bool {
        Special::of(query.name()) == Special::Local
            && !is_about_a_top_level(query)
            && self.forward(query).is_none()
    }

    /// Domestic addresses; empty with `scope = "global"`.
    pub(super) fn china(&self) -> &IpSet {
        &self.settings.rules.china
    }

    /// A reply in the form that is sent on, less what the operator does not want.
    pub(super) fn stored(&self, reply: &Reply<'_>, side: Side) -> Stored {
        let strips = self.settings.answers.https_records == HttpsRecords::StripHints
            && matches!(reply.qtype(), rr::HTTPS | rr::SVCB);
        let stripped = strips.then(|| reply::without_hints(reply, HintFamilies::ALL)).flatten();
        let stripped = stripped.as_deref().and_then(Reply::parse);
        Stored::new(stripped.as_ref().unwrap_or(reply), side, self.clamp)
    }

    /// The same of a record that the cache's file holds.
    pub(super) fn clamp(&self) -> Clamp {
        self.clamp
    }

    /// A reply as it is given and kept: it does not outlive what is learned from it.
    pub(super) fn bounded(&self, query: &Query, stored: Stored) -> Stored {
        match self.rule(query) {
            Some(_) => stored.capped(LEARNED_AT_MOST),
            None => stored,
        }
    }

    /// Whether answers to the query may be kept. A query for HTTPS records asks for an address too,
    /// which may be of a type that is blocked.
    pub(super) fn keeps(&self, query: &Query, verdict: Option<NameVerdict>) -> bool {
        self.filtered(query, verdict).is_none()
    }

    /// Whether these settings would still give an answer that this side gave before.
    pub(super) fn still_gives(
        &self,
        query: &Query,
        side: Side,
        verdict: Option<NameVerdict>,
    ) -> bool {
        match self.plan(query, verdict) {
            Plan::Known(_) => false,
            // With hints that other settings wanted, or without.
            Plan::Ask(_) if matches!(query.qtype(), rr::HTTPS | rr::SVCB) => false,
            // Servers for a domain may have changed, and are near.
            Plan::Ask(Ask::Forward(_) | Ask::Local) => false,
            Plan::Ask(Ask::Domestic) => true,
            Plan::Ask(Ask::Trusted) => side == Side::Trusted,
            Plan::Ask(Ask::Both | Ask::TrustedFirst | Ask::SideOfAddresses) => {
                side == Side::Trusted || !self.china().is_empty()
            }
        }
    }

    /// Whether an answer of the public sides says that there is no such name, and the server that
    /// the program asked may hear of it.
    pub(super) fn is_denial(&self, query: &Query, stored: &Stored) -> bool {
        if stored.rcode() != rcode::NXDOMAIN || self.forward(query).is_some() {
            return false;
        }
        let is_secret = self.settings.privacy.no_leak || self.rule(query) == Some(Route::Proxy);
        !is_secret || stored.denies_top_level()
    }

    /// What of the message of an asked server counts, see [`split_horizon`](super::split_horizon).
    pub(super) fn confined(&self, query: &Query, message: &[u8], bogus: &IpSet) -> Option<Stored> {
        let reply = Reply::parse(message)?;
        let is_credible = |address: &_| !bogus.contains(*address) && reply::is_private(*address);
        if !self.is_local(query) && !reply.addresses().iter().all(is_credible) {
            return None;
        }
        let confined = reply::confined(query, &reply)?;
        let stored = self.stored(&Reply::parse(&confined)?, Side::Domestic);
        Some(stored.capped(ASKED_SERVER_LIFETIME))
    }
}

/// A validating client asks for keys and servers of top-level domains: `com` is no host of the
/// local network. `lan` is no top-level domain.
fn is_about_a_top_level(query: &Query) -> bool {
    const NS: u16 = 2;
    const DS: u16 = 43;
    const DNSKEY: u16 = 48;
    let single_label = query.name().iter().filter(|byte| **byte < 64).count() == 2;
    single_label
        && matches!(query.qtype(), NS | DS | DNSKEY | rr::SOA)
        && !special::is_local_zone(query.name())
}

#[cfg(test)]
mod tests;
