//! CONNECT as a request of HTTP/2 (RFC 9113, 8.5).

use super::http2_tunnel::Http2Tunnel;
use super::kept::{KeptConnection, Place};
use crate::clock;
use crate::proxy::http::response::schemes;
use crate::proxy::http::tunnel::{Tunnel, USER_AGENT, basic};
use crate::proxy::{Error, HalfClose, Link};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::header::{
    DATE, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT as AGENT,
};
use http::{Method, Request, Response, Uri};

/// What became of a request.
pub(super) enum Outcome {
    /// The tunnel stands.
    Open(Link),
    /// The server has not worked on it (RFC 9113, 8.7), or its connection has ended or is silent.
    /// It may be repeated on another one: even a server that has worked on it in silence has seen
    /// no byte of the client, so a destination sees a connection without any at worst.
    Unprocessed,
    /// The server said no.
    Failed(Error),
}

/// Asks for a tunnel.
pub(super) async fn open(tunnel: Tunnel<'_>, connection: &KeptConnection, place: Place) -> Outcome {
    let Some(request) = request(tunnel) else {
        return Outcome::Failed(target_fails(tunnel, "HTTP/2 cannot carry this name".into()));
    };
    connection.begin_tunnel();
    let asked = tokio::select! {
        asked = ask(connection, request) => asked,
        () = connection.silence() => return Outcome::Unprocessed,
    };
    match asked {
        Ok((response, sink)) => {
            connection.heard();
            let (head, source) = response.into_parts();
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
            match tunnel.judge(status, format!("HTTP/2 {status}"), &schemes(&challenges)) {
                Ok(()) => Outcome::Open(Link::Stream {
                    stream: Box::new(Http2Tunnel::new(sink, source, place)),
                    half_close: HalfClose::Held,
                }),
                Err(error) => Outcome::Failed(error),
            }
        }
        Err(error) => match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_reset() => {
                connection.heard();
                Outcome::Unprocessed
            }
            Some(reason) if error.is_reset() && error.is_remote() => {
                connection.heard();
                Outcome::Failed(target_fails(tunnel, format!("{reason:?}")))
            }
            // It takes no more streams, or it has ended.
            _ => {
                connection.retire();
                Outcome::Unprocessed
            }
        },
    }
}

async fn ask(
    connection: &KeptConnection,
    request: Request<()>,
) -> Result<(Response<RecvStream>, SendStream<Bytes>), h2::Error> {
    let mut client = connection.client.clone().ready().await?;
    let (response, sink) = client.send_request(request, false)?;
    Ok((response.await?, sink))
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
