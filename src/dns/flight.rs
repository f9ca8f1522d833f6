//! One question on its way to upstream servers, however many clients wait for it.

use super::cache::{Failure, NameVerdict};
use super::reply::{DomesticVerdict, Ede, Reply, Side, Stored, Ttls, classify};
use super::resolver::{Resolver, Way};
use super::split::{DOMESTIC_SILENCE, Event};
use super::upstream::domestic::DomesticServer;
use super::upstream::stagger::{Attempt, first_success};
use super::upstream::udp::{self, Question};
use super::wire::{Query, rcode, rr};
use crate::ipset::IpSet;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The next server of a list is asked beside one that hesitates for so long.
const HEDGE_DELAY: Duration = Duration::from_millis(700);

/// What a flight brings home.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A server's reply.
    Reply {
        /// It.
        stored: Stored,
        /// How to write its TTLs.
        ttls: Ttls,
    },
    /// What the cache has, however old, else SERVFAIL.
    Stale(Ede),
    /// Nobody who could know answered.
    Servfail(Ede),
    /// Not wanted.
    NoData(Ede),
    /// A local name where no local name server is known.
    NxDomain,
}

/// The flights of this moment and who waits for each.
#[derive(Debug, Default)]
pub(super) struct Flights(RefCell<HashMap<Box<[u8]>, Vec<Waiter>>>);

type Waiter = oneshot::Sender<Rc<Outcome>>;

impl Resolver {
    /// Joins the flight of the same question, or starts it. It goes on when the client leaves: the
    /// answer is good for the cache.
    pub(super) async fn resolve(self: &Rc<Self>, query: &Query) -> Rc<Outcome> {
        let (waiter, outcome) = oneshot::channel();
        if self.flights.join(query, waiter) {
            let (resolver, query) = (Rc::clone(self), query.clone());
            tokio::task::spawn_local(async move {
                let landing = Landing { flights: &resolver.flights, key: query.key() };
                let outcome = Rc::new(resolver.fly(&query).await);
                for waiter in landing.waiters() {
                    // A client that has left needs no answer.
                    let _ = waiter.send(Rc::clone(&outcome));
                }
            });
        }
        const LOST: Ede = Ede::unreachable("the query was lost; please report this");
        outcome.await.unwrap_or_else(|_| Rc::new(Outcome::Servfail(LOST)))
    }

    async fn fly(self: &Rc<Self>, query: &Query) -> Outcome {
        let outcome = match query.server() {
            Some(server) => self.ask_there(query, server).await,
            None => self.ask_sides(query).await,
        };
        if let Outcome::Stale(ede) | Outcome::Servfail(ede) = outcome {
            let failure = Failure { ede, allows_stale: matches!(outcome, Outcome::Stale(_)) };
            self.failures.borrow_mut().insert(query, failure, Instant::now());
        }
        if let Outcome::Stale(_) = outcome
            && let Some(hit) = self.cache.borrow_mut().get_stale(query, Instant::now())
        {
            // Its addresses have to be steered as when they were fresh.
            self.learn(query, hit.stored());
        }
        outcome
    }

    async fn ask_sides(self: &Rc<Self>, query: &Query) -> Outcome {
        let patience = self.settings.servers.timeout;
        match self.way(query) {
            Way::Servers(servers) => self.ask_only(servers, query).await,
            Way::Domestic => self.domestic_first(query, patience).await,
            Way::Trusted => self.ask_trusted_only(query, patience).await,
            Way::Judge if matches!(query.qtype(), rr::A | rr::AAAA) => {
                if self.settings.privacy.no_leak {
                    self.judge_without_leak(query).await
                } else {
                    self.judge(query).await
                }
            }
            Way::Judge => self.follow(query, patience).await,
        }
    }

    /// Other types follow the verdict about the name's addresses; those that stand for an address
    /// (HTTPS, SVCB: RFC 9460) ask for it first. Unknown names are asked of the trusted side.
    async fn follow(self: &Rc<Self>, query: &Query, patience: Duration) -> Outcome {
        let began = Instant::now();
        let known = self.verdict(query);
        let verdict = if known.is_none() && matches!(query.qtype(), rr::HTTPS | rr::SVCB) {
            let address = query.with_type(rr::A);
            let cached = self.cache.borrow_mut().get(&address, Instant::now()).is_some();
            if !cached {
                Box::pin(self.resolve(&address)).await;
            }
            self.verdict(query)
        } else {
            known
        };
        let left = patience.saturating_sub(began.elapsed());
        match verdict {
            Some(NameVerdict::Domestic) => self.domestic_first(query, left).await,
            _ => self.ask_trusted_only(query, left).await,
        }
    }

    pub(super) fn verdict(&self, query: &Query) -> Option<NameVerdict> {
        self.verdicts.borrow_mut().of_name(query.name(), Instant::now())
    }

    /// Remembers whose name it is.
    pub(super) fn remember(&self, query: &Query, verdict: NameVerdict) {
        let now = Instant::now();
        let mut verdicts = self.verdicts.borrow_mut();
        verdicts.note(query.name(), query.qtype(), verdict, now);
        if verdicts.get(query.name(), query.qtype(), now) == Some(NameVerdict::Domestic) {
            // A judgement that has just ended no longer listens.
            self.siblings.was_domestic(query, |events| drop(events.send(Event::SiblingWasCn)));
        }
    }

    /// A listed or judged name: the domestic servers know best, unless they are silent or lied to.
    async fn domestic_first(self: &Rc<Self>, query: &Query, patience: Duration) -> Outcome {
        let began = Instant::now();
        let half = patience.mul_f32(0.6).min(DOMESTIC_SILENCE);
        if let Some(message) = self.ask_servers(&self.domestic, query, half).await
            && let Some(reply) = Reply::parse(&message)
            // The operator vouches for the name: private and foreign addresses are fine.
            && !matches!(
                classify(&reply, &IpSet::default(), &self.bogus.borrow(), true),
                DomesticVerdict::Bogus | DomesticVerdict::Err
            )
        {
            return self.take(query, &reply, Side::Domestic);
        }
        self.ask_trusted_only(query, patience.saturating_sub(began.elapsed())).await
    }

    async fn ask_trusted_only(&self, query: &Query, patience: Duration) -> Outcome {
        let asked = timeout(patience, self.trusted.ask(query)).await;
        let Ok(Ok(message)) = asked else { return Outcome::Stale(TRUSTED_SILENT) };
        let Some(reply) = Reply::parse(&message) else { return Outcome::Stale(TRUSTED_SILENT) };
        self.take(query, &reply, Side::Trusted)
    }

    /// Local names and forwards.
    async fn ask_only(self: &Rc<Self>, servers: Vec<SocketAddr>, query: &Query) -> Outcome {
        if servers.is_empty() {
            return Outcome::NxDomain;
        }
        const SILENT: Ede = Ede::unreachable("the name server for this local name does not answer");
        let servers: Vec<_> = servers.into_iter().map(DomesticServer::Udp).collect();
        let patience = self.settings.servers.timeout;
        let Some(message) = self.ask_servers(&servers, query, patience).await else {
            return Outcome::Stale(SILENT);
        };
        let Some(reply) = Reply::parse(&message) else { return Outcome::Stale(SILENT) };
        self.take(query, &reply, Side::Trusted)
    }

    /// The client gets this reply, and so does the cache.
    pub(super) fn take(&self, query: &Query, reply: &Reply<'_>, side: Side) -> Outcome {
        let stored = self.accept(query, self.stored(reply, side));
        Outcome::Reply { stored, ttls: Ttls::Aged(0) }
    }

    pub(super) async fn ask_servers(
        self: &Rc<Self>,
        servers: &[DomesticServer],
        query: &Query,
        patience: Duration,
    ) -> Option<Vec<u8>> {
        let attempts = servers.iter().cloned().map(|server| -> Attempt {
            let (resolver, query) = (Rc::clone(self), query.clone());
            Box::pin(async move { useful(resolver.ask_server(&server, &query, patience).await?) })
        });
        let asked = first_success(attempts.collect(), HEDGE_DELAY);
        let (_, message) = timeout(patience, asked).await.ok()?.ok()?;
        Some(message)
    }

    /// Asks one server. Its own socket is known as ours.
    pub(super) async fn ask_server(
        &self,
        server: &DomesticServer,
        query: &Query,
        patience: Duration,
    ) -> io::Result<Vec<u8>> {
        let address = match server {
            DomesticServer::Udp(address) => *address,
            DomesticServer::Persistent(connection) => {
                let asked = timeout(patience, connection.ask(query)).await;
                return asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            }
        };
        let socket = self.outbound.udp(address).await?;
        let _own = self.loops.note(socket.local_addr()?);
        let question = match self.settings.servers.case_randomization {
            true => Question::in_random_case(query)?,
            false => Question::plain(query)?,
        };
        udp::ask_over(&socket, &self.outbound, address, &question, patience).await
    }
}

pub(super) const TRUSTED_SILENT: Ede =
    Ede::unreachable("the trusted name servers do not answer; is the proxy up?");

/// A server that fails itself (SERVFAIL, REFUSED) counts as no answer: the next one may know.
fn useful(message: Vec<u8>) -> io::Result<Vec<u8>> {
    match Reply::parse(&message).map(|reply| reply.rcode()) {
        Some(rcode::NOERROR | rcode::NXDOMAIN) => Ok(message),
        code => Err(io::Error::other(format!("the server answers {code:?}"))),
    }
}

impl Flights {
    /// Adds a waiter. True if nobody asks this yet.
    fn join(&self, query: &Query, waiter: Waiter) -> bool {
        let mut flights = self.0.borrow_mut();
        match flights.get_mut(query.key()) {
            Some(waiters) => {
                waiters.push(waiter);
                false
            }
            None => {
                flights.insert(query.key().into(), vec![waiter]);
                true
            }
        }
    }
}

/// Ends a flight, also when it panics: its waiters must not wait for ever.
struct Landing<'a> {
    flights: &'a Flights,
    key: &'a [u8],
}

impl Landing<'_> {
    fn waiters(&self) -> Vec<Waiter> {
        self.flights.0.borrow_mut().remove(self.key).unwrap_or_default()
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        drop(self.waiters());
    }
}
