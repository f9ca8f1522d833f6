//! Questions to upstream servers: each is one flight, however many clients wait for it, and goes on
//! when they leave, since the answer is good for the cache.
//!
//! A flight asks whom the policy names, and is the only place where an answer is kept and steers
//! traffic, and where a failure is remembered. Types that stand for an address, or for a service of
//! a host, begin with a flight of their own for the address.

use super::asked_server::{self, UNKNOWN};
use super::cache::{Failure, NameVerdict};
use super::horizon::Horizon;
use super::in_flight::InFlight;
use super::memory::Memory;
use super::policy::{Ask, QueryPolicy};
use super::reply::{Ede, Reply, Side, Stored, Ttls};
use super::resolution::Resolution;
use super::steering::Steering;
use super::upstream::Upstreams;
use super::wire::{Query, rr};
use super::{judge, no_leak, one_side, service_hints};
use crate::domain::Name;
use crate::route::Route;
use crate::task::spawn_local;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A good answer is at hand: the trusted side has so long for one with signatures, and none if it
/// has not answered lately.
const SIGNATURES_WITHIN: Duration = Duration::from_millis(1500);

/// The flights of this moment, and what they work with.
pub(super) struct Flights {
    pub(super) policy: Rc<QueryPolicy>,
    pub(super) memory: Rc<Memory>,
    pub(super) upstreams: Rc<Upstreams>,
    pub(super) steering: Steering,
    pub(super) horizon: Rc<Horizon>,
    pub(super) in_flight: InFlight<Resolution>,
}

impl Flights {
    /// Joins the flight of the same question, or starts it.
    pub(super) async fn resolve(self: &Rc<Self>, query: &Query) -> Rc<Resolution> {
        let (result, is_first) = self.in_flight.join(query.key());
        if is_first {
            let (flights, query) = (Rc::clone(self), query.clone());
            spawn_local(async move {
                let flight = flights.in_flight.begin(query.key());
                let resolution = flights.run(&query).await;
                flights.memory.is_answered(&query);
                flight.finish(resolution);
            });
        }
        const LOST: Ede = Ede::unreachable("the query was lost; please report this");
        result.await.unwrap_or_else(|_| Rc::new(Resolution::Servfail(LOST)))
    }

    /// Asks for a name again whose answer will soon end; no client waits for it.
    pub(super) fn refresh(self: &Rc<Self>, query: &Query) {
        let (flights, query) = (Rc::clone(self), query.clone());
        spawn_local(async move {
            flights.resolve(&query).await;
        });
    }

    async fn run(self: &Rc<Self>, query: &Query) -> Resolution {
        let resolution = match query.server() {
            Some(server) => self.ask_there(query, server).await,
            None => {
                let began = Instant::now();
                let resolution = self.ask_sides(query).await;
                let resolution = self.signed_if_it_can_be(query, resolution, began).await;
                self.accepted(query, resolution)
            }
        };
        if let Resolution::Stale(ede) | Resolution::Servfail(ede) = resolution {
            let allows_stale = matches!(resolution, Resolution::Stale(_));
            let failure = Failure { ede, allows_stale };
            self.memory.failures.borrow_mut().insert(query, failure, Instant::now());
        }
        if let Resolution::Stale(_) = resolution {
            self.steer_stale(query);
        }
        resolution
    }

    /// The addresses of a stale answer have to be steered as when they were fresh.
    fn steer_stale(&self, query: &Query) {
        if let Some(hit) = self.memory.cache.borrow_mut().get_stale(query, Instant::now()) {
            self.steering.learn(self.policy.way(query), hit.stored());
        }
    }

    /// Whether there is a stale answer that may be given if the servers are slow. None in the place
    /// of what the asked server may yet say.
    pub(super) fn has_stale(&self, query: &Query) -> bool {
        let mut cache = self.memory.cache.borrow_mut();
        let may_be_known_there =
            |stored: &Stored| self.horizon.is_open() && self.policy.is_denial(query, stored);
        cache.get_stale(query, Instant::now()).is_some_and(|hit| !may_be_known_there(hit.stored()))
    }

    /// A client gets the stale answer since the servers are slow, and who asks within the next
    /// seconds gets it at once. The question goes on. False if that is not allowed.
    pub(super) fn settle_for_stale(&self, query: &Query) -> bool {
        const SLOW: Ede = Ede::unreachable("the name servers are slow");
        if !self.has_stale(query) || !self.memory.allows_stale(query) {
            return false;
        }
        let failure = Failure { ede: SLOW, allows_stale: true };
        self.memory.failures.borrow_mut().insert(query, failure, Instant::now());
        self.steer_stale(query);
        true
    }

    async fn ask_sides(self: &Rc<Self>, query: &Query) -> Resolution {
        let (policy, memory, upstreams) = (&self.policy, &self.memory, &self.upstreams);
        let patience = policy.settings.servers.timeout;
        match policy.ask(query) {
            Ask::Forward(servers) => one_side::these_only(policy, upstreams, servers, query).await,
            Ask::Local => {
                let servers = upstreams.local_servers(Instant::now());
                one_side::these_only(policy, upstreams, &servers, query).await
            }
            Ask::Domestic => {
                one_side::domestic_first(policy, memory, upstreams, query, patience).await
            }
            Ask::Trusted => one_side::trusted_only(policy, upstreams, query, patience).await,
            Ask::Both => judge::both_sides(policy, memory, upstreams, query).await,
            Ask::TrustedFirst => no_leak::trusted_first(policy, memory, upstreams, query).await,
            Ask::SideOfAddresses => self.follow_addresses(query, patience).await,
        }
    }

    /// Other types follow the verdict about the name's addresses; those that stand for an address
    /// (HTTPS, SVCB: RFC 9460) ask for it first. Unknown names are asked of the trusted side.
    async fn follow_addresses(self: &Rc<Self>, query: &Query, patience: Duration) -> Resolution {
        let (policy, memory, upstreams) = (&self.policy, &self.memory, &self.upstreams);
        let began = Instant::now();
        let mut verdict = memory.verdict(query, began);
        if verdict.is_none() && matches!(query.qtype(), rr::HTTPS | rr::SVCB) {
            let address = query.with_type(rr::A);
            let is_cached = memory.cache.borrow_mut().get(&address, began).is_some();
            if !is_cached {
                Box::pin(self.resolve(&address)).await;
            }
            verdict = memory.verdict(query, Instant::now());
        }
        let left = patience.saturating_sub(began.elapsed());
        match verdict {
            Some(NameVerdict::Domestic) => {
                one_side::domestic_first(policy, memory, upstreams, query, left).await
            }
            _ => one_side::trusted_only(policy, upstreams, query, left).await,
        }
    }

    /// A validating client (DO) can make nothing of a domestic answer without signatures where the
    /// name is signed, or where it wants the proof that it is not. If the trusted side has
    /// signatures its answer counts: a far address that can be validated is better than a near one
    /// that cannot. A name without signatures there keeps its near address.
    async fn signed_if_it_can_be(
        &self,
        query: &Query,
        resolution: Resolution,
        began: Instant,
    ) -> Resolution {
        let Resolution::Reply { stored, ttls: Ttls::Aged(_) } = &resolution else {
            return resolution;
        };
        if !query.dnssec_ok()
            || stored.side() == Side::Trusted
            || stored.is_signed()
            || self.upstreams.is_trusted_down(query)
        {
            return resolution;
        }
        let left = self.policy.settings.servers.timeout.saturating_sub(began.elapsed());
        let message = self.upstreams.ask_trusted(query, left.min(SIGNATURES_WITHIN)).await;
        match message.as_deref().and_then(Reply::parse) {
            Some(reply) if reply.is_signed() && !self.is_hidden(query, &reply) => {
                Resolution::fresh(self.policy.stored(&reply, Side::Trusted))
            }
            _ => resolution,
        }
    }

    /// Whether the far addresses are of a kind that the operator wants nobody to use
    /// (`firewall.ipv6`).
    fn is_hidden(&self, query: &Query, reply: &Reply<'_>) -> bool {
        let is_near = |address: &_| self.policy.china().contains(*address);
        self.policy.hides_if_foreign(query)
            && self.policy.rule(query) != Some(Route::Direct)
            && !reply.addresses().iter().any(is_near)
    }

    /// Takes a reply that clients will get: into the cache, and the addresses of listed names into
    /// the router and the kernel, before a client can use them.
    fn accepted(&self, query: &Query, resolution: Resolution) -> Resolution {
        let Resolution::Reply { stored, ttls: ttls @ Ttls::Aged(_) } = resolution else {
            return resolution;
        };
        let now = Instant::now();
        let verdict = self.memory.verdict(query, now);
        let stored = service_hints::chosen(&self.policy, query, stored, verdict);
        let stored = self.policy.bounded(query, stored);
        if self.policy.keeps(query, verdict) {
            self.memory.cache.borrow_mut().insert(query, stored.clone(), now);
        }
        self.steering.learn(self.policy.way(query), &stored);
        Resolution::Reply { stored, ttls }
    }

    /// Asks the server that a program asked. What does not count is a failure.
    async fn ask_there(self: &Rc<Self>, query: &Query, server: SocketAddr) -> Resolution {
        let is_address = matches!(query.qtype(), rr::A | rr::AAAA);
        if !is_address
            && !self.policy.is_local(query)
            && !self.has_private_addresses(query, server).await
        {
            return Resolution::Servfail(UNKNOWN);
        }
        let (policy, memory, upstreams) = (&self.policy, &self.memory, &self.upstreams);
        asked_server::ask(policy, memory, upstreams, &self.horizon, query, server).await
    }

    /// Whether the server has private addresses for the name, or for the one that a service's name
    /// belongs to (RFC 8552), and the public sides know nothing of that.
    async fn has_private_addresses(self: &Rc<Self>, query: &Query, server: SocketAddr) -> bool {
        let Some(name) = owner(query.name()) else { return false };
        for qtype in [rr::A, rr::AAAA] {
            let address = Query::new(&name, qtype);
            if name.as_wire() != query.name() {
                let resolution = Box::pin(self.resolve(&address)).await;
                if !self.denies(&address, &resolution) {
                    return false;
                }
            }
            let there = address.at(server);
            let resolution = Box::pin(self.resolve(&there)).await;
            if let Resolution::Reply { stored, .. } = &*resolution
                && !stored.addresses().is_empty()
            {
                return true;
            }
        }
        false
    }

    /// Whether the public sides say that there is no such name, and the server that the program
    /// asked may hear of it.
    pub(super) fn denies(&self, query: &Query, resolution: &Resolution) -> bool {
        match resolution {
            Resolution::Reply { stored, .. } => self.policy.is_denial(query, stored),
            Resolution::Stale(_) | Resolution::Servfail(_) => self.denied(query),
            Resolution::NoData(_) | Resolution::NxDomain => false,
        }
    }

    /// The same of what they said within the last day.
    pub(super) fn denied(&self, query: &Query) -> bool {
        let mut cache = self.memory.cache.borrow_mut();
        let is_denial = |stored: &Stored| self.policy.is_denial(query, stored);
        cache.get_stale(query, Instant::now()).is_some_and(|hit| is_denial(hit.stored()))
    }
}

/// The name of a host that a name in wire form belongs to: what follows the last label that begins
/// with an underscore.
fn owner(name: &[u8]) -> Option<Name> {
    let (mut owner, mut rest) = (name, name);
    while let Some((length, tail)) = rest.split_first()
        && *length > 0
    {
        rest = tail.get(usize::from(*length)..)?;
        if tail.first() == Some(&b'_') {
            owner = rest;
        }
    }
    (owner != [0]).then(|| Name::from_wire(owner))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_service_it_is() {
        let owner = |text: &str| {
            super::owner(text.parse::<Name>().unwrap().as_wire()).map(|name| name.to_string())
        };
        for (name, expected) in [
            ("corp.example", Some("corp.example")),
            ("_ldap._tcp.corp.example", Some("corp.example")),
            ("_ldap._tcp.dc._msdcs.corp.example", Some("corp.example")),
            ("a_b.example", Some("a_b.example")),
            ("_tcp", None),
        ] {
            assert_eq!(owner(name).as_deref(), expected, "{name}");
        }
    }
}
