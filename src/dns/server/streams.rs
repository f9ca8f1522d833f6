//! Clients over TCP (RFC 7766).

use crate::dns::client_query::{Came, ClientQuery};
use crate::dns::horizon;
use crate::dns::present::Present;
use crate::dns::upstream::tcp::{Incoming, frame};
use crate::dns::wire::{Query, TCP_SIZE};
use crate::net::allowance::Allowance;
use crate::net::listen::Errors;
use crate::net::origin::{self, OrigDst};
use crate::target::canonical;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tracing::debug;

/// A client that says nothing for so long has left (RFC 7766, 6.2.3: a few seconds will do).
const IDLE: Duration = Duration::from_secs(20);

/// Unanswered queries of one TCP client; beyond, it is not read.
const MOST_PIPELINED: usize = 64;

/// Accepts clients and serves them.
///
/// # Errors
/// The listener is broken.
pub(super) async fn serve_all(
    present: Rc<Present>,
    listener: TcpListener,
    room: Rc<Room>,
) -> io::Result<()> {
    let mut errors = Errors::default();
    loop {
        let permit = room.enter().await?;
        match listener.accept().await {
            Ok((stream, client)) => {
                errors.over();
                let serving = serve(Rc::clone(&present), stream, client, Rc::clone(&room), permit);
                tokio::task::spawn_local(async move {
                    if let Err(error) = serving.await {
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

/// Where TCP clients are. When it is full the one that has been idle for longest has to leave
/// (RFC 7766, 6.2.3): idle clients must not keep others out.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    crowded: Notify,
}

impl Room {
    pub(super) fn new(allowance: &Allowance) -> Rc<Self> {
        Rc::new(Room { places: Arc::clone(&allowance.clients), crowded: Notify::new() })
    }

    async fn enter(&self) -> io::Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        // The first of those who wait, which is the order in which they became idle.
        self.crowded.notify_one();
        Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)
    }
}

/// Serves one TCP client: queries are answered as their answers come, in any order (RFC 7766, 7).
async fn serve(
    present: Rc<Present>,
    stream: TcpStream,
    client: SocketAddr,
    room: Rc<Room>,
    _permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let came = Came::Stream(asked_server(&stream, client, &present));
    let (mut source, sink) = stream.into_split();
    let (answers, queue) = mpsc::channel(MOST_PIPELINED);
    let writing = tokio::task::spawn_local(write(sink, queue));
    let pipelined = Arc::new(Semaphore::new(MOST_PIPELINED));
    let mut incoming = Incoming::default();
    let all = u32::try_from(MOST_PIPELINED).unwrap_or(u32::MAX);
    loop {
        let asked_to_leave = async {
            // A client that waits for an answer is not idle.
            let _ = pipelined.acquire_many(all).await.map(drop);
            room.crowded.notified().await;
        };
        let message = tokio::select! {
            biased;
            message = timeout(IDLE, incoming.next(&mut source)) => message,
            () = asked_to_leave => break,
        };
        let Ok(message) = message else { break };
        let Some(message) = message? else { break };
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
        let (resolver, answers) = (present.load(), answers.clone());
        tokio::task::spawn_local(async move {
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

async fn write(mut sink: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(answer) = queue.recv().await {
        timeout(IDLE, sink.write_all(&frame(&answer))).await.map_err(io::Error::other)??;
    }
    Ok(())
}
