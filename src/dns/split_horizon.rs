//! Names that only the name server knows that the program asked (split-horizon DNS).
//!
//! # Theory of operation
//!
//! A query is redirected to us, and the server that it was meant for never hears of it. Where that
//! server's address is not a public one ([`Horizon`](super::horizon::Horizon)) it may be the only one
//! that knows the name, so:
//!
//! | name | the asked server |
//! |---|---|
//! | local (a single label, `lan`, `home.arpa`, private reverse zones, ...) | is asked first, then `dns.local`, else the system's servers. Its answer counts |
//! | there is no such name, say the public sides | is asked then. Its answer counts if all its addresses are private |
//! | all others, and those of `dns.forward` | never hears of it |
//!
//! So no public name can be forged that way: a name that exists in public is never asked there. And
//! what is asked there is believed of that very name only, since clients cache what else stands in an
//! answer: addresses are given under the name asked for, without aliases, other records must be its own,
//! and authority and additional section go ([`reply::confined`]).
//!
//! - *Types that are no address* (SRV, TXT, HTTPS, ...) of a name that is not local have nothing that
//!   could be checked. They count if the server has private addresses for the name; of
//!   `_ldap._tcp.corp.example`, for `corp.example`, of which the public sides have to know nothing either.
//! - *Who may hear of a name*: with `dns.no-leak`, and of names in `rules.proxy`, a server in one's own
//!   network (which often asks the provider's) hears only if the top-level domain does not exist, for
//!   instance `web.dns.podman`. For a company's `git.corp.example` there is `dns.forward`.
//! - *When the trusted side is silent* nobody can say that a name does not exist, and the asked server
//!   does not hear of it, unless it was said within the last day.
//! - *Time*: the whole takes `dns.timeout` at most. The asked server has a second and a half of it; one
//!   that says nothing is then passed over for a while. What it did not know is asked again after five
//!   seconds.
//! - *Loops*: an asked server may be a dnsmasq of this machine that asks us in turn. What it asks was
//!   meant for another server, or for us, so that the second time only the public sides are asked, or the
//!   cache; each round is bounded by its time. If a server elsewhere asks us the very question that we
//!   ask it, it is refused ([`loops`](super::loops)).
//!
//! What is learned from such an answer steers no traffic: private addresses need no proxy.

use super::flight::Outcome;
use super::query_log::AnswerSource;
use super::reply::{self, Ede, Reply, Side, Stored, Ttls};
use super::resolver::{Asked, Resolver};
use super::upstream::domestic::DomesticServer;
use super::wire::{Query, rcode, rr};
use crate::domain::Name;
use crate::route::Route;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// The asked server is near: the question, and once more if it got lost.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What the asked server says may change soon: containers come and go.
const LIFETIME: u32 = 60;

/// For those who look at it; others hear what the public sides say.
const UNKNOWN: Ede = Ede::unreachable("the asked name server does not know the name");

/// What can be said of a query without asking anybody.
#[derive(Debug)]
pub(super) enum AtOnce {
    /// The answer is written.
    Answered(AnswerSource),
    /// The asked server has to be asked.
    Ask,
    /// The asked server has no part in it.
    Unconcerned,
}

impl Resolver {
    /// Looks for what the asked server said before, about a name that may be its own.
    pub(super) fn look_there(self: &Rc<Self>, asked: &Asked<'_>, out: &mut Vec<u8>) -> AtOnce {
        let Some(there) = self.there(asked) else { return AtOnce::Unconcerned };
        if let Some(hit) = self.horizon.answers.borrow_mut().get(&there, asked.at) {
            hit.write(asked.query, asked.limit, out);
            if hit.refresh {
                self.refresh(&there);
            }
            return AtOnce::Answered(AnswerSource::AskedServer);
        }
        if self.is_in_vain(&there, asked.at) { AtOnce::Unconcerned } else { AtOnce::Ask }
    }

    /// Resolves, with the help of the asked server where that is due. The second value says whether
    /// it was that server's answer.
    pub(super) async fn resolve_for(self: &Rc<Self>, asked: &Asked<'_>) -> (Rc<Outcome>, bool) {
        let query = asked.query;
        if !self.horizon.is_open() {
            return (self.resolve(query).await, false);
        }
        if self.is_local(query) {
            let Some(outcome) = self.ask_asked(asked).await else {
                return (self.resolve(query).await, false);
            };
            if matches!(&*outcome, Outcome::Reply { .. }) {
                return (outcome, true);
            }
            const SILENT: Ede = Ede::unreachable("no name server for local names answers");
            let outcome = timeout(self.left(asked), self.resolve(query)).await;
            return (outcome.unwrap_or_else(|_| Rc::new(Outcome::Stale(SILENT))), false);
        }
        let mut outcome = None;
        if self.denied(query) {
            // Silence must not take the time in which the asked server could answer.
            let most = self.left(asked).saturating_sub(self.patience());
            match timeout(most, self.resolve(query)).await {
                Ok(heard) => outcome = Some(heard),
                Err(_) => {
                    if let Some(there) = self.answer_of_asked(asked).await {
                        return (there, true);
                    }
                }
            }
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => self.resolve(query).await,
        };
        if self.denies(query, &outcome)
            && let Some(there) = self.answer_of_asked(asked).await
        {
            return (there, true);
        }
        (outcome, false)
    }

    async fn answer_of_asked(self: &Rc<Self>, asked: &Asked<'_>) -> Option<Rc<Outcome>> {
        let outcome = self.ask_asked(asked).await;
        outcome.filter(|outcome| matches!(&**outcome, Outcome::Reply { .. }))
    }

    /// Asks the asked server, if there is one that counts and is not known to be in vain.
    async fn ask_asked(self: &Rc<Self>, asked: &Asked<'_>) -> Option<Rc<Outcome>> {
        let there = self.there(asked)?;
        if self.is_in_vain(&there, Instant::now()) {
            return None;
        }
        let outcome = timeout(self.left(asked), self.resolve(&there)).await;
        Some(outcome.unwrap_or_else(|_| Rc::new(Outcome::Servfail(UNKNOWN))))
    }

    /// What is left of a query's time.
    fn left(&self, asked: &Asked<'_>) -> Duration {
        self.settings.servers.timeout.saturating_sub(asked.at.elapsed())
    }

    /// How long the asked server is waited for.
    fn patience(&self) -> Duration {
        PATIENCE.min(self.settings.servers.timeout / 2)
    }

    /// The query for the asked server. None where that server is the one for local names anyway.
    fn there(&self, asked: &Asked<'_>) -> Option<Query> {
        let server = self.horizon.server(asked, &self.settings.listen)?;
        let is_local = self.is_local(asked.query);
        (!is_local || self.local_servers() != [server]).then(|| asked.query.at(server))
    }

    fn is_in_vain(&self, there: &Query, now: Instant) -> bool {
        self.failures.borrow_mut().get(there, now).is_some()
            || there.server().is_none_or(|server| self.horizon.is_silent(server, now))
    }

    /// Whether the public sides say that there is no such name, and the asked server may hear of it.
    fn denies(&self, query: &Query, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Reply { stored, .. } => self.is_denial(query, stored),
            Outcome::Stale(_) | Outcome::Servfail(_) => self.denied(query),
            Outcome::NoData(_) | Outcome::NxDomain => false,
        }
    }

    /// The same of what they said within the last day.
    pub(super) fn denied(&self, query: &Query) -> bool {
        let mut cache = self.cache.borrow_mut();
        let hit = cache.get_stale(query, Instant::now());
        hit.is_some_and(|hit| self.is_denial(query, hit.stored()))
    }

    /// The same of one answer.
    pub(super) fn is_denial(&self, query: &Query, stored: &Stored) -> bool {
        if stored.rcode() != rcode::NXDOMAIN
            || self.settings.servers.forward.lookup(query.name()).is_some()
        {
            return false;
        }
        let is_secret = self.settings.privacy.no_leak || self.rule(query) == Some(Route::Proxy);
        !is_secret || stored.denies_top_level()
    }

    /// The flight of a query to the asked server. What does not count is a failure, which is remembered
    /// for a few seconds.
    pub(super) async fn ask_there(self: &Rc<Self>, query: &Query, server: SocketAddr) -> Outcome {
        let is_address = matches!(query.qtype(), rr::A | rr::AAAA);
        let is_local = self.is_local(query);
        if !is_local && !is_address && !self.is_known_there(query, server).await {
            return Outcome::Servfail(UNKNOWN);
        }
        let remote = !self.horizon.is_own(server, Instant::now());
        let _asking = remote.then(|| self.loops.note_question(query, server.ip()));
        let server_address = DomesticServer::Udp(server);
        let asked = self.ask_server(&server_address, query, self.patience()).await;
        if asked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.horizon.was_silent(server, Instant::now());
        }
        let stored = asked.ok().and_then(|message| self.confine(query, &message, is_local));
        let Some(stored) = stored else { return Outcome::Servfail(UNKNOWN) };
        let now = Instant::now();
        self.horizon.answers.borrow_mut().insert(query, stored.clone(), now);
        Outcome::Reply { stored, ttls: Ttls::Aged(0) }
    }

    /// What of a server's message counts.
    fn confine(&self, query: &Query, message: &[u8], is_local: bool) -> Option<Stored> {
        let reply = Reply::parse(message)?;
        let addresses = reply.addresses();
        let bogus = self.bogus.borrow();
        let is_credible = |address: &_| !bogus.contains(*address) && reply::is_private(*address);
        if !is_local && !addresses.iter().all(is_credible) {
            return None;
        }
        let confined = reply::confined(query, &reply)?;
        let stored = self.stored(&Reply::parse(&confined)?, Side::Domestic);
        Some(stored.capped(LIFETIME))
    }

    /// Whether the server has private addresses for the name, or for the one that a service's name
    /// belongs to (RFC 8552), and the public sides know nothing of that.
    async fn is_known_there(self: &Rc<Self>, query: &Query, server: SocketAddr) -> bool {
        let Some(name) = owner(query.name()) else { return false };
        for qtype in [rr::A, rr::AAAA] {
            let address = Query::new(&name, qtype);
            if name.as_wire() != query.name() {
                let outcome = Box::pin(self.resolve(&address)).await;
                if !self.denies(&address, &outcome) {
                    return false;
                }
            }
            let there = address.at(server);
            let outcome = Box::pin(self.resolve(&there)).await;
            if matches!(&*outcome, Outcome::Reply { stored, .. } if !stored.addresses().is_empty())
            {
                return true;
            }
        }
        false
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
