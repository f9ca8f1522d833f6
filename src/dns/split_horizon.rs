//! Names that only the name server knows which the program asked (split-horizon DNS).
//!
//! # Theory of operation
//!
//! A query is redirected to us, and the server that it was meant for never hears of it. Where that
//! server's address is not a public one ([`Horizon`](super::horizon::Horizon)) it may be the only
//! one that knows the name, so:
//!
//! | name | the asked server |
//! |---|---|
//! | local (1) | is asked first, then `dns.local` (else the system's). Its answer counts |
//! | denied by the public sides | is asked then. Its answer counts if all addresses are private |
//! | all others, and those of `dns.forward` | never hears of it |
//!
//! (1) A single label, `lan`, `home.arpa`, private reverse zones, ...
//!
//! So no public name can be forged that way: a name that exists in public is never asked there. And
//! what is asked there is believed of that very name only, since clients cache what else stands in
//! an answer: addresses are given under the name asked for, without aliases, other records must be
//! its own, and authority and additional section go ([`reply::confined`]).
//!
//! - *Types that are no address* (SRV, TXT, HTTPS, ...) of a name that is not local have nothing
//!   that could be checked. They count if the server has private addresses for the name; of
//!   `_ldap._tcp.corp.example`, for `corp.example`, of which the public sides have to know nothing
//!   either.
//! - *Who may hear of a name*: with `dns.no-leak`, and of names in `rules.proxy`, a server in one's
//!   own network (which often asks the provider's) hears only if the top-level domain does not
//!   exist, for instance `web.dns.podman`. For a company's `git.corp.example` there is
//!   `dns.forward`.
//! - *When the trusted side is silent* it is unknown whether a name exists, and the asked server
//!   does not hear of it, unless it was said within the last day.
//! - *Time*: the whole takes `dns.timeout` at most. The asked server has a second and a half of it;
//!   one that says nothing is then passed over for a while. What it did not know is asked again
//!   after five seconds.
//! - *Loops*: an asked server may be a dnsmasq of this machine that asks us in turn. What it asks
//!   was meant for another server, or for us, so that the second time only the public sides are
//!   asked, or the cache; each round is bounded by its time. If a server elsewhere asks us the very
//!   question that we ask it, it is refused ([`loops`](super::loops)).
//!
//! What is learned from such an answer steers no traffic: private addresses need no proxy.

use super::asked_server::{self, UNKNOWN};
use super::client_query::ClientQuery;
use super::flights::Flights;
use super::horizon::Horizon;
use super::memory::Memory;
use super::policy::QueryPolicy;
use super::query_log::AnswerSource;
use super::reply::{Ede, Stored};
use super::resolution::Resolution;
use super::upstream::Upstreams;
use super::wire::Query;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Decides about each query whether the asked server has a part in it.
pub(super) struct SplitHorizon {
    pub(super) policy: Rc<QueryPolicy>,
    pub(super) memory: Rc<Memory>,
    pub(super) upstreams: Rc<Upstreams>,
    pub(super) flights: Rc<Flights>,
    pub(super) horizon: Rc<Horizon>,
}

/// What can be said of a query without asking a server.
#[derive(Debug)]
pub(super) enum AtOnce {
    /// The answer is written.
    Answered(AnswerSource),
    /// The asked server has to be asked.
    Ask,
    /// The asked server has no part in it.
    Unconcerned,
}

impl SplitHorizon {
    /// What the asked server said before, about a local name that may be its own.
    pub(super) fn look_for_local(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> AtOnce {
        let may_be_its_own = self.horizon.is_open()
            && self.policy.is_local(asked.query)
            && self.policy.known(asked.query, self.memory.verdict(asked.query, asked.at)).is_none();
        if may_be_its_own { self.look(asked, out) } else { AtOnce::Unconcerned }
    }

    /// The same about a name that is not local, which this answer of the public sides denies.
    pub(super) fn look_for_denied(
        &self,
        asked: &ClientQuery<'_>,
        public: &Stored,
        out: &mut Vec<u8>,
    ) -> AtOnce {
        let may_be_its_own = self.horizon.is_open()
            && !self.policy.is_local(asked.query)
            && self.policy.is_denial(asked.query, public);
        if may_be_its_own { self.look(asked, out) } else { AtOnce::Unconcerned }
    }

    /// The same where the public sides have just failed, and denied the name within the last day.
    pub(super) fn look_for_failed(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> AtOnce {
        let may_be_its_own = self.horizon.is_open()
            && !self.policy.is_local(asked.query)
            && self.flights.denied(asked.query);
        if may_be_its_own { self.look(asked, out) } else { AtOnce::Unconcerned }
    }

    fn look(&self, asked: &ClientQuery<'_>, out: &mut Vec<u8>) -> AtOnce {
        let Some(there) = self.there(asked) else { return AtOnce::Unconcerned };
        if let Some(hit) = self.horizon.answers.borrow_mut().get(&there, asked.at) {
            hit.write(asked.query, asked.limit, out);
            if hit.refresh {
                self.flights.refresh(&there);
            }
            return AtOnce::Answered(AnswerSource::AskedServer);
        }
        if self.is_in_vain(&there, asked.at) { AtOnce::Unconcerned } else { AtOnce::Ask }
    }

    /// Resolves, with the help of the asked server where that is due. The second value says whether
    /// it was that server's answer.
    pub(super) async fn resolve(&self, asked: &ClientQuery<'_>) -> (Rc<Resolution>, bool) {
        let query = asked.query;
        if !self.horizon.is_open() {
            return (self.flights.resolve(query).await, false);
        }
        if self.policy.is_local(query) {
            return self.resolve_local(asked).await;
        }
        let mut resolution = None;
        if self.flights.denied(query) {
            // Silence must not take the time in which the asked server could answer.
            let most = self.left(asked).saturating_sub(asked_server::patience(&self.policy));
            match timeout(most, self.flights.resolve(query)).await {
                Ok(heard) => resolution = Some(heard),
                Err(_) => {
                    if let Some(there) = self.answer_of_asked(asked).await {
                        return (there, true);
                    }
                }
            }
        }
        let resolution = match resolution {
            Some(resolution) => resolution,
            None => self.flights.resolve(query).await,
        };
        if self.flights.denies(query, &resolution)
            && let Some(there) = self.answer_of_asked(asked).await
        {
            return (there, true);
        }
        (resolution, false)
    }

    /// The asked server first, then those of local names.
    async fn resolve_local(&self, asked: &ClientQuery<'_>) -> (Rc<Resolution>, bool) {
        let query = asked.query;
        let Some(resolution) = self.ask(asked).await else {
            return (self.flights.resolve(query).await, false);
        };
        if matches!(&*resolution, Resolution::Reply { .. }) {
            return (resolution, true);
        }
        const SILENT: Ede = Ede::unreachable("no name server for local names answers");
        let resolution = timeout(self.left(asked), self.flights.resolve(query)).await;
        (resolution.unwrap_or_else(|_| Rc::new(Resolution::Stale(SILENT))), false)
    }

    async fn answer_of_asked(&self, asked: &ClientQuery<'_>) -> Option<Rc<Resolution>> {
        let resolution = self.ask(asked).await;
        resolution.filter(|resolution| matches!(&**resolution, Resolution::Reply { .. }))
    }

    /// Asks the asked server, if there is one that counts and is not known to be in vain.
    async fn ask(&self, asked: &ClientQuery<'_>) -> Option<Rc<Resolution>> {
        let there = self.there(asked)?;
        if self.is_in_vain(&there, Instant::now()) {
            return None;
        }
        let resolution = timeout(self.left(asked), self.flights.resolve(&there)).await;
        Some(resolution.unwrap_or_else(|_| Rc::new(Resolution::Servfail(UNKNOWN))))
    }

    /// What is left of a query's time.
    fn left(&self, asked: &ClientQuery<'_>) -> Duration {
        self.policy.settings.servers.timeout.saturating_sub(asked.at.elapsed())
    }

    /// The query for the asked server. None where that server is the one for local names anyway.
    fn there(&self, asked: &ClientQuery<'_>) -> Option<Query> {
        let server = self.horizon.server(asked, &self.policy.settings)?;
        let is_local = self.policy.is_local(asked.query);
        let is_asked_anyway = is_local && self.upstreams.local_servers(asked.at) == [server];
        (!is_asked_anyway).then(|| asked.query.at(server))
    }

    fn is_in_vain(&self, there: &Query, now: Instant) -> bool {
        self.memory.failures.borrow_mut().get(there, now).is_some()
            || there.server().is_none_or(|server| self.horizon.is_silent(server, now))
    }
}
