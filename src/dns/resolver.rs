//! The ladder of a query: what can be answered at once is; the rest is a flight.
//!
//! The order of the rungs, for a query that `server` has read and let pass:
//!
//! 1. a local name that the asked server may know ([`split_horizon`](super::split_horizon));
//! 2. the cache: what is in it once came down the whole ladder;
//! 3. what the settings know: hosts, special names, blocks, filtered types
//!    ([`policy`](super::policy));
//! 4. a question of our own that comes back ([`loops`](super::loops)): refused;
//! 5. what failed a moment ago: stale, else SERVFAIL;
//! 6. [`flights`](super::flights), by way of the asked server where that has a part in it.

use super::client_query::{Came, ClientQuery};
use super::flights::Flights;
use super::horizon::Horizon;
use super::in_flight::InFlight;
use super::limit::RateLimit;
use super::memory::Memory;
use super::pending::PendingQueries;
use super::policy::QueryPolicy;
use super::query_log::{AnswerSource, OwnQuestion, QueryLine};
use super::reply::{self, Ede, UNTIL_RELOAD};
use super::resolution::Resolution;
use super::settings::Settings;
use super::split_horizon::{AtOnce, SplitHorizon};
use super::steering::Steering;
use super::telling::ClientTelling;
use super::upstream::Upstreams;
use crate::dispatch::Current;
use crate::net::Outbound;
use crate::proxy::tls::Tls;
use crate::stats::{RefusedKind, Stats};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A client that waits for so long gets an answer past its TTL, if there is one (RFC 8767, 5):
/// programs give up soon after.
const CLIENT_PATIENCE: Duration = Duration::from_millis(1800);

/// Answers queries by one set of settings. Lives on one thread.
pub(super) struct Resolver {
    pub(super) policy: Rc<QueryPolicy>,
    pub(super) memory: Rc<Memory>,
    pub(super) upstreams: Rc<Upstreams>,
    pub(super) flights: Rc<Flights>,
    split_horizon: SplitHorizon,
    rate_limit: RefCell<RateLimit>,
    pending: PendingQueries,
    telling: ClientTelling,
    pub(super) stats: Arc<Stats>,
}

impl Resolver {
    /// Runs on the calling thread's `LocalSet`.
    pub(super) fn new(
        settings: Settings,
        outbound: Outbound,
        current: Current,
        tls: Tls,
        horizon: Horizon,
        counts: (PendingQueries, Arc<Stats>),
    ) -> Rc<Self> {
        let upstreams = Upstreams::new(&settings.servers, outbound, current.clone(), tls);
        let telling = ClientTelling::new(current.clone());
        Self::assemble(settings, upstreams, Steering::new(current), telling, horizon, counts)
    }

    fn assemble(
        settings: Settings,
        upstreams: Upstreams,
        steering: Steering,
        telling: ClientTelling,
        horizon: Horizon,
        (pending, stats): (PendingQueries, Arc<Stats>),
    ) -> Rc<Self> {
        let rate_limit = RateLimit::new(settings.answers.rate_limit);
        let memory = Rc::new(Memory::new(&settings, Arc::clone(&stats)));
        let policy = Rc::new(QueryPolicy::new(settings));
        let (upstreams, horizon) = (Rc::new(upstreams), Rc::new(horizon));
        let flights = Rc::new(Flights {
            policy: Rc::clone(&policy),
            memory: Rc::clone(&memory),
            upstreams: Rc::clone(&upstreams),
            steering,
            horizon: Rc::clone(&horizon),
            in_flight: InFlight::default(),
        });
        let split_horizon = SplitHorizon {
            policy: Rc::clone(&policy),
            memory: Rc::clone(&memory),
            upstreams: Rc::clone(&upstreams),
            flights: Rc::clone(&flights),
            horizon,
        };
        Rc::new(Resolver {
            policy,
            memory,
            upstreams,
            flights,
            split_horizon,
            rate_limit: RefCell::new(rate_limit),
            pending,
            telling,
            stats,
        })
    }

    /// One with other settings in the place of this one. It inherits what the new settings leave
    /// true: answers, verdicts and forged addresses if they would be the same.
    pub(super) fn succeed(&self, settings: Settings, tls: Tls) -> Rc<Self> {
        let inherits = settings.answer_like(&self.policy.settings);
        let cache_size = settings.cache.size;
        let steering = self.flights.steering.succeed();
        let upstreams = self.upstreams.succeed(&settings.servers, tls);
        let horizon = self.split_horizon.horizon.afresh();
        let telling = self.telling.clone();
        let counts = (self.pending.afresh(), Arc::clone(&self.stats));
        let next = Self::assemble(settings, upstreams, steering, telling, horizon, counts);
        if inherits {
            next.memory.inherit(&self.memory, cache_size);
        } else {
            next.memory.trust().acquit(None);
        }
        next
    }

    /// Whether a datagram of this client is within its allowance; counts it if so.
    pub(super) fn allows(&self, client: IpAddr, now: Instant) -> bool {
        self.rate_limit.borrow_mut().allows(client, now)
    }

    /// Whether it can be told which server a program asked.
    pub(super) fn knows_asked_servers(&self) -> bool {
        self.split_horizon.horizon.is_open()
    }

    /// Answers from what is known, by appending to `out`; false if upstream servers have to be
    /// asked.
    pub(super) fn answer_at_once(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        let source = match self.try_at_once(asked, out) {
            AtOnce::Answered(source) => source,
            AtOnce::Ask | AtOnce::Unconcerned => return false,
        };
        self.log(asked, &out[begin..], source);
        true
    }

    fn try_at_once(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> AtOnce {
        let mut tried = self.split_horizon.look_for_local(asked, out);
        if let AtOnce::Unconcerned = tried {
            tried = self.try_cache(asked, out);
        }
        if let AtOnce::Unconcerned = tried {
            tried = self.try_policy(asked, out);
        }
        if let AtOnce::Unconcerned = tried {
            tried = self.try_failures(asked, out);
        }
        tried
    }

    fn try_cache(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> AtOnce {
        let mut cache = self.memory.cache.borrow_mut();
        let Some(hit) = cache.get(asked.query, asked.at) else { return AtOnce::Unconcerned };
        match self.split_horizon.look_for_denied(asked, hit.stored(), out) {
            AtOnce::Unconcerned => {}
            found => return found,
        }
        hit.write(asked.query, asked.limit, out);
        self.telling.tell(&self.policy, asked, hit.stored(), hit.remaining);
        if hit.refresh {
            self.flights.refresh(asked.query);
        }
        AtOnce::Answered(AnswerSource::Cache(hit.stored().side()))
    }

    fn try_policy(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> AtOnce {
        let ClientQuery { query, limit, client, came, at } = *asked;
        let is_datagram = matches!(came, Came::Datagram(_) | Came::DatagramToUs);
        if let Some(known) = self.policy.known(query, self.memory.verdict(query, at)) {
            out.extend(self.policy.write(known, query, limit));
        } else if self.upstreams.loops.closes(query, client, is_datagram) {
            out.extend(reply::refused(query, Some(Ede::LOOP)));
        } else {
            return AtOnce::Unconcerned;
        }
        AtOnce::Answered(AnswerSource::Local)
    }

    /// What failed a moment ago is not asked again.
    fn try_failures(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> AtOnce {
        let failure = self.memory.failures.borrow_mut().get(asked.query, asked.at);
        let Some(failure) = failure else { return AtOnce::Unconcerned };
        match self.split_horizon.look_for_failed(asked, out) {
            AtOnce::Unconcerned => {}
            found => return found,
        }
        AtOnce::Answered(self.fail(asked, failure.ede, failure.allows_stale, out))
    }

    /// The stale answer, where that is allowed, or SERVFAIL.
    fn fail(
        &self,
        asked: &ClientQuery<'_>,
        ede: Ede,
        allows_stale: bool,
        out: &mut Vec<u8>,
    ) -> AnswerSource {
        match self.memory.cache.borrow_mut().get_stale(asked.query, Instant::now()) {
            Some(hit) if allows_stale => {
                hit.write(asked.query, asked.limit, out);
                self.telling.tell(&self.policy, asked, hit.stored(), Duration::ZERO);
                AnswerSource::Stale(hit.stored().side())
            }
            _ => {
                self.note_failure(asked, ede);
                out.extend(reply::servfail(asked.query, Some(ede)));
                AnswerSource::Failed
            }
        }
    }

    /// Keeps it for those who ask why a name does not work.
    fn note_failure(&self, asked: &ClientQuery<'_>, ede: Ede) {
        let client = SocketAddr::new(asked.client.ip().to_canonical(), asked.client.port());
        let name = asked.query.to_name().map(|name| name.to_string());
        let kind = RefusedKind::Name(asked.query.qtype());
        let cause = format_args!("SERVFAIL: {ede}");
        self.stats.refusals.note(kind, client, None, name.as_deref(), &cause);
    }

    /// Asks upstream servers, or waits for the flight of the same question.
    pub(super) async fn answer(&self, asked: &ClientQuery<'_>) -> Vec<u8> {
        let (query, limit) = (asked.query, asked.limit);
        let sockets = self.upstreams.sockets();
        let Some(place) = self.pending.enter(asked.client.ip(), sockets, asked.at) else {
            const FLOODED: Ede = Ede::unreachable("too many queries wait for an answer");
            self.note_failure(asked, FLOODED);
            return reply::servfail(query, Some(FLOODED));
        };
        let mut out = Vec::with_capacity(512);
        let Some((resolution, by_asked_server)) = self.resolve(asked).await else {
            const SLOW: Ede = Ede::unreachable("the name servers are slow");
            let source = self.fail(asked, SLOW, true, &mut out);
            self.log(asked, &out, source);
            return out;
        };
        drop(place);
        let source = match &*resolution {
            Resolution::Reply { stored, ttls } => {
                stored.write(query, *ttls, None, limit, &mut out);
                if by_asked_server {
                    AnswerSource::AskedServer
                } else {
                    let life = Duration::from_secs(stored.lifetime().into());
                    self.telling.tell(&self.policy, asked, stored, life);
                    AnswerSource::Asked(stored.side())
                }
            }
            Resolution::Stale(ede) => self.fail(asked, *ede, true, &mut out),
            Resolution::Servfail(ede) => self.fail(asked, *ede, false, &mut out),
            Resolution::NoData(ede) => {
                out = reply::nodata(query, Some(*ede), UNTIL_RELOAD);
                AnswerSource::Local
            }
            Resolution::NxDomain => {
                out = reply::nxdomain(query, None, UNTIL_RELOAD);
                AnswerSource::Local
            }
        };
        self.log(asked, &out, source);
        out
    }

    /// Resolves; `None` if it takes so long that the stale answer is given. Servers are asked all
    /// the same.
    async fn resolve(&self, asked: &ClientQuery<'_>) -> Option<(Rc<Resolution>, bool)> {
        let mut resolving = pin!(self.split_horizon.resolve(asked));
        if self.flights.has_stale(asked.query) {
            let patience = CLIENT_PATIENCE.saturating_sub(asked.at.elapsed());
            match timeout(patience, &mut resolving).await {
                Ok(resolved) => return Some(resolved),
                Err(_) if self.flights.settle_for_stale(asked.query) => return None,
                Err(_) => {}
            }
        }
        Some(resolving.await)
    }

    /// Counts an answer, unless the daemon's own question got it, and writes its line
    /// (`dns.log-queries`).
    fn log(&self, asked: &ClientQuery<'_>, answer: &[u8], source: AnswerSource) {
        let is_local = source == AnswerSource::Local;
        match is_local.then(|| OwnQuestion::of(asked.query)).flatten() {
            Some(OwnQuestion::Proof) => return,
            Some(OwnQuestion::Localhost) => {}
            None => {
                self.stats.names.answered(source.outcome());
                let by = self.policy.decided_by(asked.query);
                by.into_iter().for_each(|by| self.stats.hits.decided(by));
            }
        }
        if !self.policy.settings.privacy.log_queries {
            return;
        }
        let ClientQuery { query, client, at, .. } = *asked;
        let verdict = self.memory.verdict(query, Instant::now());
        QueryLine { client, query, answer, source, verdict, took: at.elapsed() }.write();
    }
}
