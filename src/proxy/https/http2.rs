//! CONNECT as a request of HTTP/2 (RFC 9113, 8.5).

use super::http2_tunnel::Http2Tunnel;
use super::kept::{KeptConnection, Place, cut};
use super::optimism::{Leave, Optimism, OptimisticTrial};
use crate::clock;
use crate::proxy::first_payload::FirstPayload;
use crate::proxy::http::response::schemes;
use crate::proxy::http::tunnel::{Tunnel, USER_AGENT, basic};
use crate::proxy::{Error, HalfClose, Link};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::header::{
    DATE, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT as AGENT,
};
use http::response::Parts;
use http::{Method, Request, Response, Uri};
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a request waits for the program's first bytes, so that both leave in one packet: a path
/// that loses some takes one at a time, and the second one would cost a round trip. A program that
/// speaks first has sent them by then.
const FIRST_PAYLOAD: Duration = Duration::from_millis(5);

/// What became of a request.
pub(super) enum Outcome {
    /// The tunnel stands.
    Open(Link),
    /// The server has not worked on it (RFC 9113, 8.7), or its connection has ended or is silent,
    /// and no byte of the client had left. It may be repeated on another one: even a server that
    /// has worked on it in silence has opened a connection without any byte at worst.
    Unprocessed,
    /// The server said no.
    Failed(Error),
    /// The same, and it was sent a program's bytes ahead for the first time: perhaps it is that
    /// which it does not take.
    TrialFailed(OptimisticTrial, Error),
}

/// A program's first bytes, and the leave to send them before the answer.
pub(super) struct OptimisticPayload<'a> {
    pub(super) payload: &'a FirstPayload<'a>,
    pub(super) leave: Leave,
}

/// Asks for a tunnel.
pub(super) async fn open(
    tunnel: Tunnel<'_>,
    connection: &KeptConnection,
    place: Place,
    optimism: &Optimism,
    ahead: Option<OptimisticPayload<'_>>,
) -> Outcome {
    let Some(request) = request(tunnel) else {
        return Outcome::Failed(target_fails(tunnel, "HTTP/2 cannot carry this name".into()));
    };
    connection.begin_tunnel();
    let payload = ahead.as_ref().map(|ahead| ahead.payload);
    let asked = tokio::select! {
        asked = ask(connection, request, payload) => Some(asked),
        () = connection.silence() => None,
    };
    let is_out = payload.is_some_and(FirstPayload::is_out);
    let mut trial = None;
    if let Some(OptimisticPayload { leave: Leave::OnTrial(mut tried), .. }) = ahead {
        if is_out {
            tried.has_sent(Instant::now());
        }
        trial = Some(tried);
    }
    let error = match asked {
        None => return lost(tunnel, is_out, io::ErrorKind::TimedOut.into()),
        Some(Ok((response, sink))) => {
            connection.heard();
            let (head, source) = response.into_parts();
            match judge(tunnel, &head) {
                Ok(()) => {
                    optimism.opened();
                    payload.inspect(|payload| payload.arrived());
                    let trial = trial.filter(|_| is_out);
                    let stream = Box::new(Http2Tunnel::new(sink, source, place, trial));
                    return Outcome::Open(Link::Stream { stream, half_close: HalfClose::Held });
                }
                Err(error) => error,
            }
        }
        Some(Err(error)) => match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_reset() => {
                connection.heard();
                payload.inspect(|payload| payload.was_refused());
                return Outcome::Unprocessed;
            }
            // The tunnel never stood: its 200 would have come first.
            Some(reason) if error.is_reset() && error.is_remote() => {
                connection.heard();
                target_fails(tunnel, format!("{reason:?}"))
            }
            // The stream is behind the last one that it works on.
            Some(_) if error.is_go_away() && error.is_remote() => {
                connection.retire();
                payload.inspect(|payload| payload.was_refused());
                return Outcome::Unprocessed;
            }
            // It takes no more streams, or it has ended.
            _ => {
                connection.retire();
                return lost(tunnel, is_out, cut(error));
            }
        },
    };
    payload.inspect(|payload| payload.was_refused());
    match trial {
        Some(trial) if is_out => Outcome::TrialFailed(trial, error),
        _ => Outcome::Failed(error),
    }
}

fn judge(tunnel: Tunnel<'_>, head: &Parts) -> Result<(), Error> {
    if let Some(date) = head.headers.get(DATE) {
        clock::heard(date.as_bytes());
    }
    let mut challenges = vec![b'\n'];
    for challenge in head.headers.get_all(PROXY_AUTHENTICATE) {
        challenges.extend_from_slice(b"proxy-authenticate:");
        challenges.extend_from_slice(challenge.as_bytes());
        challenges.push(b'\n');
    }
    let status = head.status.as_u16();
    tunnel.judge(status, format!("HTTP/2 {status}"), &schemes(&challenges))
}

/// Nobody knows what the server has done.
fn lost(tunnel: Tunnel<'_>, is_out: bool, source: io::Error) -> Outcome {
    if !is_out {
        return Outcome::Unprocessed;
    }
    let (server, target) = (tunnel.server.endpoint().to_string(), tunnel.target.to_string());
    Outcome::Failed(Error::Unanswered { server, target, source })
}

/// Sends the request, and what the program says until the answer comes.
async fn ask(
    connection: &KeptConnection,
    request: Request<()>,
    payload: Option<&FirstPayload<'_>>,
) -> Result<(Response<RecvStream>, SendStream<Bytes>), h2::Error> {
    let first = match payload {
        Some(payload) => timeout(FIRST_PAYLOAD, payload.after(0)).await.unwrap_or_default(),
        None => Bytes::new(),
    };
    let mut client = connection.client.clone().ready().await?;
    let (response, mut sink) = client.send_request(request, false)?;
    let mut response = pin!(response);
    let response = match payload {
        None => response.await,
        Some(payload) => tokio::select! {
            biased;
            response = &mut response => response,
            never = send_ahead(payload, first, &mut sink) => match never {},
        },
    };
    Ok((response?, sink))
}

/// As much as the program says, `first` and what comes behind it, and the windows take. What does
/// not leave is sent by the relay.
async fn send_ahead(
    payload: &FirstPayload<'_>,
    first: Bytes,
    sink: &mut SendStream<Bytes>,
) -> Infallible {
    let (mut piece, mut seen) = (first, 0);
    loop {
        seen += piece.len();
        while !piece.is_empty() {
            sink.reserve_capacity(piece.len());
            let Some(Ok(room)) = poll_fn(|cx| sink.poll_capacity(cx)).await else {
                return pending().await;
            };
            let part = piece.split_to(room.min(piece.len()));
            if part.is_empty() {
                continue;
            }
            if !payload.leaves(part.len()) || sink.send_data(part, false).is_err() {
                return pending().await;
            }
        }
        piece = payload.after(seen).await;
    }
}

/// Where to, and who asks. `None`: not every name is one of a URI.
fn request(tunnel: Tunnel<'_>) -> Option<Request<()>> {
    let place: Uri = tunnel.target.to_string().parse().ok()?;
    let mut request = Request::builder().method(Method::CONNECT).uri(place).body(()).ok()?;
    let headers = request.headers_mut();
    headers.insert(AGENT, HeaderValue::from_static(USER_AGENT));
    if let Some(credentials) = tunnel.credentials {
        let mut value = HeaderValue::from_bytes(&basic(credentials)).ok()?;
        // Not kept in the table of the compression (RFC 7541, 7.1.3).
        value.set_sensitive(true);
        headers.insert(PROXY_AUTHORIZATION, value);
    }
    Some(request)
}

fn target_fails(tunnel: Tunnel<'_>, status: String) -> Error {
    let server = tunnel.server.endpoint().to_string();
    Error::Target { server, target: tunnel.target.to_string(), status }
}
