//! DNS over HTTPS (RFC 8484) over a connection that stands: each query is a stream of HTTP/2.
//!
//! A query has no time of its own here: it lasts until its answer, or until it is given up.
//! So one name that the server is slow at ends nothing but itself, and neither does one that the
//! server refuses. Whether the connection lives is asked of the connection: one that has been quiet
//! for a while gets a PING (RFC 9113, 6.7). When it dies, what it leaves unanswered is asked again
//! on the next one.

use super::request::{Ended, STALL, Unanswered, UpstreamRequest, WORRY};
use crate::clock;
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, TCP_SIZE, upstream_query};
use crate::proxy::Stream;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Servers close what is unused about then.
const IDLE: Duration = Duration::from_secs(60);

const MESSAGE: &str = "application/dns-message";

/// Serves requests until the connection is of no more use. Those that are unanswered then are
/// handed back.
pub(super) async fn serve(
    url: &str,
    stream: Box<dyn Stream>,
    first: UpstreamRequest,
    queue: &mut mpsc::Receiver<UpstreamRequest>,
) -> Ended {
    let (sent, received) = (Cell::new(0), Rc::new(Cell::new(0)));
    let ended = |cause| Ended { cause, sent: sent.get(), received: received.get() };
    let (client, mut connection) = match h2::client::handshake(stream).await {
        Ok(parts) => parts,
        Err(error) => return ended(io::Error::other(error)),
    };
    let mut liveness = Liveness::new(connection.ping_pong());
    let mut driving = JoinSet::new();
    driving.spawn_local(connection);
    let mut asking = JoinSet::new();
    let mut next = Some(first);
    loop {
        if let Some(request) = next.take() {
            if asking.is_empty() {
                liveness.heard();
            }
            sent.set(sent.get() + 1);
            let asked = HttpRequest { request: Some(request), received: Rc::clone(&received) };
            asking.spawn_local(answer(client.clone(), url.to_owned(), asked));
        }
        tokio::select! {
            Some(answered) = asking.join_next() => match answered {
                Ok(RequestEnd::Heard) => liveness.heard(),
                Ok(RequestEnd::Abandoned) => {}
                Ok(RequestEnd::Leaving) => {
                    // The server takes no more queries and answers those that it has (RFC 9113,
                    // 6.8).
                    tokio::task::spawn_local(finish(asking, driving));
                    return ended(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(RequestEnd::Broken(cause)) => return ended(cause),
                Err(died) => return ended(io::Error::other(died)),
            },
            request = queue.recv() => match request {
                Some(request) => next = Some(request),
                None => return ended(io::ErrorKind::UnexpectedEof.into()),
            },
            _ = driving.join_next() => return ended(io::ErrorKind::UnexpectedEof.into()),
            dead = liveness.watch(), if !asking.is_empty() => return ended(dead),
            () = sleep(IDLE), if asking.is_empty() => {
                return ended(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Keeps a connection that takes no more queries for those that it has. They end when they are
/// given up, at the latest.
async fn finish<T: 'static>(mut asking: JoinSet<RequestEnd>, _driving: JoinSet<T>) {
    while asking.join_next().await.is_some() {}
}

/// Whether the other end lives.
struct Liveness {
    last_word: Instant,
    pings: Option<PingPong>,
    pinging: JoinSet<Result<PingPong, h2::Error>>,
}

impl Liveness {
    fn new(pings: Option<PingPong>) -> Self {
        Liveness { last_word: Instant::now(), pings, pinging: JoinSet::new() }
    }

    fn heard(&mut self) {
        self.last_word = Instant::now();
    }

    /// Waits for its end; to be asked while queries wait for answers. Dropping the future loses
    /// nothing.
    async fn watch(&mut self) -> io::Error {
        loop {
            tokio::select! {
                Some(ponged) = self.pinging.join_next() => {
                    // One that fails is the last: the connection is ending.
                    if let Ok(Ok(pings)) = ponged {
                        self.pings = Some(pings);
                        self.heard();
                    }
                }
                () = sleep_until(self.last_word + WORRY), if self.pings.is_some() => {
                    if let Some(mut pings) = self.pings.take() {
                        self.pinging.spawn_local(async move {
                            pings.ping(Ping::opaque()).await.map(|_pong| pings)
                        });
                    }
                }
                () = sleep_until(self.last_word + STALL) => {
                    return io::ErrorKind::TimedOut.into();
                }
            }
        }
    }
}

/// A request on its way. Dropped without an answer, by a connection that dies, it is handed back.
struct HttpRequest {
    request: Option<UpstreamRequest>,
    /// Bytes of answers on this connection.
    received: Rc<Cell<u64>>,
}

impl HttpRequest {
    fn reply(&mut self, reply: Result<Vec<u8>, Unanswered>) {
        if let Some(request) = self.request.take() {
            // A query that was given up needs no reply.
            let _ = request.reply.send(reply);
        }
    }

    fn hand_back(&mut self) {
        let useful = self.received.get() > 0;
        self.reply(Err(Unanswered::Ended { useful }));
    }
}

impl Drop for HttpRequest {
    fn drop(&mut self) {
        self.hand_back();
    }
}

/// What a request tells of its connection.
enum RequestEnd {
    /// The server spoke, well or not.
    Heard,
    /// The query was given up.
    Abandoned,
    /// The server takes no more requests on it.
    Leaving,
    /// It is of no more use.
    Broken(io::Error),
}

/// Why there is no answer.
enum RequestError {
    /// What the server said to this question makes no sense.
    Senseless(io::Error),
    /// Of the stream, or of the whole connection.
    Http(h2::Error),
}

impl From<h2::Error> for RequestError {
    fn from(error: h2::Error) -> Self {
        RequestError::Http(error)
    }
}

async fn answer(client: SendRequest<Bytes>, url: String, mut asked: HttpRequest) -> RequestEnd {
    let Some(UpstreamRequest { query, reply }) = &mut asked.request else {
        return RequestEnd::Abandoned;
    };
    let answered = tokio::select! {
        answered = ask(client, &url, query) => answered,
        // Its stream is reset, no other.
        () = reply.closed() => return RequestEnd::Abandoned,
    };
    match answered {
        Ok(message) => {
            asked.received.set(asked.received.get() + message.len() as u64);
            asked.reply(Ok(message));
            RequestEnd::Heard
        }
        Err(RequestError::Senseless(error)) => {
            asked.reply(Err(Unanswered::Failed(error)));
            RequestEnd::Heard
        }
        // It was not worked on, and may be repeated (RFC 9113, 8.7).
        Err(RequestError::Http(error)) if error.reason() == Some(Reason::REFUSED_STREAM) => {
            asked.hand_back();
            RequestEnd::Heard
        }
        Err(RequestError::Http(error)) if error.is_go_away() || error.is_io() => {
            asked.hand_back();
            match error.reason() {
                Some(Reason::NO_ERROR) if error.is_remote() => RequestEnd::Leaving,
                _ => RequestEnd::Broken(io::Error::other(error)),
            }
        }
        Err(RequestError::Http(error)) => {
            asked.reply(Err(Unanswered::Failed(io::Error::other(error))));
            RequestEnd::Heard
        }
    }
}

async fn ask(
    client: SendRequest<Bytes>,
    url: &str,
    query: &Query,
) -> Result<Vec<u8>, RequestError> {
    // 4.1: an id of 0 lets caches on the way work.
    let message = upstream_query(query, 0);
    let post = http::Request::post(url)
        .header("content-type", MESSAGE)
        .header("accept", MESSAGE)
        .header("content-length", message.len())
        .body(())
        .map_err(|error| senseless(error.to_string()))?;
    let mut client = client.ready().await?;
    let (response, mut body) = client.send_request(post, false)?;
    body.send_data(message.into(), true)?;
    let response = response.await?;
    if let Some(date) = response.headers().get(http::header::DATE) {
        clock::heard(date.as_bytes());
    }
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

async fn collect(mut body: h2::RecvStream) -> Result<Vec<u8>, RequestError> {
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
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
        answer = ask(client, url, query) => answer.map_err(|failure| match failure {
            RequestError::Senseless(error) => error,
            RequestError::Http(error) => io::Error::other(error),
        }),
        ended = connection => {
            Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other))
        }
    }
}

fn senseless(what: String) -> RequestError {
    RequestError::Senseless(io::Error::new(io::ErrorKind::InvalidData, what))
}
