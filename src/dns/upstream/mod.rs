//! Asking other name servers: over UDP ([`udp`]), over one TCP connection for one query ([`tcp`]),
//! in any way for one query ([`once`]), and over connections that stand ([`persistent`], which has
//! a [`pool`] of them), direct or through the proxy ([`dial`]), bare or in TLS ([`pipelined`]), or
//! over HTTPS ([`https`]). What is wrong with a server is said by [`troubles`], what its silence
//! says of the proxy by [`silent_proxy`].
//! [`known_servers`] says under which name a public server speaks HTTPS.
//! [`stagger`] asks the next of several servers when one is slow, and [`standing`] knows which are,
//! and which do not answer at all. [`edns`] knows who has to be asked in the old way,
//! [`letter_case`] who answers in lower case. [`sockets`] has the ports that are asked from.
//!
//! A reply counts only if id, name, type and class are those of the question, and it came over
//! a connected socket with a random port (RFC 5452).
//!
//! The files above import the ones below: trusted, domestic, once -> persistent -> pool -> dial,
//! https, pipelined, silent_proxy, known_servers, closing_habit, sockets -> udp -> tcp, standing ->
//! request, troubles, edns, letter_case -> trouble, message_id. [`Upstreams`] stands above all of
//! them.

mod closing_habit;
mod dial;
pub(super) mod domestic;
mod edns;
#[cfg(feature = "tls")]
mod https;
pub(super) mod known_servers;
mod letter_case;
mod message_id;
pub(super) mod once;
pub(super) mod persistent;
mod pipelined;
mod pool;
mod request;
mod silent_proxy;
mod sockets;
pub(super) mod stagger;
mod standing;
pub(super) mod tcp;
#[cfg(feature = "tls")]
mod tls_trouble;
mod trouble;
pub(super) mod troubles;
mod trusted;
mod udp;

use super::loops::QueryLoops;
use super::name_server::NameServer;
use super::pending::Sockets;
use super::settings::{ServerSettings, Via};
use super::system::SystemServers;
use super::wire::Query;
use crate::dispatch::Current;
use crate::net::Outbound;
use crate::proxy::tls::Tls;
use crate::task::spawn_local;
use domestic::DomesticServer;
use edns::EdnsMemory;
use letter_case::CaseMemory;
use persistent::Dialler;
use sockets::QuestionSockets;
use stagger::{StaggeredAttempt, first_success, useful};
use standing::{QuestionKind, ServerStandings, Turn};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use trouble::Trouble;
use troubles::ServerTroubles;
use trusted::TrustedServers;
use udp::{Question, UdpAnswer};

/// The next server of a list is asked beside one that takes so long, if it is not known yet how
/// long that one usually takes.
const HEDGE_DELAY: Duration = Duration::from_millis(700);

/// All name servers that the resolver asks.
pub(super) struct Upstreams {
    pub(super) domestic: Vec<DomesticServer>,
    /// What of the queries that come in is our own.
    pub(super) loops: Rc<QueryLoops>,
    trusted: TrustedServers,
    /// `dns.local`; empty: those of the system.
    local: Vec<SocketAddr>,
    system: RefCell<SystemServers>,
    outbound: Outbound,
    questions: QuestionSockets,
    current: Current,
    case_randomization: bool,
    edns: Rc<EdnsMemory>,
    letter_case: CaseMemory,
    standings: Rc<ServerStandings>,
    troubles: Rc<ServerTroubles>,
    /// `dns.timeout`
    pub(super) timeout: Duration,
}

impl Upstreams {
    /// Nothing is dialled yet. Runs on the calling thread's `LocalSet`.
    pub(super) fn new(
        settings: &ServerSettings,
        outbound: Outbound,
        current: Current,
        tls: Tls,
    ) -> Self {
        let troubles = Rc::<ServerTroubles>::default();
        let direct = Dialler {
            current: current.clone(),
            through_proxy: false,
            tls,
            names_of_servers: known_servers::name,
            patience: settings.timeout,
            troubles: Rc::clone(&troubles),
        };
        let through_proxy = settings.trusted_via == Via::Proxy;
        let dialler = Dialler { through_proxy, ..direct.clone() };
        let edns = Rc::new(EdnsMemory::default());
        let loops = Rc::<QueryLoops>::default();
        let standings = Rc::new(ServerStandings::new(Rc::clone(&troubles)));
        let domestic = settings.china.iter().map(|server| DomesticServer::new(server, &direct));
        Upstreams {
            domestic: domestic.collect(),
            questions: QuestionSockets::new(outbound.clone(), Rc::clone(&loops)),
            loops,
            trusted: TrustedServers::new(
                &settings.trusted,
                &dialler,
                Rc::clone(&edns),
                Rc::clone(&standings),
            ),
            local: settings.local.clone(),
            system: RefCell::default(),
            outbound,
            current,
            case_randomization: settings.case_randomization,
            edns,
            letter_case: CaseMemory::default(),
            standings,
            troubles,
            timeout: settings.timeout,
        }
    }

    /// Those of other settings, with connections of their own.
    pub(super) fn succeed(&self, settings: &ServerSettings, tls: Tls) -> Self {
        Upstreams::new(settings, self.outbound.clone(), self.current.clone(), tls)
    }

    /// The sockets for questions over UDP.
    pub(super) fn sockets(&self) -> Sockets {
        let allowance = self.outbound.allowance();
        Sockets { free: allowance.questions.available_permits(), all: allowance.numbers.questions }
    }

    /// The servers of local names.
    pub(super) fn local_servers(&self, now: Instant) -> Vec<SocketAddr> {
        match self.local.as_slice() {
            [] => self.system.borrow_mut().now(now),
            configured => configured.to_vec(),
        }
    }

    /// The first useful reply of the trusted side within `patience`. A server that is slow is heard
    /// for longer, to know that it is there.
    pub(super) async fn ask_trusted(&self, query: &Query, patience: Duration) -> Option<Vec<u8>> {
        timeout(patience, self.trusted.ask(query, self.timeout)).await.ok()?.ok()
    }

    /// The same for those who ask why: with the server whose word it is, where that is one.
    pub(super) async fn ask_trusted_naming(
        &self,
        query: &Query,
        patience: Duration,
    ) -> (Option<SocketAddr>, io::Result<Vec<u8>>) {
        let asking = self.trusted.ask_naming(query, self.timeout);
        let asked = timeout(patience, asking).await;
        asked.unwrap_or_else(|_| (None, Err(io::ErrorKind::TimedOut.into())))
    }

    /// Whether no trusted server answers such questions, so that none is worth a wait where there
    /// is another answer. Now and then one is asked all the same, and nobody waits for it.
    pub(super) fn is_trusted_down(self: &Rc<Self>, query: &Query) -> bool {
        let is_down = self.trusted.are_down(query);
        if is_down && self.trusted.is_trial_due(query) {
            let (upstreams, query) = (Rc::clone(self), query.clone());
            spawn_local(async move { upstreams.ask_trusted(&query, upstreams.timeout).await });
        }
        is_down
    }

    /// The first useful reply of these servers within `patience`; they are asked in order, one
    /// beside the other, those behind the others that do not answer. A server that is slow is heard
    /// for longer, to know that it is there.
    pub(super) async fn ask_one_of(
        self: &Rc<Self>,
        servers: &[DomesticServer],
        query: &Query,
        patience: Duration,
    ) -> Option<Vec<u8>> {
        let kind = QuestionKind::of(query);
        let addresses: Vec<_> = servers.iter().map(DomesticServer::address).collect();
        let turns = self.standings.turns(&addresses, kind, HEDGE_DELAY, patience);
        let attempt = |turn: Turn| -> (Duration, StaggeredAttempt) {
            let server = servers[turn.number].clone();
            let (upstreams, query) = (Rc::clone(self), query.clone());
            let attempt = async move {
                let asking = upstreams.ask_server(&server, &query, upstreams.timeout);
                let standings = &upstreams.standings;
                let watched = standings.watch(server.address(), kind, turn.overdue, asking);
                useful(watched.await?)
            };
            (turn.head_start, Box::pin(attempt))
        };
        let asked = first_success(turns.into_iter().map(attempt).collect());
        let (_, message) = timeout(patience, asked).await.ok()?.ok()?;
        Some(message)
    }

    /// How long the domestic side has for such a question before the trusted one is asked beside
    /// it; none if no server of it answers such questions.
    pub(super) fn domestic_head_start(&self, query: &Query, patience: Duration) -> Duration {
        let kind = QuestionKind::of(query);
        let present = self.domestic.iter().map(DomesticServer::address);
        let present = present.filter(|server| !self.standings.is_down(*server, kind));
        let overdue = present.map(|server| self.standings.overdue(server, kind));
        overdue.map(|overdue| overdue.unwrap_or(HEDGE_DELAY)).sum::<Duration>().min(patience / 2)
    }

    /// Whether it is time to look whether one of the domestic servers that are down has returned.
    pub(super) fn is_domestic_trial_due(&self, query: &Query) -> bool {
        let (kind, mut servers) = (QuestionKind::of(query), self.domestic.iter());
        servers.any(|server| self.standings.is_trial_due(server.address(), kind))
    }

    /// The domestic servers that an address is asked of: those that are down only now and then,
    /// unless all are.
    pub(super) fn domestic_for(&self, query: &Query) -> Vec<DomesticServer> {
        let kind = QuestionKind::of(query);
        let (down, mut present): (Vec<_>, Vec<_>) = self
            .domestic
            .iter()
            .cloned()
            .partition(|server| self.standings.is_down(server.address(), kind));
        if present.is_empty() {
            return down;
        }
        let is_due = |server: &DomesticServer| self.standings.begin_trial(server.address(), kind);
        present.extend(down.into_iter().filter(is_due));
        present
    }

    /// Asks one server, and takes note of how it answers.
    ///
    /// # Errors
    /// As [`ask_server`](Self::ask_server).
    pub(super) async fn ask_watched(
        &self,
        server: &DomesticServer,
        query: &Query,
        patience: Duration,
    ) -> io::Result<Vec<u8>> {
        let (kind, address) = (QuestionKind::of(query), server.address());
        let overdue = self.standings.overdue(address, kind).unwrap_or(HEDGE_DELAY).min(patience);
        let asking = self.ask_server(server, query, patience);
        self.standings.watch(address, kind, overdue, asking).await
    }

    /// Asks one server. Its own socket is known as ours.
    ///
    /// # Errors
    /// `TimedOut` after `patience`; what the kernel, or the connection, says.
    pub(super) async fn ask_server(
        &self,
        server: &DomesticServer,
        query: &Query,
        patience: Duration,
    ) -> io::Result<Vec<u8>> {
        let asked = self.edns.ask(server.address(), query, async |query| match server {
            DomesticServer::Udp(address) => self.ask_over_udp(*address, &query, patience).await,
            DomesticServer::Persistent(connection) => connection.ask(&query).await,
        });
        let asked = timeout(patience, asked).await;
        asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn ask_over_udp(
        &self,
        address: SocketAddr,
        query: &Query,
        patience: Duration,
    ) -> io::Result<Vec<u8>> {
        let has_random_case = self.case_randomization && !self.letter_case.is_lost_on(address);
        let question = match has_random_case {
            true => Question::in_random_case(query),
            false => Question::plain(query),
        };
        let has_edns = !query.omits_edns();
        let without = has_edns && self.edns.may_be_silent(address);
        let without = without.then(|| question.without_edns());
        let forms = [question].into_iter().chain(without).collect();
        let asking = self.questions.begin(address, forms).await?;
        let lost_after = self.standings.lost_after(address, QuestionKind::of(query));
        let times = (lost_after.unwrap_or(udp::RESEND), patience);
        let asked = udp::ask_over(&asking, &self.outbound, address, query, times).await;
        drop(asking);
        let UdpAnswer { form, reply, was_in_other_case } = asked.inspect_err(|error| {
            // Where TCP is closed as well, nothing else would ever tell.
            if udp::is_in_other_case_only(error) {
                self.letter_case.was_other(address);
                return;
            }
            self.edns.was_silent(address);
            if let Some(trouble) = Trouble::of_question(error) {
                self.troubles.met(&NameServer::from(address), &trouble);
            }
        })?;
        match was_in_other_case {
            true => self.letter_case.was_other(address),
            false if has_random_case => self.letter_case.was_repeated(address),
            false => {}
        }
        match (has_edns, form) {
            (true, 0) => self.edns.answered(address, &reply),
            (true, _) => self.edns.answered_only_without(address),
            (false, _) => {}
        }
        Ok(reply)
    }
}
