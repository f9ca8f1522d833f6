//! Clients over TCP (RFC 7766), and those of the household over TLS (RFC 7858) and HTTPS.

use super::Door;
use super::guest::{Guest, unwelcome};
#[cfg(feature = "tls")]
use super::https;
#[cfg(feature = "tls")]
use super::room::ENCRYPTED_IDLE;
use super::room::{MOST_PIPELINED, Room};
use crate::dns::client_query::{Came, ClientQuery};
use crate::dns::horizon;
use crate::dns::present::Present;
use crate::dns::upstream::tcp::{Incoming, frame};
use crate::dns::wire::{Query, TCP_SIZE};
use crate::net::listen::Errors;
use crate::net::origin::{self, OrigDst};
use crate::target::canonical;
use crate::task;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::debug;

/// A client that says nothing for so long has left (RFC 7766, 6.2.3: a few seconds will do).
const IDLE: Duration = Duration::from_secs(20);

/// A client on a slow phone takes a second or two.
#[cfg(feature = "tls")]
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Accepts clients and serves them.
///
/// # Errors
/// The listener is broken.
pub(super) async fn serve_all(
    present: Rc<Present>,
    listener: TcpListener,
    room: Rc<Room>,
    door: Door,
) -> io::Result<()> {
    let mut errors = Errors::default();
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                errors.over();
                let Some(place) = room.enter(client).await? else {
                    debug!(%client, "a client of the resolver has its share of the connections");
                    continue;
                };
                let present = Rc::clone(&present);
                task::spawn_local(async move {
                    let guest = Guest { present, client, at: None, place };
                    if let Err(error) = guest.enter(stream, door).await {
                        debug!(%client, "a client of the resolver broke off: {error}");
                    }
                });
            }
            Err(error) => {
                errors.after(error, "cannot accept a query over TCP", String::new).await?
            }
        }
    }
}

impl Guest {
    async fn enter(mut self, stream: TcpStream, door: Door) -> io::Result<()> {
        stream.set_nodelay(true)?;
        if door == Door::Captured {
            let asked = asked_server(&stream, self.client, &self.present);
            let came = asked.map_or(Came::ToUs, Came::Redirected);
            let (source, sink) = stream.into_split();
            return serve(self, source, sink, came, IDLE).await;
        }
        self.at = Some(canonical(stream.local_addr()?).ip());
        if !self.is_welcome() {
            return Err(unwelcome());
        }
        if matches!(door, Door::Tls | Door::Https) {
            return self.enter_encrypted(stream, door).await;
        }
        let (source, sink) = stream.into_split();
        serve(self, source, sink, Came::ToUs, IDLE).await
    }

    #[cfg(not(feature = "tls"))]
    async fn enter_encrypted(self, _stream: TcpStream, _door: Door) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build of snet speaks no TLS"))
    }

    #[cfg(feature = "tls")]
    async fn enter_encrypted(self, stream: TcpStream, door: Door) -> io::Result<()> {
        let identity = self.present.load().policy.settings.household.identity.clone();
        let identity = identity.ok_or_else(|| io::Error::other("no certificate"))?;
        if door == Door::Https {
            let shaking_hands = timeout(HANDSHAKE, identity.accept_https(stream));
            let stream = shaking_hands.await.map_err(io::Error::other)??;
            return https::serve(self, stream).await;
        }
        let shaking_hands = timeout(HANDSHAKE, identity.accept_tls(stream));
        let stream = shaking_hands.await.map_err(io::Error::other)??;
        let (source, sink) = tokio::io::split(stream);
        serve(self, source, sink, Came::ToUs, ENCRYPTED_IDLE).await
    }
}

/// Queries are answered as their answers come, in any order (RFC 7766, 7).
async fn serve(
    guest: Guest,
    mut source: impl AsyncRead + Unpin,
    sink: impl AsyncWrite + Unpin + 'static,
    came: Came,
    idle: Duration,
) -> io::Result<()> {
    let (answers, queue) = mpsc::channel(MOST_PIPELINED);
    let writing = task::spawn_local(write(sink, queue));
    let pipelined = Arc::new(Semaphore::new(MOST_PIPELINED));
    let mut incoming = Incoming::default();
    let all = u32::try_from(MOST_PIPELINED).unwrap_or(u32::MAX);
    loop {
        let asked_to_leave = async {
            // A client that waits for an answer is not idle.
            let _ = pipelined.acquire_many(all).await.map(drop);
            guest.place.is_wanted().await;
        };
        let message = tokio::select! {
            biased;
            message = timeout(idle, incoming.next(&mut source)) => message,
            () = asked_to_leave => break,
            // It does not read, or has left: nothing more is resolved for it.
            () = answers.closed() => break,
        };
        let Ok(message) = message else { break };
        let Some(message) = message? else { break };
        // A reload may have taken it out of household.clients.
        if !guest.is_welcome() {
            return Err(unwelcome());
        }
        let query = match Query::parse(&message) {
            Ok(query) => query,
            Err(malformed) => {
                let mut answer = Vec::new();
                // Nothing that follows bytes without an answer is worth reading.
                if !malformed.write_answer(&mut answer) {
                    break;
                }
                if answers.send(answer).await.is_err() {
                    break;
                }
                continue;
            }
        };
        let slot = Arc::clone(&pipelined).acquire_owned().await.map_err(io::Error::other)?;
        let (resolver, client, answers) = (guest.present.load(), guest.client, answers.clone());
        task::spawn_local(async move {
            let at = Instant::now();
            let asked = ClientQuery { query: &query, limit: TCP_SIZE, client, came, at };
            let mut answer = Vec::new();
            if !resolver.answer_at_once(&asked, &mut answer) {
                answer = resolver.answer(&asked).await;
            }
            // The client may have left.
            let _ = answers.send(answer).await;
            drop(slot);
        });
    }
    // The writer ends when the last answer is sent.
    drop(answers);
    writing.await.map_err(io::Error::other)?
}

/// The name server that was dialled, if the connection was redirected and that matters.
fn asked_server(stream: &TcpStream, client: SocketAddr, present: &Present) -> Option<SocketAddr> {
    if !present.load().knows_asked_servers() {
        return None;
    }
    let OrigDst(server) = origin::original_dst(stream, client).ok()?;
    let local = canonical(stream.local_addr().ok()?);
    let is_redirected = (server.ip(), server.port()) != (local.ip(), local.port());
    is_redirected.then(|| horizon::on_link_of(server, local)).flatten()
}

/// Serves a client of the household that asks from there to here, over `stream`, as if it were
/// accepted, framed or over HTTP. Its clock can be that of a test.
#[cfg(test)]
pub(in crate::dns) async fn serve_one(
    present: Rc<Present>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    (client, own): (SocketAddr, std::net::IpAddr),
    is_http: bool,
) -> io::Result<()> {
    let room = Room::new(&crate::net::allowance::Allowance::default());
    let place = room.enter(client).await?.ok_or(io::ErrorKind::ResourceBusy)?;
    let guest = Guest { present, client, at: Some(own), place };
    #[cfg(not(feature = "tls"))]
    assert!(!is_http, "there is none");
    #[cfg(feature = "tls")]
    if is_http {
        return https::serve(guest, stream).await;
    }
    let (source, sink) = tokio::io::split(stream);
    serve(guest, source, sink, Came::ToUs, IDLE).await
}

async fn write(
    mut sink: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(answer) = queue.recv().await {
        let writing = async {
            sink.write_all(&frame(&answer)).await?;
            sink.flush().await
        };
        timeout(IDLE, writing).await.map_err(io::Error::other)??;
    }
    // Over TLS the end has to be said.
    timeout(IDLE, sink.shutdown()).await.map_err(io::Error::other)?
}
