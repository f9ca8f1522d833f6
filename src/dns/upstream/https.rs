//! DNS over HTTPS (RFC 8484) over a connection that stands: each query is a stream of HTTP/2.
//!
//! A query has no time of its own here: it lasts until its answer, or until it is given up.
//! So one name that the server is slow at ends nothing but itself, and neither does one that the
//! server refuses. Whether the connection lives is asked of the connection: one that has been quiet
//! for a while gets a PING (RFC 9113, 6.7). When it dies, what it leaves unanswered is asked again
//! on the next one.

use super::request::{ConnectionState, Ended, Unanswered, UpstreamRequest, WeakRequest};
use super::trouble::Trouble;
use crate::clock;
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, TCP_SIZE, upstream_query};
use crate::proxy::Stream;
use crate::task::JoinSet;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason};
use http::StatusCode;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// Servers close what is unused about then.
const IDLE: Duration = Duration::from_secs(60);

const MESSAGE: &str = "application/dns-message";

/// A query is refused so often at most: other streams end meanwhile.
const MOST_REFUSALS: u32 = 6;

/// Servers behind a gateway say 502 or 503 now and then. So often it is asked again.
const MOST_FAILURES: u32 = 3;

/// Hears what is wrong with the server.
pub(super) type TroubleReport = Rc<dyn Fn(&Trouble)>;

/// Serves requests until the connection is of no more use, or it has answered them and no more will
/// come. Those that are unanswered then are handed back.
pub(super) async fn serve(
    url: &str,
    stream: Box<dyn Stream>,
    queue: &mut mpsc::UnboundedReceiver<UpstreamRequest>,
    state: &ConnectionState,
    report: &TroubleReport,
) -> Ended {
    let account = Rc::new(HttpAccount::default());
    let (client, mut connection) = match h2::client::handshake(stream).await {
        Ok(parts) => parts,
        Err(error) => return account.ended(io::Error::other(error)),
    };
    let mut liveness = Liveness::new(connection.ping_pong(), state);
    let mut driving = JoinSet::new();
    driving.spawn_local(connection);
    let mut asking: JoinSet<RequestEnd> = JoinSet::new();
    let mut waiting: Vec<WeakRequest> = Vec::new();
    let mut is_last = false;
    let cause = loop {
        if is_last && asking.is_empty() {
            break io::ErrorKind::UnexpectedEof.into();
        }
        tokio::select! {
            Some(answered) = asking.join_next() => match answered {
                Ok(RequestEnd::Heard) => liveness.heard(),
                Ok(RequestEnd::Abandoned) => {}
                Ok(RequestEnd::Leaving) => {
                    // The server takes no more queries and answers those that it has (RFC 9113,
                    // 6.8).
                    state.shut();
                    queue.close();
                    is_last = true;
                    while let Ok(request) = queue.try_recv() {
                        request.fail(Unanswered::Ended { useful: true });
                    }
                }
                Ok(RequestEnd::Broken(cause)) => break cause,
                Err(died) => break io::Error::other(died),
            },
            request = queue.recv(), if !is_last => match request {
                Some(request) => {
                    if asking.is_empty() {
                        liveness.heard();
                    }
                    waiting.retain(|known| known.waiting().is_some());
                    waiting.push(request.downgrade());
                    account.sent.set(account.sent.get() + 1);
                    let asked =
                        HttpRequest { request: Some(request), account: Rc::clone(&account) };
                    let (client, url, state) = (client.clone(), url.to_owned(), state.clone());
                    let report = Rc::clone(report);
                    asking.spawn_local(answer(client, url, asked, state, report));
                }
                None => is_last = true,
            },
            _ = driving.join_next() => {
                // What the server has answered before is here; the rest is handed back.
                while asking.join_next().await.is_some() {}
                break io::ErrorKind::UnexpectedEof.into();
            }
            next = liveness.watch(), if !asking.is_empty() || liveness.is_suspect => match next {
                HttpSilence::Suspicious => {
                    state.suspect(waiting.iter().filter_map(WeakRequest::waiting));
                }
                HttpSilence::Dead => break io::ErrorKind::TimedOut.into(),
            },
            () = sleep(IDLE), if asking.is_empty() && !liveness.is_suspect => {
                break io::ErrorKind::UnexpectedEof.into();
            }
        }
    };
    asking.shutdown().await;
    account.ended(cause)
}

/// What a connection carried.
#[derive(Debug, Default)]
struct HttpAccount {
    sent: Cell<u64>,
    /// Bytes of answers.
    received: Cell<u64>,
    answered: Cell<u32>,
    left: Cell<u32>,
}

impl HttpAccount {
    fn ended(&self, cause: io::Error) -> Ended {
        let HttpAccount { sent, received, answered, left } = self;
        let (sent, received) = (sent.get(), received.get());
        Ended { cause, sent, received, answered: answered.get(), left: left.get() }
    }
}

/// Whether the other end lives.
struct Liveness<'a> {
    state: &'a ConnectionState,
    last_word: Instant,
    is_suspect: bool,
    pings: Option<PingPong>,
    pinging: JoinSet<Result<PingPong, h2::Error>>,
}

/// What is to be thought of a connection over which nothing comes.
enum HttpSilence {
    Suspicious,
    Dead,
}

impl<'a> Liveness<'a> {
    fn new(pings: Option<PingPong>, state: &'a ConnectionState) -> Self {
        let (last_word, pinging) = (Instant::now(), JoinSet::new());
        Liveness { state, last_word, is_suspect: false, pings, pinging }
    }

    fn heard(&mut self) {
        self.last_word = Instant::now();
        if std::mem::take(&mut self.is_suspect) {
            self.state.open();
        }
    }

    /// Waits for silence; to be asked while queries wait for answers. Dropping the future loses
    /// nothing.
    async fn watch(&mut self) -> HttpSilence {
        loop {
            let patience = if self.is_suspect { self.state.death() } else { self.state.stall() };
            tokio::select! {
                Some(ponged) = self.pinging.join_next() => {
                    // One that fails is the last: the connection is ending.
                    if let Ok(Ok(pings)) = ponged {
                        self.pings = Some(pings);
                        self.heard();
                    }
                }
                () = sleep_until(self.last_word + self.state.worry()), if self.pings.is_some() => {
                    if let Some(mut pings) = self.pings.take() {
                        self.pinging.spawn_local(async move {
                            pings.ping(Ping::opaque()).await.map(|_pong| pings)
                        });
                    }
                }
                () = sleep_until(self.last_word + patience) => {
                    if std::mem::replace(&mut self.is_suspect, true) {
                        return HttpSilence::Dead;
                    }
                    return HttpSilence::Suspicious;
                }
            }
        }
    }
}

/// A request on its way. Dropped without an answer, by a connection that dies, it is handed back.
struct HttpRequest {
    request: Option<UpstreamRequest>,
    account: Rc<HttpAccount>,
}

impl HttpRequest {
    fn fail(&mut self, why: Unanswered) {
        if let Some(request) = self.request.take() {
            request.fail(why);
        }
    }

    /// `refused`: the server says that it has not worked on it.
    fn hand_back(&mut self, refused: bool) {
        if self.request.as_ref().is_some_and(|request| !request.is_over()) {
            self.account.left.set(self.account.left.get() + 1);
        }
        let useful = refused || self.account.answered.get() > 0;
        self.fail(Unanswered::Ended { useful });
    }
}

impl Drop for HttpRequest {
    fn drop(&mut self) {
        self.hand_back(false);
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
    Senseless(String),
    /// It answered something else over HTTP.
    Status(StatusCode),
    /// Of the stream, or of the whole connection.
    Http(h2::Error),
}

impl From<h2::Error> for RequestError {
    fn from(error: h2::Error) -> Self {
        RequestError::Http(error)
    }
}

async fn answer(
    client: SendRequest<Bytes>,
    url: String,
    mut asked: HttpRequest,
    state: ConnectionState,
    report: TroubleReport,
) -> RequestEnd {
    let Some(request) = &asked.request else { return RequestEnd::Abandoned };
    let began = Instant::now();
    let answered = tokio::select! {
        answered = ask(client, &url, request.query()) => answered,
        // Its stream is reset, no other.
        () = request.over() => return RequestEnd::Abandoned,
    };
    match answered {
        Ok(message) => {
            let account = &asked.account;
            account.received.set(account.received.get() + message.len() as u64);
            account.answered.set(account.answered.get().saturating_add(1));
            state.took(began.elapsed());
            if let Some(request) = asked.request.take() {
                request.answer(message);
            }
            RequestEnd::Heard
        }
        Err(RequestError::Senseless(what)) => {
            report(&Trouble::senseless(&what));
            asked.fail(Unanswered::Failed(invalid(what)));
            RequestEnd::Heard
        }
        Err(RequestError::Status(status)) => {
            let trouble = Trouble::status(status);
            report(&trouble);
            let cause = invalid(trouble.text);
            asked.fail(match status.is_server_error() {
                true => Unanswered::Busy { cause, most: MOST_FAILURES },
                false => Unanswered::Failed(cause),
            });
            RequestEnd::Heard
        }
        // It was not worked on, and may be repeated (RFC 9113, 8.7).
        Err(RequestError::Http(error)) if error.reason() == Some(Reason::REFUSED_STREAM) => {
            let cause = io::Error::other(error);
            asked.fail(Unanswered::Busy { cause, most: MOST_REFUSALS });
            RequestEnd::Heard
        }
        Err(RequestError::Http(error)) if error.is_go_away() || error.is_io() => {
            match error.reason() {
                Some(Reason::NO_ERROR) if error.is_remote() => {
                    asked.hand_back(true);
                    RequestEnd::Leaving
                }
                _ => {
                    asked.hand_back(false);
                    RequestEnd::Broken(io::Error::other(error))
                }
            }
        }
        Err(RequestError::Http(error)) => {
            asked.fail(Unanswered::Failed(io::Error::other(error)));
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
    if response.status() != StatusCode::OK {
        return Err(RequestError::Status(response.status()));
    }
    let message = collect(response.into_body()).await?;
    if Reply::parse(&message).is_some_and(|reply| reply.matches(query, 0)) {
        Ok(message)
    } else {
        Err(senseless("it is no answer to the question"))
    }
}

async fn collect(mut body: h2::RecvStream) -> Result<Vec<u8>, RequestError> {
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
        if message.len() > TCP_SIZE {
            return Err(senseless("the answer is too long"));
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
            RequestError::Senseless(what) => invalid(what),
            RequestError::Status(status) => invalid(Trouble::status(status).text),
            RequestError::Http(error) => io::Error::other(error),
        }),
        ended = connection => {
            Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other))
        }
    }
}

fn senseless(what: impl Into<String>) -> RequestError {
    RequestError::Senseless(what.into())
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
