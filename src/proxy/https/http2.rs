//! CONNECT as a request of HTTP/2 (RFC 9113, 8.5).

use super::http2_tunnel::Http2Tunnel;
use super::kept::{KeptConnection, Place};
use crate::proxy::http::response::schemes;
use crate::proxy::http::tunnel::{Tunnel, USER_AGENT, basic};
use crate::proxy::{Error, HalfClose, Link};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::header::{HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT as AGENT};
use http::{Method, Request, Response, Uri};
use std::pin::pin;
use std::time::Duration;
use tokio::time::sleep;

/// An answer that takes longer may never come.
const SLOW: Duration = Duration::from_secs(1);

/// What became of a request.
pub(super) enum Outcome {
    /// The tunnel stands.
    Open(Link),
    /// The server has not worked on it, and did not say why: it may be repeated on another
    /// connection (RFC 9113, 8.7).
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
    let mut asking = pin!(ask(connection, request));
    let asked = tokio::select! {
        asked = &mut asking => asked,
        () = sleep(SLOW) => {
            connection.doubt();
            asking.await
        }
    };
    match asked {
        Ok((response, sink)) => {
            connection.heard();
            let (head, source) = response.into_parts();
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
