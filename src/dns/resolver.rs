//! The ladder: what can be answered at once is, in the order of the rungs; the rest is a flight.
//!
//! malformed (in `server`) -> hosts -> local and special names -> block -> type filter -> cache ->
//! join an identical query in flight -> listed name (one side only) -> judgement.

use super::Settings;
use super::cache::{Cache, Failures, NameVerdict, Verdicts};
use super::flight::{Flights, Outcome};
use super::horizon::Horizon;
use super::hosts::Hosts;
use super::judge::Events;
use super::limit::RateLimit;
use super::loops::QueryLoops;
use super::query_log::{AnswerSource, QueryLine};
use super::reply::{self, Clamp, Ede, Reply, Side, Stored};
use super::settings::{HttpsRecords, Via};
use super::siblings::Siblings;
use super::special::{self, Special};
use super::split::Patience;
use super::split_horizon::AtOnce;
use super::system::SystemServers;
use super::upstream::domestic::DomesticServer;
use super::upstream::persistent::Dialler;
use super::upstream::trusted::TrustedServers;
use super::wire::{Query, TCP_SIZE, rr};
use crate::dispatch::Current;
use crate::ipset::{self, IpSet};
use crate::net::Outbound;
use crate::proxy::tls::Tls;
use crate::route::Route;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes for the memory of verdicts: some ten thousand names.
const VERDICTS: usize = 1024 * 1024;

/// Queries that wait for upstream servers at one moment. More than a household ever has; beyond,
/// somebody floods us, and memory is worth more than answers.
const MOST_PENDING: u32 = 4096;

/// Bounds of what one answer teaches, in seconds and in addresses: it may be a lie.
const LEARNED_AT_MOST: u32 = 3600;
const MOST_LEARNED: usize = 64;

/// A program connects a little after the TTL has ended: so long a learned address stays known.
const LEARNED_BEYOND_TTL: Duration = Duration::from_secs(60);

/// Everything the resolver knows. Lives on one thread.
pub(super) struct Resolver {
    pub(super) settings: Settings,
    pub(super) outbound: Outbound,
    pub(super) domestic: Vec<DomesticServer>,
    pub(super) trusted: TrustedServers,
    pub(super) cache: RefCell<Cache>,
    pub(super) failures: RefCell<Failures>,
    pub(super) verdicts: RefCell<Verdicts>,
    pub(super) patience: RefCell<Patience>,
    /// `dns.bogus`, and what rewriting providers put into the place of NXDOMAIN.
    pub(super) bogus: RefCell<IpSet>,
    pub(super) flights: Flights,
    pub(super) siblings: Siblings<Events>,
    pub(super) loops: QueryLoops,
    pub(super) horizon: Horizon,
    pub(super) rate_limit: RefCell<RateLimit>,
    pub(super) clamp: Clamp,
    current: Current,
    hosts: Hosts,
    reserved: IpSet,
    system: RefCell<SystemServers>,
    pending: Cell<u32>,
    /// Another one has taken its place: what it answers from now on is for those who have asked it,
    /// and teaches nobody.
    retired: Cell<bool>,
}

/// A query, and how it came.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) query: &'a Query,
    /// Bytes that the client takes.
    pub(super) limit: usize,
    pub(super) client: SocketAddr,
    pub(super) arrival: Arrival,
    pub(super) at: Instant,
}

/// How a query came in: what it was meant for can be told from that.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrival {
    /// A datagram to this address of ours.
    Datagram(SocketAddr),
    /// A connection, redirected from this address if from any.
    Stream(Option<SocketAddr>),
}

/// Whom a query is for.
#[derive(Debug)]
pub(super) enum Way {
    /// Only these servers; the name never leaves for others.
    Servers(Vec<SocketAddr>),
    /// The domestic side; the trusted one if that is silent or forged.
    Domestic,
    /// The trusted side only.
    Trusted,
    /// Nobody listed the name: both.
    Judge,
}

impl Resolver {
    /// Runs on the calling thread's `LocalSet`.
    pub(super) fn new(
        settings: Settings,
        outbound: Outbound,
        current: Current,
        tls: Tls,
        horizon: Horizon,
    ) -> Rc<Self> {
        let direct = Dialler { current: current.clone(), through_proxy: false, tls };
        let dialler =
            Dialler { through_proxy: settings.servers.trusted_via == Via::Proxy, ..direct.clone() };
        let domestic =
            settings.servers.china.iter().map(|server| DomesticServer::new(server, &direct));
        Rc::new(Resolver {
            domestic: domestic.collect(),
            trusted: TrustedServers::new(&settings.servers.trusted, &dialler),
            cache: RefCell::new(Cache::new(settings.cache.size)),
            failures: RefCell::default(),
            verdicts: RefCell::new(Verdicts::new(VERDICTS)),
            patience: RefCell::default(),
            bogus: RefCell::new(settings.answers.bogus.clone()),
            flights: Flights::default(),
            siblings: Siblings::default(),
            loops: QueryLoops::default(),
            horizon,
            rate_limit: RefCell::new(RateLimit::new(settings.answers.rate_limit)),
            clamp: Clamp::new(settings.cache.min_ttl, settings.cache.max_ttl),
            hosts: Hosts::new(&settings.answers.hosts),
            reserved: ipset::reserved(),
            system: RefCell::default(),
            pending: Cell::new(0),
            retired: Cell::new(false),
            settings,
            outbound,
            current,
        })
    }

    /// One with other settings in the place of this one. It inherits what the new settings leave
    /// true: answers, verdicts and forged addresses if they would be the same.
    pub(super) fn succeed(&self, settings: Settings, tls: Tls) -> Rc<Self> {
        let inherits = settings.answer_like(&self.settings);
        let (outbound, current) = (self.outbound.clone(), self.current.clone());
        let next = Resolver::new(settings, outbound, current, tls, self.horizon.afresh());
        if inherits {
            next.cache.swap(&self.cache);
            next.cache.borrow_mut().resize(next.settings.cache.size);
            next.verdicts.swap(&self.verdicts);
            next.bogus.swap(&self.bogus);
        }
        self.retired.set(true);
        next
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Answers from what is known, by appending to `out`; false if upstream servers have to be
    /// asked.
    ///
    /// The cache is looked at first: what is in it once came down the whole ladder.
    pub(super) fn answer_at_once(self: &Rc<Self>, asked: &Asked<'_>, out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        let source = match self.try_at_once(asked, out) {
            AtOnce::Answered(source) => source,
            AtOnce::Ask | AtOnce::Unconcerned => return false,
        };
        if self.settings.privacy.log_queries {
            self.log(asked, &out[begin..], source);
        }
        true
    }

    fn try_at_once(self: &Rc<Self>, asked: &Asked<'_>, out: &mut Vec<u8>) -> AtOnce {
        // A local name may mean something else to the server that was asked.
        let may_be_its_own = self.horizon.is_open()
            && self.is_local(asked.query)
            && self.known(asked.query, asked.limit).is_none();
        let mut tried = AtOnce::Unconcerned;
        if may_be_its_own {
            tried = self.look_there(asked, out);
        }
        if let AtOnce::Unconcerned = tried {
            tried = self.try_cache(asked, out);
        }
        if let AtOnce::Unconcerned = tried {
            tried = self.try_ladder(asked, out);
        }
        tried
    }

    fn try_cache(self: &Rc<Self>, asked: &Asked<'_>, out: &mut Vec<u8>) -> AtOnce {
        let mut cache = self.cache.borrow_mut();
        let Some(hit) = cache.get(asked.query, asked.at) else { return AtOnce::Unconcerned };
        if self.horizon.is_open()
            && !self.is_local(asked.query)
            && self.is_denial(asked.query, hit.stored())
        {
            match self.look_there(asked, out) {
                AtOnce::Unconcerned => {}
                found => return found,
            }
        }
        hit.write(asked.query, asked.limit, out);
        let side = hit.stored().side();
        if hit.refresh {
            self.refresh(asked.query);
        }
        AtOnce::Answered(AnswerSource::Cache(side))
    }

    fn try_ladder(self: &Rc<Self>, asked: &Asked<'_>, out: &mut Vec<u8>) -> AtOnce {
        let Asked { query, limit, client, at, .. } = *asked;
        let ready = self.known(query, limit).or_else(|| {
            self.loops.closes(query, client).then(|| reply::refused(query, Some(Ede::LOOP)))
        });
        if let Some(message) = ready {
            out.extend(message);
            return AtOnce::Answered(AnswerSource::Local);
        }
        // What failed a moment ago is not asked again.
        let failure = self.failures.borrow_mut().get(query, at);
        let Some(failure) = failure else { return AtOnce::Unconcerned };
        if self.horizon.is_open() && !self.is_local(query) && self.denied(query) {
            match self.look_there(asked, out) {
                AtOnce::Unconcerned => {}
                found => return found,
            }
        }
        AtOnce::Answered(self.fail(asked, failure.ede, failure.allows_stale, out))
    }

    /// The stale answer, where that is allowed, or SERVFAIL.
    fn fail(
        &self,
        asked: &Asked<'_>,
        ede: Ede,
        allows_stale: bool,
        out: &mut Vec<u8>,
    ) -> AnswerSource {
        match self.cache.borrow_mut().get_stale(asked.query, Instant::now()) {
            Some(hit) if allows_stale => {
                hit.write(asked.query, asked.limit, out);
                AnswerSource::Stale(hit.stored().side())
            }
            _ => {
                out.extend(reply::servfail(asked.query, Some(ede)));
                AnswerSource::Failed
            }
        }
    }

    /// Asks upstream servers, or waits for somebody who is asking the same.
    pub(super) async fn answer(self: Rc<Self>, asked: &Asked<'_>) -> Vec<u8> {
        let (query, limit) = (asked.query, asked.limit);
        if self.pending.get() >= MOST_PENDING {
            const FLOODED: Ede = Ede::unreachable("too many queries wait for an answer");
            return reply::servfail(query, Some(FLOODED));
        }
        let (outcome, by_asked_server) = {
            let _pending = Pending::new(&self.pending);
            self.resolve_for(asked).await
        };
        let mut out = Vec::with_capacity(512);
        let source = match &*outcome {
            Outcome::Reply { stored, ttls } => {
                stored.write(query, *ttls, None, limit, &mut out);
                if by_asked_server {
                    AnswerSource::AskedServer
                } else {
                    AnswerSource::Asked(stored.side())
                }
            }
            Outcome::Stale(ede) => self.fail(asked, *ede, true, &mut out),
            Outcome::Servfail(ede) => self.fail(asked, *ede, false, &mut out),
            Outcome::NoData(ede) => {
                out = reply::nodata(query, Some(*ede));
                AnswerSource::Local
            }
            Outcome::NxDomain => {
                out = reply::nxdomain(query, None);
                AnswerSource::Local
            }
        };
        if self.settings.privacy.log_queries {
            self.log(asked, &out, source);
        }
        out
    }

    fn log(&self, asked: &Asked<'_>, answer: &[u8], source: AnswerSource) {
        let Asked { query, client, at, .. } = *asked;
        let took = at.elapsed();
        QueryLine { client, query, answer, source, verdict: self.verdict(query), took }.write();
    }

    /// A reply in the form that is sent on, less what the operator does not want.
    pub(super) fn stored(&self, reply: &Reply<'_>, side: Side) -> Stored {
        let strips = self.settings.answers.https_records == HttpsRecords::StripHints
            && matches!(reply.qtype(), rr::HTTPS | rr::SVCB);
        let stripped = strips.then(|| reply::without_hints(reply)).flatten();
        let stripped = stripped.as_deref().and_then(Reply::parse);
        Stored::new(stripped.as_ref().unwrap_or(reply), side, self.clamp)
    }

    /// Asks for a name again whose answer will soon end; nobody waits for it.
    pub(super) fn refresh(self: &Rc<Self>, query: &Query) {
        let (resolver, query) = (Rc::clone(self), query.clone());
        tokio::task::spawn_local(async move {
            resolver.resolve(&query).await;
        });
    }

    /// What is answered without asking and without the cache.
    fn known(&self, query: &Query, limit: usize) -> Option<Vec<u8>> {
        self.hosts
            .answer(query, limit)
            .or_else(|| self.special(query, limit))
            .or_else(|| self.filtered(query))
    }

    /// Whether the upper rungs of the ladder answer the query.
    pub(super) fn is_answered_here(&self, query: &Query) -> bool {
        self.known(query, TCP_SIZE).is_some()
    }

    /// Names that a forward rule or the operator's rules mention are not special.
    fn special(&self, query: &Query, limit: usize) -> Option<Vec<u8>> {
        match Special::of(query.name()) {
            Special::Ordinary | Special::Local => None,
            Special::Localhost => Some(special::localhost(query, limit)),
            _ if self.settings.servers.forward.lookup(query.name()).is_some() => None,
            Special::NxDomain => Some(reply::nxdomain(query, None)),
            Special::NoData => Some(reply::nodata(query, None)),
        }
    }

    fn filtered(&self, query: &Query) -> Option<Vec<u8>> {
        let rule = self.rule(query);
        if rule == Some(Route::Block) {
            return Some(reply::blocked(query));
        }
        let qtype = query.qtype();
        let foreign_v6 = self.settings.no_foreign_aaaa
            && qtype == rr::AAAA
            && (rule == Some(Route::Proxy) || self.verdict(query) == Some(NameVerdict::Foreign));
        let https = self.settings.answers.https_records == HttpsRecords::Block
            && matches!(qtype, rr::HTTPS | rr::SVCB);
        if foreign_v6 || https || self.settings.answers.block_types.contains(&qtype) {
            return Some(reply::nodata(query, Some(Ede::FILTERED)));
        }
        (qtype == rr::ANY).then(|| reply::minimal_any(query))
    }

    pub(super) fn rule(&self, query: &Query) -> Option<Route> {
        self.settings.rules.names.lookup(query.name()).copied().flatten()
    }

    /// Whom to ask for an address, or for a type that does not depend on one.
    pub(super) fn way(&self, query: &Query) -> Way {
        if let Some(servers) = self.settings.servers.forward.lookup(query.name()) {
            return Way::Servers(servers.clone());
        }
        if self.is_local(query) {
            return Way::Servers(self.local_servers());
        }
        match self.rule(query) {
            Some(Route::Direct) => Way::Domestic,
            Some(Route::Proxy) => Way::Trusted,
            _ if self
                .settings
                .rules
                .china_names
                .lookup(query.name())
                .is_some_and(Option::is_some) =>
            {
                Way::Domestic
            }
            _ => Way::Judge,
        }
    }

    /// Whether it is for the servers of local names.
    pub(super) fn is_local(&self, query: &Query) -> bool {
        Special::of(query.name()) == Special::Local
            && !self.is_about_a_zone(query)
            && self.settings.servers.forward.lookup(query.name()).is_none()
    }

    /// The servers of local names.
    pub(super) fn local_servers(&self) -> Vec<SocketAddr> {
        match self.settings.servers.local.as_slice() {
            [] => self.system.borrow_mut().now(Instant::now()),
            configured => configured.to_vec(),
        }
    }

    /// A validating client asks for keys and servers of top-level domains: `com` is no host of
    /// the local network.
    fn is_about_a_zone(&self, query: &Query) -> bool {
        const NS: u16 = 2;
        const DS: u16 = 43;
        const DNSKEY: u16 = 48;
        let single_label = query.name().iter().filter(|byte| **byte < 64).count() == 2;
        single_label && matches!(query.qtype(), NS | DS | DNSKEY | rr::SOA)
    }

    /// Takes a reply that the client will get: into the cache, and the addresses of listed names
    /// into the router and the kernel, before the client can use them.
    pub(super) fn accept(&self, query: &Query, stored: Stored) -> Stored {
        // Nothing outlives what was learned from it.
        let stored = match self.rule(query) {
            Some(_) => stored.capped(LEARNED_AT_MOST),
            None => stored,
        };
        // An HTTPS query asks for an address too, which may be of a type that is blocked.
        if self.filtered(query).is_none() {
            self.cache.borrow_mut().insert(query, stored.clone(), Instant::now());
        }
        self.learn(query, &stored);
        stored
    }

    /// Steers the traffic of names with a route of their own.
    pub(super) fn learn(&self, query: &Query, stored: &Stored) {
        if self.is_retired() {
            return;
        }
        let Some(route @ (Route::Direct | Route::Proxy)) = self.rule(query) else { return };
        let ttl = Duration::from_secs(stored.lifetime().min(LEARNED_AT_MOST).into());
        let dispatcher = self.current.load();
        // Whoever owns the name chooses the addresses: those of local networks are not his to steer.
        let addresses = stored.addresses().into_iter().filter(|ip| !self.reserved.contains(*ip));
        for address in addresses.take(MOST_LEARNED) {
            dispatcher.learned().learn(address, route, ttl + LEARNED_BEYOND_TTL);
        }
    }
}

/// One query that waits; counted down also when its task panics.
struct Pending<'a>(&'a Cell<u32>);

impl<'a> Pending<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Pending(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
