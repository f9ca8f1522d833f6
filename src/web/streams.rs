//! Answers without an end: one JSON object a second, or as they come (`/logs`), in a WebSocket (RFC
//! 6455) or in chunks.

use super::guard::parameter;
use super::log_stream::{LogRequest, LogStream};
use super::visit::{WebBody, WebVisit, empty};
use super::{Web, clash};
use crate::task;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha1::{Digest, Sha1};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Between two objects, unless the client wants another time.
const USUAL_INTERVAL: u64 = 1000;

/// Bounds of what it may want, in milliseconds.
const SHORTEST_INTERVAL: u64 = 200;
const LONGEST_INTERVAL: u64 = 60_000;

/// A client that does not read for so long is left.
const PATIENCE: Duration = Duration::from_secs(10);

/// A WebSocket in which nothing was said for so long is tried by a ping.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// A client has nothing to say but that it closes.
const LARGEST_MESSAGE: usize = 4096;

/// What is sent again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamKind {
    /// Bytes, and bytes a second.
    Traffic,
    /// Of this process.
    Memory,
    /// The connections; only in a WebSocket, since a plain request wants them once.
    Connections,
    /// The log.
    Logs,
}

impl StreamKind {
    /// What stands at a path.
    pub(super) fn of(parts: &[&str]) -> Option<Self> {
        match parts {
            ["traffic"] => Some(StreamKind::Traffic),
            ["memory"] => Some(StreamKind::Memory),
            ["connections"] => Some(StreamKind::Connections),
            ["logs"] => Some(StreamKind::Logs),
            _ => None,
        }
    }
}

/// Begins to send. `None`: the query wants what there is not.
pub(super) async fn begin(
    visit: &WebVisit,
    kind: StreamKind,
    request: Request<Incoming>,
) -> Option<Response<WebBody>> {
    let mut told = StreamState::new(&visit.web, kind, request.uri().query())?;
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        // As mihomo does: not even the head of the answer comes before the first line.
        let first = match kind {
            StreamKind::Logs => told.next(&visit.web).await,
            _ => None,
        };
        return Some(in_chunks(visit, told, first));
    };
    let accept = accept_key(key.as_bytes());
    let visit = visit.clone();
    task::spawn(async move {
        // A client that leaves in the middle has what it wants.
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        in_a_socket(&visit, told, socket).await;
    });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    Some(response)
}

/// RFC 6455, 4.2.2: the key and this text, hashed, prove that the server knows WebSockets.
fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

async fn in_a_socket(
    visit: &WebVisit,
    mut told: StreamState,
    mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
) {
    loop {
        tokio::select! {
            waited = timeout(LONGEST_SILENCE, told.wait()) => {
                let message = match waited {
                    Ok(()) => told.object(&visit.web).await.map(Message::text),
                    // Is it still there? A client that has vanished holds no place for ever.
                    Err(_) => Some(Message::Ping(Bytes::new())),
                };
                let Some(message) = message else { break };
                let sent = timeout(PATIENCE, socket.send(message)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            heard = socket.next() => match heard {
                // Pings and the close are answered by the next read.
                Some(Ok(_)) => {}
                _ => return,
            }
        }
    }
    let _ = timeout(PATIENCE, socket.close(None)).await;
}

fn in_chunks(
    visit: &WebVisit,
    mut told: StreamState,
    mut first: Option<String>,
) -> Response<WebBody> {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let visit = visit.clone();
    task::spawn(async move {
        loop {
            let text = match first.take() {
                Some(first) => Some(first),
                None => tokio::select! {
                    text = told.next(&visit.web) => text,
                    () = sender.closed() => return,
                },
            };
            let Some(text) = text else { return };
            if !matches!(timeout(PATIENCE, sender.send(text.into())).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    let mut response = Response::new(Chunks(receiver).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body that comes bit by bit.
pub(super) struct Chunks(pub(super) mpsc::Receiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// One stream, from object to object.
struct StreamState {
    kind: StreamKind,
    pace: StreamPace,
    /// Bytes down and up, and when.
    last: Option<(u64, u64, Instant)>,
}

/// When the next object comes.
enum StreamPace {
    /// Again and again.
    Ticks(Interval),
    /// When there is something.
    Lines(LogStream),
}

impl StreamState {
    /// `None`: the query wants what there is not.
    fn new(web: &Web, kind: StreamKind, query: Option<&str>) -> Option<Self> {
        let pace = match kind {
            StreamKind::Logs => {
                let asked = LogRequest::of(query)?;
                StreamPace::Lines(LogStream::new(asked, |level| web.insight.follow(level)))
            }
            _ => {
                let wanted = query.and_then(|query| parameter(query, "interval"));
                let every = wanted.and_then(|text| text.parse().ok()).unwrap_or(USUAL_INTERVAL);
                let every = every.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
                let mut ticks = interval(Duration::from_millis(every));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                StreamPace::Ticks(ticks)
            }
        };
        Some(StreamState { kind, pace, last: None })
    }

    /// Waits until there is an object. A wait that is given up loses none.
    async fn wait(&mut self) {
        match &mut self.pace {
            StreamPace::Ticks(ticks) => drop(ticks.tick().await),
            StreamPace::Lines(lines) => lines.wait().await,
        }
    }

    /// The next object.
    async fn next(&mut self, web: &Web) -> Option<String> {
        self.wait().await;
        self.object(web).await
    }

    /// The object that was waited for, with a line feed. `None`: there is none any more.
    async fn object(&mut self, web: &Web) -> Option<String> {
        if let StreamPace::Lines(lines) = &mut self.pace {
            return lines.object().map(|object| format!("{object}\n"));
        }
        let status = web.insight.status().await?;
        let value = match self.kind {
            StreamKind::Logs => return None,
            StreamKind::Connections => clash::connections(&status, &web.insight.flows()),
            StreamKind::Memory => {
                json!({ "inuse": status.memory.unwrap_or_default(), "oslimit": 0 })
            }
            StreamKind::Traffic => {
                let (down, up, now) = (status.traffic.down, status.traffic.up, Instant::now());
                let (before_down, before_up, then) = self.last.unwrap_or((down, up, now));
                self.last = Some((down, up, now));
                let seconds = (now - then).as_secs_f64();
                json!({
                    "up": rate(before_up, up, seconds), "down": rate(before_down, down, seconds),
                    "upTotal": up, "downTotal": down,
                })
            }
        };
        Some(format!("{value}\n"))
    }
}

/// Bytes a second, a whole number.
fn rate(before: u64, now: u64, seconds: f64) -> u64 {
    let bytes = now.saturating_sub(before) as f64;
    if seconds > 0.0 { (bytes / seconds) as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_specification() {
        // RFC 6455, 1.3.
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn rates() {
        assert_eq!(rate(100, 300, 2.0), 100);
        assert_eq!(rate(300, 100, 1.0), 0, "one that was counted has gone");
        assert_eq!(rate(0, 5, 0.0), 0);
    }
}
