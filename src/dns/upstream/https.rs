//! DNS over HTTPS (RFC 8484) over a connection that stands: each query is a stream of HTTP/2.

use super::kept::{Request, STALL, Unanswered};
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, TCP_SIZE, upstream_query};
use crate::proxy::Stream;
use bytes::Bytes;
use h2::client::SendRequest;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Servers close what is unused about then.
const IDLE: Duration = Duration::from_secs(60);

const MESSAGE: &str = "application/dns-message";

/// What a connection carried, and why it ended.
pub(super) struct Ended {
    pub(super) cause: io::Error,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Serves requests until the connection is of no more use. Requests that are unanswered then are
/// dropped, which tells whoever waits to ask once more.
pub(super) async fn serve(
    url: &str,
    stream: Box<dyn Stream>,
    first: Request,
    queue: &mut mpsc::Receiver<Request>,
) -> Ended {
    let mut ended = Ended { cause: io::ErrorKind::UnexpectedEof.into(), sent: 0, received: 0 };
    let (client, connection) = match h2::client::handshake(stream).await {
        Ok(parts) => parts,
        Err(error) => return Ended { cause: io::Error::other(error), ..ended },
    };
    let mut driving = JoinSet::new();
    driving.spawn_local(connection);
    let mut asking = JoinSet::new();
    let mut next = Some(first);
    loop {
        if let Some(request) = next.take() {
            ended.sent += 1;
            asking.spawn_local(answer(client.clone(), url.to_owned(), request));
        }
        tokio::select! {
            Some(answered) = asking.join_next() => match answered {
                Ok(Ok(length)) => ended.received += length,
                Ok(Err(cause)) => return Ended { cause, ..ended },
                Err(died) => return Ended { cause: io::Error::other(died), ..ended },
            },
            request = queue.recv() => match request {
                Some(request) => next = Some(request),
                None => return ended,
            },
            _ = driving.join_next() => return ended,
            () = sleep(IDLE), if asking.is_empty() => return ended,
        }
    }
}

/// Answers one request; returns the bytes received. An error is the connection's.
async fn answer(client: SendRequest<Bytes>, url: String, request: Request) -> io::Result<u64> {
    let asked = timeout(STALL, ask(client, &url, &request.query)).await;
    let (reply, outcome) = match asked {
        Ok(Ok(message)) => {
            let length = message.len() as u64;
            (Ok(message), Ok(length))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            // The server speaks, but not sensibly to this question.
            (Err(Unanswered::Failed(error)), Ok(0))
        }
        Ok(Err(error)) => (Err(Unanswered::Ended { useful: false }), Err(error)),
        Err(_) => (Err(Unanswered::Ended { useful: false }), Err(io::ErrorKind::TimedOut.into())),
    };
    // Whoever gave up waiting does not want to know.
    let _ = request.reply.send(reply);
    outcome
}

async fn ask(client: SendRequest<Bytes>, url: &str, query: &Query) -> io::Result<Vec<u8>> {
    // 4.1: an id of 0 lets caches on the way work.
    let message = upstream_query(query, 0);
    let post = http::Request::post(url)
        .header("content-type", MESSAGE)
        .header("accept", MESSAGE)
        .header("content-length", message.len())
        .body(())
        .map_err(io::Error::other)?;
    let mut client = client.ready().await.map_err(io::Error::other)?;
    let (response, mut body) = client.send_request(post, false).map_err(io::Error::other)?;
    body.send_data(message.into(), true).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    if response.status() != http::StatusCode::OK {
        return Err(senseless(format!("the server says {}", response.status())));
    }
    let message = collect(response.into_body()).await?;
    if Reply::parse(&message).is_some_and(|reply| reply.matches(query, 0)) {
        Ok(message)
    } else {
        Err(senseless("what the server says is no answer to the question".into()))
    }
}

async fn collect(mut body: h2::RecvStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(io::Error::other)?;
        body.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
        message.extend_from_slice(&piece);
        if message.len() > TCP_SIZE {
            return Err(senseless("the answer is too long".into()));
        }
    }
    Ok(message)
}

/// Asks one question over a connection of its own. Has no time-out.
///
/// # Errors
/// The connection ended first, or the answer makes no sense.
pub(super) async fn ask_once(
    url: &str,
    stream: Box<dyn Stream>,
    query: &Query,
) -> io::Result<Vec<u8>> {
    let (client, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::select! {
        answer = ask(client, url, query) => answer,
        ended = connection => {
            Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other))
        }
    }
}

fn senseless(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
