//! One fetch of a body: HTTP/1.1 over TLS (or without, if the URL says so), through a proxy that
//! works or directly, over marked sockets. hyper speaks HTTP.
//!
//! Bounds: a minute for each way, three redirections, none of them from TLS to none, 64 KiB of
//! headers, [`LONGEST_BODY`] as sent and as unpacked. A body that ends too early is none. No error
//! shows the URL's path.

use super::format::LONGEST_BODY;
use super::kept::{KeptBody, validator};
use super::url::ProviderUrl;
use super::usage::Usage;
use crate::clock;
use crate::dispatch::Dispatcher;
use crate::dns;
use crate::net::Outbound;
use crate::proxy::Stream;
use crate::proxy::tls::{HANDSHAKE, Tls};
use crate::target::Target;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, DATE, ETAG, HOST, HeaderMap,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, USER_AGENT,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A slow server through a slow proxy sends a megabyte in less.
const PATIENCE: Duration = Duration::from_secs(60);

const MOST_REDIRECTIONS: usize = 3;

/// What hyper may hold of a head.
const LONGEST_HEAD: usize = 64 << 10;

/// The ways to a provider.
pub struct Ways {
    /// Through its proxies.
    pub dispatcher: Arc<Dispatcher>,
    /// Directly.
    pub outbound: Outbound,
    /// Whom the provider's name is asked of, for the direct way.
    pub names: dns::Settings,
    /// Whom to trust.
    pub tls: Tls,
}

/// One of the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the first proxy that works.
    Proxy,
    /// Without one.
    Direct,
}

/// What a fetch brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The body is still the one that is kept; what is known of it is new.
    Unchanged(KeptBody),
    /// Another one, not looked at.
    New(KeptBody),
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No way leads to the server.
    #[error("{0}")]
    Unreachable(String),
    /// The name of the server is not known.
    #[error("no name server gives an address for {0}")]
    Unresolved(String),
    /// TLS, or HTTP, broke.
    #[error("{server}: {what}")]
    Broken {
        /// Host and port.
        server: String,
        /// What broke.
        what: String,
    },
    /// The server says no.
    #[error("{server} says {status}")]
    Status {
        /// Host and port.
        server: String,
        /// Its word.
        status: StatusCode,
    },
    /// A redirection that is not followed.
    #[error("{server} sends us elsewhere: {why}")]
    Redirected {
        /// Host and port.
        server: String,
        /// Why not.
        why: String,
    },
    /// It is too long.
    #[error("{server} sends more than {} MiB", LONGEST_BODY >> 20)]
    TooLong {
        /// Host and port.
        server: String,
    },
    /// It takes too long.
    #[error("no whole body within {} s", PATIENCE.as_secs())]
    TimedOut,
}

/// What an answer says.
enum Answer {
    Elsewhere(ProviderUrl),
    Fetched(Fetched),
}

impl Ways {
    /// Fetches the body of a URL. With the validators of `kept`, if that came from there.
    ///
    /// # Errors
    /// Why there is none; never a secret.
    pub async fn fetch(
        &self,
        way: Way,
        url: &ProviderUrl,
        agent: &str,
        kept: Option<&KeptBody>,
    ) -> Result<Fetched, FetchError> {
        let kept = kept.filter(|kept| kept.is_of(url));
        let fetching = self.follow(way, url, agent, kept);
        timeout(PATIENCE, fetching).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn follow(
        &self,
        way: Way,
        origin: &ProviderUrl,
        agent: &str,
        kept: Option<&KeptBody>,
    ) -> Result<Fetched, FetchError> {
        let mut url = origin.clone();
        for _ in 0..=MOST_REDIRECTIONS {
            match self.ask(way, &url, agent, origin, kept).await? {
                Answer::Fetched(fetched) => return Ok(fetched),
                Answer::Elsewhere(next) => url = next,
            }
        }
        let why = format!("more than {MOST_REDIRECTIONS} redirections");
        Err(FetchError::Redirected { server: origin.authority(), why })
    }

    /// One request on one connection.
    async fn ask(
        &self,
        way: Way,
        url: &ProviderUrl,
        agent: &str,
        origin: &ProviderUrl,
        kept: Option<&KeptBody>,
    ) -> Result<Answer, FetchError> {
        let server = url.authority();
        let broken = |what: String| FetchError::Broken { server: server.clone(), what };
        let request = request(url, agent, kept).map_err(|error| broken(error.to_string()))?;
        let mut stream = self.dial(way, url).await?;
        if url.is_https {
            let tls = self.tls.connect(&url.host, b"http/1.1", stream, HANDSHAKE).await;
            stream = tls.map_err(|error| broken(tls_problem(&error)))?;
        }
        let mut http = http1::Builder::new();
        http.max_buf_size(LONGEST_HEAD);
        let handshake = http.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(in_full(&error)))?;
        let exchange = async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| broken(in_full(&error)))?;
            answer(response, url, origin, kept).await
        };
        let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                answer = &mut exchange => return answer,
                // How it ended the exchange says itself.
                _ = &mut connection, if !is_over => is_over = true,
            }
        }
    }

    async fn dial(&self, way: Way, url: &ProviderUrl) -> Result<Box<dyn Stream>, FetchError> {
        let literal = url.host.parse::<IpAddr>().ok();
        match way {
            Way::Proxy => {
                let target = match literal {
                    Some(ip) => Target::addr(SocketAddr::new(ip, url.port)),
                    None => Target::Name(url.host.as_str().into(), url.port),
                };
                let connected = self.dispatcher.connect_proxied(&target).await;
                let connected = connected.map_err(|error| {
                    FetchError::Unreachable(format!("{}: {error}", url.authority()))
                })?;
                Ok(connected.link.into_stream())
            }
            Way::Direct => {
                let addresses = match literal {
                    Some(ip) => vec![ip],
                    None => {
                        let (names, outbound) = (self.names.clone(), self.outbound.clone());
                        dns::bootstrap::addresses(&url.host, names, outbound).await
                    }
                };
                if addresses.is_empty() {
                    return Err(FetchError::Unresolved(url.host.clone()));
                }
                let addresses: Vec<SocketAddr> =
                    addresses.into_iter().map(|ip| SocketAddr::new(ip, url.port)).collect();
                let tcp = self.outbound.tcp(&addresses).await.map_err(|error| {
                    FetchError::Unreachable(format!("{}: {error}", url.authority()))
                })?;
                Ok(Box::new(tcp))
            }
        }
    }
}

fn request(
    url: &ProviderUrl,
    agent: &str,
    kept: Option<&KeptBody>,
) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::get(url.target())
        .header(HOST, url.authority())
        .header(USER_AGENT, agent)
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "gzip")
        .header(CONNECTION, "close");
    if let Some(etag) = kept.and_then(|kept| kept.etag.as_ref()) {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(modified) = kept.and_then(|kept| kept.modified.as_ref()) {
        request = request.header(IF_MODIFIED_SINCE, modified);
    }
    request.body(Empty::new())
}

async fn answer(
    response: http::Response<Incoming>,
    url: &ProviderUrl,
    origin: &ProviderUrl,
    kept: Option<&KeptBody>,
) -> Result<Answer, FetchError> {
    let server = url.authority();
    let (head, body) = response.into_parts();
    if let Some(date) = head.headers.get(DATE) {
        clock::heard(date.as_bytes());
    }
    if let (StatusCode::NOT_MODIFIED, Some(kept)) = (head.status, kept) {
        let usage = usage(&head.headers);
        let told = if usage == Usage::default() { kept.usage } else { usage };
        let kept = KeptBody { fetched: now(), usage: told, ..kept.clone() };
        return Ok(Answer::Fetched(Fetched::Unchanged(kept)));
    }
    match head.status {
        StatusCode::OK => {}
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let refused =
                |why: &str| FetchError::Redirected { server: server.clone(), why: why.into() };
            let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| refused("it does not say where"))?;
            let next = url.joined(location).map_err(|(found, _)| refused(found))?;
            if url.is_https && !next.is_https {
                return Err(refused("to a server without TLS, which is not followed"));
            }
            return Ok(Answer::Elsewhere(next));
        }
        status => return Err(FetchError::Status { server, status }),
    }
    let sent = collect(body, &server).await?;
    let body = unpacked(&head.headers, sent, &server)?;
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let new = KeptBody {
        fetched: now(),
        fingerprint: origin.fingerprint(),
        etag: text(ETAG).and_then(validator),
        modified: text(LAST_MODIFIED).and_then(validator),
        usage: usage(&head.headers),
        body,
    };
    Ok(Answer::Fetched(match kept.is_some_and(|kept| kept.body == new.body) {
        true => Fetched::Unchanged(new),
        false => Fetched::New(new),
    }))
}

async fn collect(mut body: Incoming, server: &str) -> Result<Zeroizing<Vec<u8>>, FetchError> {
    let mut whole = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let broken = |error: hyper::Error| FetchError::Broken {
            server: server.into(),
            what: in_full(&error),
        };
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        if whole.len() + piece.len() > LONGEST_BODY {
            return Err(FetchError::TooLong { server: server.into() });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// A few kilobytes can unpack to gigabytes.
fn unpacked(
    headers: &HeaderMap,
    sent: Zeroizing<Vec<u8>>,
    server: &str,
) -> Result<Zeroizing<Vec<u8>>, FetchError> {
    let broken = |what: String| FetchError::Broken { server: server.into(), what };
    let encoding = headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("unknown"));
    match encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Ok(sent),
        Some("gzip" | "x-gzip") => {
            let mut body = Zeroizing::new(Vec::new());
            let mut unpacking = MultiGzDecoder::new(sent.as_slice()).take(LONGEST_BODY as u64 + 1);
            unpacking
                .read_to_end(&mut body)
                .map_err(|error| broken(format!("gzip that breaks: {error}")))?;
            if body.len() > LONGEST_BODY {
                return Err(FetchError::TooLong { server: server.into() });
            }
            Ok(body)
        }
        Some(_) => Err(broken("a Content-Encoding that was not asked for".into())),
    }
}

fn usage(headers: &HeaderMap) -> Usage {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let usage = text("subscription-userinfo").map(Usage::parse).unwrap_or_default();
    match text("profile-update-interval") {
        Some(interval) => usage.with_interval(interval),
        None => usage,
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// hyper's errors name what broke in their sources.
fn in_full(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn tls_problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer to the TLS handshake".into(),
        io::ErrorKind::UnexpectedEof => "the connection ended in the TLS handshake".into(),
        _ => format!("TLS: {error}"),
    }
}
