//! One persistent, pipelined connection to a name server (RFC 7766, 6.2.1), dialled when a query
//! needs it, through the proxy or directly: DNS over TCP, over TLS (RFC 7858), or over HTTPS (RFC
//! 8484).
//!
//! Queries go out as they come and replies are matched by number. When the connection ends, or
//! stalls, the queries it leaves unanswered are handed back; each is asked once more, or more
//! often if the connection had answered something: many servers close after so many queries (RFC
//! 7766, 6.2.3), and with many in flight a query may meet that more than once.
//!
//! A server may be slow at one name for longer than a dead connection should go unnoticed. So one
//! that is quiet is asked something that every resolver knows at once; if that is answered it
//! lives, and only the query for the slow name waits.

use super::edns::completed;
use super::known_servers::ServerNames;
use super::message_id::random_id;
use super::request::{Ended, STALL, Unanswered, UpstreamRequest, WORRY};
use super::tcp::{Incoming, frame};
use super::{https, known_servers};
use crate::dispatch::{self, Connected, Current, Upstream};
use crate::dns::name_server::{NameServer, Transport};
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, rr, u16_at, upstream_query};
use crate::domain::Name;
use crate::proxy::Stream;
use crate::proxy::tls::Tls;
use crate::target::Target;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

/// An unused connection is closed after this; most servers are faster.
const IDLE: Duration = Duration::from_secs(120);

/// Unanswered queries on one connection. Numbers stay free to choose from.
const MOST_IN_FLIGHT: usize = 4096;

/// A query is on that many connections that end without a single answer,
const MOST_FRUITLESS: u32 = 2;

/// and on that many in all.
const MOST_TRIES: u32 = 8;

/// Queries waiting for the dial; more are refused.
const QUEUE: usize = 1024;

/// One name server, asked over one connection at a time.
#[derive(Debug)]
pub(in crate::dns) struct PersistentConnection {
    server: NameServer,
    requests: mpsc::Sender<UpstreamRequest>,
}

/// How the name server is reached.
#[derive(Clone)]
pub(in crate::dns) struct Dialler {
    /// Who connects.
    pub(in crate::dns) current: Current,
    /// Through the proxies, or directly.
    pub(in crate::dns) through_proxy: bool,
    /// Whose certificates count.
    pub(in crate::dns) tls: Tls,
    /// Under which name a public name server speaks HTTPS.
    pub(in crate::dns) names_of_servers: ServerNames,
}

impl PersistentConnection {
    /// A server; nothing is dialled yet. Runs on the calling thread's `LocalSet`.
    pub(in crate::dns) fn new(server: NameServer, dialler: Dialler) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        tokio::task::spawn_local(run(server.clone(), dialler, queue));
        PersistentConnection { server, requests }
    }

    /// Which server.
    pub(in crate::dns) fn server(&self) -> &NameServer {
        &self.server
    }

    /// Asks, and asks again if the connection ends before the reply. Has no time-out.
    ///
    /// # Errors
    /// No connection, too many that ended, or too many queries waiting.
    pub(in crate::dns) async fn ask(&self, query: &Query) -> io::Result<Vec<u8>> {
        let mut fruitless = 0;
        for _ in 0..MOST_TRIES {
            let (reply, answer) = oneshot::channel();
            let request = UpstreamRequest { query: query.clone(), reply };
            self.requests.try_send(request).map_err(|_| busy())?;
            match answer.await {
                Ok(Ok(message)) => return Ok(message),
                Ok(Err(Unanswered::Failed(error))) => return Err(error),
                Ok(Err(Unanswered::Ended { useful: true })) => {}
                Ok(Err(Unanswered::Ended { useful: false })) | Err(_) => fruitless += 1,
            }
            if fruitless >= MOST_FRUITLESS {
                break;
            }
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connections end before the answer"))
    }
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "too many queries wait for the connection")
}

/// Serves requests until the last handle to make one is dropped.
async fn run(written: NameServer, dialler: Dialler, mut queue: mpsc::Receiver<UpstreamRequest>) {
    // How it is asked, as written or otherwise.
    let mut server = written.clone();
    let mut refusal_said = false;
    let mut again = None;
    loop {
        let Some(first) = (match again.take() {
            Some(first) => Some(first),
            None => queue.recv().await,
        }) else {
            return;
        };
        if first.reply.is_closed() {
            continue;
        }
        match dial(&server, &dialler).await {
            Ok((stream, via)) => {
                refusal_said = false;
                let ended = match &server.transport {
                    Transport::Https { name, path } => {
                        let url = format!("https://{name}{path}");
                        https::serve(&url, stream, first, &mut queue).await
                    }
                    _ => serve(stream, first, &mut queue).await,
                };
                report(&server, &ended, via);
            }
            Err(error) => {
                debug!(%server, "no connection to the name server: {error}");
                let otherwise = is_refused(&error)
                    .then(|| known_servers::over_https(&server, dialler.names_of_servers))
                    .flatten();
                if let Some(over_https) = otherwise {
                    warn!(
                        "the proxy does not connect to the name server {server}, which is asked \
                         over HTTPS from now on; dns.trusted = [\"{over_https}\"] asks it so from \
                         the start ({error})"
                    );
                    server = over_https;
                    again = Some(first);
                    continue;
                }
                if is_refused(&error) && !std::mem::replace(&mut refusal_said, true) {
                    let port = server.address.port();
                    warn!(
                        "the proxy does not connect to the name server {server}: allow CONNECT to \
                         port {port} there (squid: SSL_ports, tinyproxy: ConnectPort), or name a \
                         server over HTTPS, dns.trusted = [\"{}\"] ({error})",
                        known_servers::EXAMPLE
                    );
                }
                // The way over HTTPS is one way too: the one that is written is tried again.
                server = written.clone();
                refuse_all(first, &mut queue, &error);
            }
        }
    }
}

/// Whether the proxies work, and one of them does not allow this server.
fn is_refused(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(dispatch::Error::Refused(_)))
}

/// What waited for the dial shares its failure; the next query dials again.
fn refuse_all(
    first: UpstreamRequest,
    queue: &mut mpsc::Receiver<UpstreamRequest>,
    error: &io::Error,
) {
    let mut next = Some(first);
    while let Some(request) = next {
        let cause = io::Error::new(error.kind(), error.to_string());
        // A query that was given up needs no reply.
        let _ = request.reply.send(Err(Unanswered::Failed(cause)));
        next = queue.try_recv().ok();
    }
}

async fn dial(
    server: &NameServer,
    dialler: &Dialler,
) -> io::Result<(Box<dyn Stream>, Option<Arc<Upstream>>)> {
    let dispatcher = dialler.current.load();
    let target = Target::addr(server.address);
    let connected = if dialler.through_proxy {
        dispatcher.connect_proxied(&target).await
    } else {
        dispatcher.connect_direct(&target).await
    };
    let Connected { link, via } = connected.map_err(io::Error::other)?;
    let stream = link.into_stream();
    let stream = match &server.transport {
        Transport::Plain | Transport::Tcp => return Ok((stream, via)),
        Transport::Tls { name } => dialler.tls.connect(name, b"dot", stream).await,
        Transport::Https { name, .. } => dialler.tls.connect(name, b"h2", stream).await,
    };
    if let Some(via) = &via {
        // Of a handshake only its end is known: something was heard, or nothing was.
        let silent = stream.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        via.report(server.address, 1, u64::from(!silent));
    }
    Ok((stream?, via))
}

/// A proxy that closes in order has understood us: only silence is suspicious.
fn report(server: &NameServer, ended: &Ended, via: Option<Arc<Upstream>>) {
    debug!(%server, "the connection ended: {}", ended.cause);
    let was_closed = ended.cause.kind() == io::ErrorKind::UnexpectedEof;
    // TLS has been heard at its handshake.
    let is_bare = matches!(server.transport, Transport::Plain | Transport::Tcp);
    if let Some(via) = via
        && (ended.received > 0 || is_bare && !was_closed)
    {
        via.report(server.address, ended.sent, ended.received);
    }
}

async fn serve(
    stream: Box<dyn Stream>,
    first: UpstreamRequest,
    queue: &mut mpsc::Receiver<UpstreamRequest>,
) -> Ended {
    let mut connection = StreamConnection {
        stream,
        incoming: Incoming::default(),
        in_flight: HashMap::new(),
        asked_for_life: false,
        useful: false,
        sent: 0,
        received: 0,
    };
    let cause = connection.run(first, queue).await;
    for (_, request) in connection.in_flight {
        let _ = request.reply.send(Err(Unanswered::Ended { useful: connection.useful }));
    }
    Ended { cause, sent: connection.sent, received: connection.received }
}

struct StreamConnection {
    stream: Box<dyn Stream>,
    incoming: Incoming,
    in_flight: HashMap<u16, UpstreamRequest>,
    /// It was asked whether it lives, and has sent nothing since.
    asked_for_life: bool,
    /// It has answered a query.
    useful: bool,
    /// Bytes, to tell a silent proxy.
    sent: u64,
    received: u64,
}

impl StreamConnection {
    /// Runs until the connection is of no more use, and says why.
    async fn run(
        &mut self,
        first: UpstreamRequest,
        queue: &mut mpsc::Receiver<UpstreamRequest>,
    ) -> io::Error {
        if let Err(error) = self.send(first).await {
            return error;
        }
        let mut last_word = Instant::now();
        loop {
            let patience = match (self.in_flight.is_empty(), self.asked_for_life) {
                (true, _) => IDLE,
                (false, false) => WORRY,
                (false, true) => STALL,
            };
            let quiet_until = last_word + patience;
            tokio::select! {
                biased;
                message = self.incoming.next(&mut self.stream) => match message {
                    Ok(Some(message)) => {
                        last_word = Instant::now();
                        self.asked_for_life = false;
                        self.received += message.len() as u64;
                        self.deliver(message);
                    }
                    Ok(None) => return closed(),
                    Err(error) => return error,
                },
                request = queue.recv() => {
                    let Some(request) = request else { return closed() };
                    if self.in_flight.is_empty() {
                        last_word = Instant::now();
                    }
                    if let Err(error) = self.send(request).await {
                        return error;
                    }
                }
                () = sleep_until(quiet_until) => {
                    let was_waiting = !self.in_flight.is_empty();
                    self.forget_abandoned();
                    match (was_waiting, self.in_flight.is_empty(), self.asked_for_life) {
                        (true, true, _) => last_word = Instant::now(),
                        (true, false, false) => {
                            self.asked_for_life = true;
                            if let Err(error) = self.write(&upstream_query(&life(), 0)).await {
                                return error;
                            }
                        }
                        _ => return io::ErrorKind::TimedOut.into(),
                    }
                }
            }
        }
    }

    async fn send(&mut self, request: UpstreamRequest) -> io::Result<()> {
        if request.reply.is_closed() {
            return Ok(());
        }
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            self.forget_abandoned();
        }
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            // Dropping it tells the asker.
            return Ok(());
        }
        let id = loop {
            let id = random_id()?;
            // 0 is that of the question for life.
            if id != 0 && !self.in_flight.contains_key(&id) {
                break id;
            }
        };
        let message = upstream_query(&request.query, id);
        self.in_flight.insert(id, request);
        self.write(&message).await
    }

    async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let framed = frame(message);
        self.sent += framed.len() as u64;
        let sending = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        timeout(STALL, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A query that was given up does not need the connection.
    fn forget_abandoned(&mut self) {
        self.in_flight.retain(|_, request| !request.reply.is_closed());
    }

    /// A message that answers no question of ours is dropped.
    fn deliver(&mut self, message: Vec<u8>) {
        let Some(id) = u16_at(&message, 0) else { return };
        let Some(request) = self.in_flight.get(&id) else { return };
        let answer = match Reply::parse(&message) {
            Some(reply) if reply.matches(&request.query, id) => Some(message),
            Some(_) => None,
            None => completed(&message, &request.query, id),
        };
        let Some(answer) = answer else { return };
        self.useful = true;
        if let Some(request) = self.in_flight.remove(&id) {
            let _ = request.reply.send(Ok(answer));
        }
    }
}

/// The name servers of the root: what a resolver knows at any moment.
fn life() -> Query {
    Query::new(&Name::root(), rr::NS)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed")
}
