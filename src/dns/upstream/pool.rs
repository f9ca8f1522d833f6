//! The connections to one name server, dialled when a query needs them, through the proxy or
//! directly: DNS over TCP, over TLS, or over HTTPS.
//!
//! One connection is enough for a server that answers what it is asked. Many close after so many
//! queries (RFC 7766, 6.2.3; GOAWAY in HTTP/2), some after each: that is learned
//! ([`closing_habit`](super::closing_habit)), and from then on a connection gets no more, and the
//! others get connections of their own.

use super::closing_habit::ClosingHabit;
use super::dial::{Dialled, Dialler, dial};
#[cfg(feature = "tls")]
use super::https::{self, TroubleReport};
use super::request::{ConnectionState, Ended, Unanswered, UpstreamRequest};
use super::silent_proxy::ProxyEvidence;
use super::trouble::Trouble;
use super::{known_servers, pipelined};
use crate::dispatch::{self, Upstream};
use crate::dns::name_server::{NameServer, Transport};
use crate::task::JoinSet;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError};
use tracing::{debug, info, warn};

/// Connections that take queries at a time: for a server that closes after each.
const MOST_OPEN: usize = 16;

/// Also those that only end.
const MOST: usize = 48;

/// Queries that wait for a connection; more wait in their queue.
const MOST_WAITING: usize = 1024;

/// Serves requests until the last handle to make one is dropped.
pub(super) async fn run(
    written: NameServer,
    dialler: Dialler,
    mut queue: mpsc::Receiver<UpstreamRequest>,
) {
    let (again, mut suspected) = mpsc::unbounded_channel();
    let mut pool = ConnectionPool {
        server: written.clone(),
        written,
        dialler,
        again,
        quickest: Rc::default(),
        waiting: VecDeque::new(),
        open: HashMap::new(),
        connections: JoinSet::new(),
        habit: ClosingHabit::default(),
        evidence: ProxyEvidence::default(),
        said: Said::default(),
    };
    loop {
        tokio::select! {
            biased;
            Some(ended) = pool.connections.join_next_with_id() => pool.ended(ended),
            Some(request) = suspected.recv() => pool.waiting.push_back(request),
            request = queue.recv(), if pool.waiting.len() < MOST_WAITING => match request {
                Some(request) => pool.waiting.push_back(request),
                None => return,
            },
        }
        pool.give();
    }
}

struct ConnectionPool {
    /// How it is asked: as written or otherwise.
    server: NameServer,
    written: NameServer,
    dialler: Dialler,
    again: mpsc::UnboundedSender<UpstreamRequest>,
    /// Its quickest answer.
    quickest: Rc<Cell<Option<Duration>>>,
    waiting: VecDeque<UpstreamRequest>,
    /// Those that may take requests, also while they are dialled.
    open: HashMap<Id, PooledConnection>,
    connections: JoinSet<ConnectionEnd>,
    habit: ClosingHabit,
    evidence: ProxyEvidence,
    /// What was said of a proxy that does not connect to it.
    said: Said,
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    refusal: bool,
    otherwise: bool,
}

/// One of them.
struct PooledConnection {
    requests: mpsc::UnboundedSender<UpstreamRequest>,
    state: ConnectionState,
    given: u32,
}

/// What became of a connection.
struct ConnectionEnd {
    outcome: io::Result<Ended>,
    /// The proxy that reached the server,
    via: Option<Arc<Upstream>>,
    /// and heard nothing of it in its handshake.
    was_silent: bool,
    /// The requests that it had not begun with.
    unsent: Vec<UpstreamRequest>,
}

impl ConnectionPool {
    /// Gives what waits to connections, as far as there is room.
    fn give(&mut self) {
        while let Some(request) = self.waiting.pop_front() {
            if request.is_over() {
                continue;
            }
            if let Err(request) = self.place(request) {
                self.waiting.push_front(request);
                return;
            }
        }
    }

    fn place(&mut self, request: UpstreamRequest) -> Result<(), UpstreamRequest> {
        self.evidence.asked(&request);
        let allowed = self.habit.allowed();
        self.open.retain(|_, connection| !connection.requests.is_closed());
        let takes = |it: &&mut PooledConnection| !it.state.is_shut() && it.given < allowed;
        let id = match self.open.iter_mut().find(|(_, it)| takes(it)) {
            Some((id, _)) => *id,
            None => match self.start() {
                Some(id) => id,
                None => return Err(request),
            },
        };
        let Some(connection) = self.open.get_mut(&id) else { return Err(request) };
        connection.given += 1;
        let given = connection.requests.send(request).map_err(|unsent| unsent.0);
        if connection.given >= allowed {
            // It ends when it has answered these.
            self.open.remove(&id);
        }
        given
    }

    fn start(&mut self) -> Option<Id> {
        let open = self.open.values().filter(|it| !it.state.is_shut()).count();
        if open >= MOST_OPEN || self.connections.len() >= MOST {
            return None;
        }
        let (requests, queue) = mpsc::unbounded_channel();
        let (quickest, again) = (Rc::clone(&self.quickest), self.again.clone());
        let state = ConnectionState::new(quickest, self.dialler.patience, again);
        let connecting = connect(self.server.clone(), self.dialler.clone(), queue, state.clone());
        let id = self.connections.spawn_local(connecting).id();
        self.open.insert(id, PooledConnection { requests, state, given: 0 });
        Some(id)
    }

    fn ended(&mut self, ended: Result<(Id, ConnectionEnd), JoinError>) {
        let (id, end) = match ended {
            Ok(ended) => ended,
            // What it had is dropped, and that tells the askers.
            Err(died) => {
                self.open.remove(&died.id());
                return;
            }
        };
        self.open.remove(&id);
        match end.outcome {
            Ok(ended) => {
                self.connected(&ended);
                if let Some(allowed) = self.habit.learn(&ended) {
                    debug!(server = %self.server, "it closes after {allowed} queries");
                }
                self.report(&ended, end.via);
                self.waiting.extend(end.unsent);
            }
            Err(error) => {
                if let Some(via) = end.via
                    && end.was_silent
                    && self.evidence.is_enough()
                {
                    via.report(self.server.address, 1, 0);
                }
                self.not_connected(error, end.unsent);
            }
        }
    }

    /// Something was carried, or not.
    fn connected(&mut self, ended: &Ended) {
        if std::mem::take(&mut self.said).refusal {
            info!("the proxy connects to the name server {} again", self.server);
        }
        // One that dies in silence says so in another way.
        let is_silence = ended.cause.kind() == io::ErrorKind::TimedOut;
        if ended.answered == 0 && ended.left > 0 && !is_silence {
            self.dialler.troubles.met(&self.server, &Trouble::fruitless(&ended.cause));
        }
    }

    /// A proxy that closes in order has understood us: only silence is suspicious.
    fn report(&mut self, ended: &Ended, via: Option<Arc<Upstream>>) {
        debug!(server = %self.server, "the connection ended: {}", ended.cause);
        let was_closed = ended.cause.kind() == io::ErrorKind::UnexpectedEof;
        // TLS has been heard at its handshake.
        let is_bare = matches!(self.server.transport, Transport::Plain | Transport::Tcp);
        if ended.received > 0 {
            self.evidence.heard();
        }
        let is_evidence = is_bare && !was_closed && self.evidence.is_enough();
        if let Some(via) = via
            && (ended.received > 0 || is_evidence)
        {
            via.report(self.server.address, ended.sent, ended.received);
        }
    }

    /// What waited for the dial shares its failure; the next query dials again.
    fn not_connected(&mut self, error: io::Error, unsent: Vec<UpstreamRequest>) {
        let server = &self.server;
        debug!(%server, "no connection to the name server: {error}");
        let otherwise = is_refused(&error)
            .then(|| known_servers::over_https(server, self.dialler.names_of_servers))
            .flatten();
        if let Some(over_https) = otherwise {
            if !std::mem::replace(&mut self.said.otherwise, true) {
                warn!(
                    "the proxy does not connect to the name server {server}, which is asked over \
                     HTTPS from now on; dns.trusted = [\"{over_https}\"] asks it so from the \
                     start ({error})"
                );
            }
            self.server = over_https;
            self.waiting.extend(unsent);
            return;
        }
        if is_refused(&error) && !std::mem::replace(&mut self.said.refusal, true) {
            let port = server.address.port();
            let or = match cfg!(feature = "tls") {
                true => format!(
                    ", or name a server over HTTPS, dns.trusted = [\"{}\"]",
                    known_servers::EXAMPLE
                ),
                false => String::new(),
            };
            warn!(
                "the proxy does not connect to the name server {server}: allow CONNECT to port \
                 {port} there (squid: SSL_ports, tinyproxy: ConnectPort){or} ({error})"
            );
        }
        let name = match &server.transport {
            Transport::Plain | Transport::Tcp => None,
            Transport::Tls { name } | Transport::Https { name, .. } => Some(name.as_str()),
        };
        if let Some(trouble) = Trouble::of_dial(name, &error) {
            self.dialler.troubles.met(server, &trouble);
        }
        // The way over HTTPS is one way too: the one that is written is tried again.
        self.server = self.written.clone();
        for request in unsent {
            let cause = io::Error::new(error.kind(), error.to_string());
            request.fail(Unanswered::Failed(cause));
        }
    }
}

/// Whether the proxies work, and one of them does not allow this server.
fn is_refused(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(dispatch::Error::Refused(_)))
}

/// Dials, and serves requests until the connection is of no more use.
async fn connect(
    server: NameServer,
    dialler: Dialler,
    mut queue: mpsc::UnboundedReceiver<UpstreamRequest>,
    state: ConnectionState,
) -> ConnectionEnd {
    let Dialled { stream, via } = dial(&server, &dialler).await;
    let was_silent = matches!(via, Some((_, Some(false))));
    if let Some((via, Some(true))) = &via {
        via.report(server.address, 1, 1);
    }
    let outcome = match stream {
        Ok(stream) => Ok(match &server.transport {
            #[cfg(feature = "tls")]
            Transport::Https { name, path } => {
                let url = format!("https://{name}{path}");
                let (troubles, named) = (Rc::clone(&dialler.troubles), server.clone());
                let report: TroubleReport = Rc::new(move |it| troubles.met(&named, it));
                https::serve(&url, stream, &mut queue, &state, &report).await
            }
            _ => pipelined::serve(stream, &mut queue, &state).await,
        }),
        Err(error) => Err(error),
    };
    queue.close();
    let mut unsent = Vec::new();
    while let Ok(request) = queue.try_recv() {
        unsent.push(request);
    }
    let via = via.map(|(via, _)| via);
    ConnectionEnd { outcome, via, was_silent, unsent }
}
