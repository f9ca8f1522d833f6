//! One question to one server over UDP.

use super::{random_id, tcp};
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, upstream_query};
use crate::net::Outbound;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

/// Sockets at one moment: each question has its own, for a random port of its own. Descriptors are
/// set aside for them (`daemon::limits`).
const MOST_SOCKETS: usize = 512;
static SOCKETS: Semaphore = Semaphore::const_new(MOST_SOCKETS);

/// Datagrams get lost: the same question again after this, from the same socket.
const RESEND: Duration = Duration::from_secs(1);

/// Larger replies than we asked for come from servers that do not care.
const LARGEST_REPLY: usize = 4096;

/// Asks until the server replies or `patience` ends. A truncated reply is fetched again over TCP
/// within the same time; if that fails the truncated one is returned.
///
/// # Errors
/// `TimedOut`, `ResourceBusy` for too many questions at once, ECONNREFUSED (the server's host says that nobody listens), or no socket.
pub(in crate::dns) async fn ask(
    outbound: &Outbound,
    server: SocketAddr,
    query: &Query,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let socket = outbound.udp(server).await?;
    ask_over(&socket, outbound, server, query, patience).await
}

/// The same over a socket that is connected to the server already.
///
/// # Errors
/// As above.
pub(in crate::dns) async fn ask_over(
    socket: &UdpSocket,
    outbound: &Outbound,
    server: SocketAddr,
    query: &Query,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let _socket = SOCKETS.try_acquire().map_err(|_| io::ErrorKind::ResourceBusy)?;
    let end = Instant::now() + patience;
    let id = random_id()?;
    let message = upstream_query(query, id);
    let reply = loop {
        socket.send(&message).await?;
        let until = end.min(Instant::now() + RESEND);
        match timeout_at(until, receive(socket, query, id)).await {
            Ok(reply) => break reply?,
            Err(_) if until < end => {}
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    };
    if !Reply::parse(&reply).is_some_and(|reply| reply.truncated()) {
        return Ok(reply);
    }
    let left = end.saturating_duration_since(Instant::now());
    match timeout(left, tcp::ask(outbound, server, query)).await {
        Ok(Ok(whole)) => Ok(whole),
        _ => Ok(reply),
    }
}

/// The first datagram that is a reply to the question; others are somebody's guesses.
async fn receive(socket: &UdpSocket, query: &Query, id: u16) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; LARGEST_REPLY];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let message = &buffer[..length];
        if Reply::parse(message).is_some_and(|reply| reply.matches(query, id)) {
            return Ok(message.to_vec());
        }
    }
}
