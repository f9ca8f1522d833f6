//! Clients over HTTPS (RFC 8484): `GET /dns-query?dns=...` and `POST /dns-query`, over HTTP/2 and
//! HTTP/1.1.

use super::guest::Guest;
use super::room::{ENCRYPTED_IDLE as IDLE, MOST_PIPELINED, RoomPlace};
use crate::dns::client_query::{Came, ClientQuery};
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, TCP_SIZE};
use crate::task;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where queries are asked; RFC 8484 leaves the path to the operator, and all the world has this.
const PATH: &str = "/dns-query";

const MESSAGE: &str = "application/dns-message";

/// A query has a few hundred bytes.
const LARGEST_QUERY: usize = 4096;

/// A body comes with its header. A connection that waits for one makes no room for others.
const BODY: Duration = Duration::from_secs(5);

/// All headers of a request together. Those of a browser have about 1 KiB.
const LARGEST_HEADER: u32 = 16 * 1024;

/// What a client may send before it is read: all its queries at a time in pieces.
const WINDOW: u32 = 64 * 1024;

/// How long the answers that are on their way may take once a connection has to end.
const LEAVING: Duration = Duration::from_secs(5);

/// Serves one client until it leaves, says nothing for a while, or has to make room for another.
///
/// # Errors
/// The connection broke.
pub(super) async fn serve(
    guest: Guest,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> io::Result<()> {
    let (guest, streams) = (Rc::new(guest), Rc::new(Streams::default()));
    let service = service_fn(|request| {
        let (guest, under_way) = (Rc::clone(&guest), UnderWay::new(&streams));
        async move {
            // A reload may have taken it out of household.clients.
            let response = match guest.is_welcome() {
                true => respond(&guest, request).await,
                false => {
                    under_way.0.have_to_end.set(true);
                    refusal(StatusCode::FORBIDDEN)
                }
            };
            drop(under_way);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(OwnThread);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(16 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(MOST_PIPELINED).unwrap_or(u32::MAX))
        .max_header_list_size(LARGEST_HEADER)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = &mut connection => return ended.map_err(io::Error::other),
        () = streams.rests(&guest.place) => connection.as_mut().graceful_shutdown(),
    }
    let ended = timeout(LEAVING, connection).await;
    ended.map_or(Ok(()), |ended| ended.map_err(io::Error::other))
}

/// Tasks stay on the resolver's thread.
#[derive(Clone, Copy)]
struct OwnThread;

impl<F: Future + 'static> Executor<F> for OwnThread {
    fn execute(&self, future: F) {
        task::spawn_local(async {
            future.await;
        });
    }
}

/// Whether anything is asked on a connection.
#[derive(Default)]
struct Streams {
    under_way: Cell<usize>,
    changed: Notify,
    /// The client is no longer welcome.
    have_to_end: Cell<bool>,
}

impl Streams {
    /// Until nothing was asked for a while, nothing is asked and another client needs the place, or
    /// the client is no longer welcome.
    async fn rests(&self, place: &RoomPlace) {
        loop {
            if self.have_to_end.get() {
                return;
            }
            let changed = self.changed.notified();
            if self.under_way.get() > 0 {
                changed.await;
                continue;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = place.is_wanted() => return,
                () = tokio::time::sleep(IDLE) => return,
            }
        }
    }
}

/// One query of a connection; counted down also when the client gives it up.
struct UnderWay(Rc<Streams>);

impl UnderWay {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.under_way.set(streams.under_way.get() + 1);
        streams.changed.notify_one();
        UnderWay(Rc::clone(streams))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.changed.notify_one();
    }
}

async fn respond(guest: &Guest, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let message = match message(request).await {
        Ok(message) => message,
        Err(status) => return refusal(status),
    };
    let mut answer = Vec::new();
    match Query::parse(&message) {
        Ok(query) => {
            let (resolver, client) = (guest.present.load(), guest.client);
            let (came, at) = (Came::ToUs, Instant::now());
            let asked = ClientQuery { query: &query, limit: TCP_SIZE, client, came, at };
            if !resolver.answer_at_once(&asked, &mut answer) {
                answer = resolver.answer(&asked).await;
            }
        }
        Err(malformed) => {
            if !malformed.write_answer(&mut answer) {
                return refusal(StatusCode::BAD_REQUEST);
            }
        }
    }
    // RFC 8484, 5.1: no cache on the way keeps it longer than its records live.
    let lifetime = Reply::parse(&answer).and_then(|reply| reply.lifetime());
    let mut response = Response::new(Full::new(Bytes::from(answer)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    let control = HeaderValue::try_from(format!("max-age={}", lifetime.unwrap_or(0)));
    if let Ok(control) = control {
        response.headers_mut().insert(CACHE_CONTROL, control);
    }
    response
}

/// The query in a request.
async fn message(request: Request<Incoming>) -> Result<Vec<u8>, StatusCode> {
    if request.uri().path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::GET => in_query(request.uri().query().unwrap_or_default()),
        Method::POST => {
            let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            if kind != Some(MESSAGE.as_bytes()) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            in_body(request.into_body()).await
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn in_body<B: Body<Error: Into<BoxError>>>(body: B) -> Result<Vec<u8>, StatusCode> {
    let collecting = pin!(Limited::new(body, LARGEST_QUERY).collect());
    match timeout(BODY, collecting).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// The value of `dns`, wherever it stands.
fn in_query(query: &str) -> Result<Vec<u8>, StatusCode> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("dns="));
    let value = value.ok_or(StatusCode::BAD_REQUEST)?;
    if value.len() > LARGEST_QUERY {
        return Err(StatusCode::URI_TOO_LONG);
    }
    // RFC 8484, 6 wants no padding; some programs send it.
    let bare = value.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(bare).map_err(|_| StatusCode::BAD_REQUEST)
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Frame;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// Comes in pieces of a byte, one each second.
    struct Trickle {
        left: usize,
        next: Pin<Box<tokio::time::Sleep>>,
    }

    impl Body for Trickle {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::ready!(self.next.as_mut().poll(context));
            self.next = Box::pin(tokio::time::sleep(Duration::from_secs(1)));
            let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
            self.left = left;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_comes_within_five_seconds() {
        let body = |bytes| {
            let next = Box::pin(tokio::time::sleep(Duration::from_millis(500)));
            in_body(Trickle { left: bytes, next })
        };
        assert_eq!(body(4).await, Ok(b"xxxx".to_vec()));
        let began = tokio::time::Instant::now();
        assert_eq!(body(600).await, Err(StatusCode::REQUEST_TIMEOUT));
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[test]
    fn the_query_of_a_get() {
        assert_eq!(in_query("dns=AAAB"), Ok(vec![0, 0, 1]));
        assert_eq!(in_query("x=1&dns=AAE="), Ok(vec![0, 1]));
        assert_eq!(in_query("dns=-_8"), Ok(vec![0xfb, 0xff]));
        for bad in ["", "x=1", "dns=+/8", "dns=A", "dns=a%20"] {
            assert_eq!(in_query(bad), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        assert_eq!(in_query(&format!("dns={}", "A".repeat(4097))), Err(StatusCode::URI_TOO_LONG));
    }
}
