//! The trusted side: several servers, seen as one.

use super::edns::EdnsMemory;
use super::persistent::{Dialler, PersistentConnection};
use super::stagger::{StaggeredAttempt, first_success, useful};
use super::standing::{QuestionKind, ServerStandings, Turn};
use crate::dns::name_server::NameServer;
use crate::dns::wire::Query;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The next server is asked beside one that takes so long, if it is not known yet how long that one
/// usually takes: longer than a usual way through a proxy around the world, including its dial.
const HEDGE_DELAY: Duration = Duration::from_millis(1200);

/// The trusted servers. One that fails where another answers is asked behind the others for a
/// while.
#[derive(Debug)]
pub(super) struct TrustedServers {
    servers: Vec<Rc<PersistentConnection>>,
    addresses: Vec<SocketAddr>,
    edns: Rc<EdnsMemory>,
    standings: Rc<ServerStandings>,
}

impl TrustedServers {
    /// Servers in order of preference. Runs on the calling thread's `LocalSet`.
    pub(super) fn new(
        servers: &[NameServer],
        dialler: &Dialler,
        edns: Rc<EdnsMemory>,
        standings: Rc<ServerStandings>,
    ) -> Self {
        let addresses = servers.iter().map(|server| server.address).collect();
        let servers = servers
            .iter()
            .map(|server| Rc::new(PersistentConnection::new(server.clone(), dialler.clone())));
        TrustedServers { servers: servers.collect(), addresses, edns, standings }
    }

    /// The first useful reply; each server has `patience`. A caller that waits for less is no
    /// verdict on them.
    ///
    /// # Errors
    /// No server has one.
    pub(super) async fn ask(&self, query: &Query, patience: Duration) -> io::Result<Vec<u8>> {
        self.ask_naming(query, patience).await.1
    }

    /// The same, with the server whose word it is; none if several have failed.
    pub(super) async fn ask_naming(
        &self,
        query: &Query,
        patience: Duration,
    ) -> (Option<SocketAddr>, io::Result<Vec<u8>>) {
        let (kind, began) = (QuestionKind::of(query), Instant::now());
        let failed = Rc::default();
        let turns = self.standings.turns(&self.addresses, kind, HEDGE_DELAY, patience);
        let order: Vec<_> = turns.iter().map(|turn| self.addresses[turn.number]).collect();
        let attempt =
            |turn: Turn| (turn.head_start, self.attempt(turn, query, patience, Rc::clone(&failed)));
        let heard = first_success(turns.into_iter().map(attempt).collect()).await;
        let (place, reply) = match heard {
            Ok(heard) => heard,
            Err(error) => {
                let only = match self.addresses[..] {
                    [only] => Some(only),
                    _ => None,
                };
                return (only, Err(error));
            }
        };
        // A name that no server has an answer for says nothing of them.
        for server in failed.borrow().iter() {
            self.standings.missed(*server, kind, began);
        }
        (order.get(place).copied(), Ok(reply))
    }

    /// Whether all of them count as down for such questions.
    pub(super) fn are_down(&self, query: &Query) -> bool {
        let kind = QuestionKind::of(query);
        self.addresses.iter().all(|server| self.standings.is_down(*server, kind))
    }

    /// Whether it is time to look whether one of them has returned.
    pub(super) fn is_trial_due(&self, query: &Query) -> bool {
        let kind = QuestionKind::of(query);
        self.addresses.iter().any(|server| self.standings.is_trial_due(*server, kind))
    }

    /// One of `failed` is there, and of no use.
    fn attempt(
        &self,
        turn: Turn,
        query: &Query,
        patience: Duration,
        failed: Rc<RefCell<Vec<SocketAddr>>>,
    ) -> StaggeredAttempt {
        let (server, query) = (Rc::clone(&self.servers[turn.number]), query.clone());
        let (edns, standings) = (Rc::clone(&self.edns), Rc::clone(&self.standings));
        let kind = QuestionKind::of(&query);
        Box::pin(async move {
            let address = server.server().address;
            let asking = edns.ask(address, &query, async |query| server.ask(&query).await);
            let asking = async {
                let message = asking.await?;
                standings.said(address, &message);
                useful(message)
            };
            let asking = timeout(patience, asking);
            let asking =
                async { asking.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) };
            let answered = standings.watch(address, kind, turn.overdue, asking).await;
            if answered.is_err() {
                failed.borrow_mut().push(address);
            }
            answered
        })
    }
}
