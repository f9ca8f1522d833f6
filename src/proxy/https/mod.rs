//! HTTP CONNECT over TLS.
//!
//! Theory of operation. Over TCP comes TLS ([`super::tls`]), and in its handshake the server picks
//! what is spoken inside:
//!
//! - **HTTP/1.1**: CONNECT in the words of [`super::http`]; the connection becomes the tunnel
//!   (`tls_tunnel`). While there is traffic some are dialled ahead, with their handshake
//!   ([`super::warm`]);
//! - **HTTP/2**: each tunnel is a stream (`http2_tunnel`) of a connection that is kept (`kept`).
//!   From the second dial on there is no handshake, and CONNECT costs one round trip. Unless a
//!   server is known to speak HTTP/1.1, no more than two connections are opened at a time: a dial
//!   that waits finds places on them. A stream that the server did not work on (REFUSED_STREAM,
//!   GOAWAY, a connection that died) is asked for again elsewhere, if no byte of the program had
//!   left. To a server that is known to take it (`optimism`), over a connection that surely lives,
//!   the program's first bytes follow the request at once: then the tunnel costs no round trip of
//!   its own. The next connection is opened before those that are kept are full or gone (`spare`).
//!
//! What the proxy is asked and what its answers mean is the same as without TLS, and so is the
//! client's FIN, which is held.
//!
//! TLS says how a connection ends: by close_notify (RFC 8446, 6.1). An end of TCP without it may
//! come from anyone on the path, so it is an error, and the client gets a reset: a program that
//! reads until the end would take the file that was cut for whole.
//!
//! The first dial pays a round trip for TCP, one for TLS 1.3 and one for CONNECT.

mod ahead;
mod heard;
mod http2;
mod http2_tunnel;
mod kept;
mod optimism;
mod spare;
mod tls_tunnel;
mod windows;

pub use windows::bound as bound_windows;

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::first_payload::FirstPayload;
use super::http::response;
use super::http::tunnel::{Tunnel, request};
use super::server::ProxyServer;
use super::tls::Tls;
use super::trust::TlsServer;
use super::warm::{DialledAhead, Warm, WarmRequest};
use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::target::Target;
use crate::task::JoinSet;
use http2::{OptimisticPayload, Outcome};
use kept::{Kept, KeptConnection, Place, cut};
use optimism::Optimism;
use rustls::CertificateError::{
    Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
    NotValidYetContext, UnknownIssuer,
};
use rustls::{AlertDescription, CertificateError};
use spare::SpareDialler;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tls_tunnel::TlsTunnel;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// What is spoken inside of TLS (RFC 7301, 6).
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";

/// Connections that are tried for one tunnel before a new one is.
const TRIES: u32 = 2;

/// Connections that are opened at a time to a server that may speak HTTP/2.
const OPENING: usize = 2;

/// A proxy that speaks HTTP CONNECT over TLS.
#[derive(Debug)]
pub struct HttpsConnect {
    server: Arc<ProxyServer>,
    credentials: Option<Credentials>,
    handshake: Arc<Handshake>,
    /// Of HTTP/2.
    kept: Arc<Kept>,
    spare: Arc<SpareDialler>,
    optimism: Arc<Optimism>,
    /// Of HTTP/1.1, where the server is known to speak it.
    warm: Option<Warm<TlsStream<TcpStream>>>,
    opening: Arc<Semaphore>,
    /// Where connections live that outlast a dial: the resolver dials on a thread of its own, which
    /// shall not have to carry the tunnels of others.
    runtime: Option<Handle>,
}

/// TLS with the server, and what is spoken inside of it.
#[derive(Debug)]
struct Handshake {
    server: Arc<ProxyServer>,
    name: String,
    tls: Tls,
    /// What the server chose the last time.
    speaks_http1: AtomicBool,
}

impl Handshake {
    async fn with(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
        let tls = self.tls.open(&self.name, tcp).await;
        let tls = tls.map_err(|error| no_tls(&self.server, error))?;
        let speaks_http2 = tls.get_ref().1.alpn_protocol() == Some(HTTP2);
        self.speaks_http1.store(!speaks_http2, Ordering::Relaxed);
        Ok(tls)
    }

    /// A connection of HTTP/1.1 on which nothing is asked.
    async fn ahead(&self) -> Result<TlsStream<TcpStream>, Error> {
        let tls = self.with(self.server.dial_ahead(&[]).await?).await?;
        match self.speaks_http1.load(Ordering::Relaxed) {
            true => Ok(tls),
            false => Err(self.server.broke_off(io::Error::other("it speaks HTTP/2 now"))),
        }
    }
}

impl HttpsConnect {
    /// A proxy at this server. Its connections live on the runtime that is current now, if one is.
    pub fn new(server: ProxyServer, tls: TlsServer, credentials: Option<Credentials>) -> Self {
        let (TlsServer { name, trust }, server) = (tls, Arc::new(server));
        let handshake = Arc::new(Handshake {
            server: Arc::clone(&server),
            name,
            tls: Tls::trusting(&trust, &PROTOCOLS),
            speaks_http1: AtomicBool::new(false),
        });
        let ahead = Arc::clone(&handshake);
        let ahead = move || -> BoxFuture<'static, Result<TlsStream<TcpStream>, Error>> {
            let handshake = Arc::clone(&ahead);
            Box::pin(async move { handshake.ahead().await })
        };
        let (kept, opening) = (Arc::default(), Arc::new(Semaphore::new(OPENING)));
        HttpsConnect {
            warm: Warm::of(&server, Box::new(ahead)),
            server,
            credentials,
            spare: SpareDialler::new(&handshake, &kept, &opening),
            handshake,
            kept,
            optimism: Arc::default(),
            opening,
            runtime: Handle::try_current().ok(),
        }
    }

    async fn dial(
        &self,
        target: &Target,
        progress: &Progress,
        payload: Option<&FirstPayload<'_>>,
    ) -> Result<Link, Error> {
        if !progress.is_probe() {
            self.spare.dialled();
        }
        if let Some(link) = self.over_kept(target, progress, payload).await? {
            return Ok(link);
        }
        let mut turn = None;
        if !self.speaks_http1() {
            turn = self.opening.acquire().await.ok();
            // Meanwhile others have opened some, or found out that each tunnel wants its own.
            if self.speaks_http1() {
                turn = None;
            } else if let Some((connection, place)) = self.kept.with_place() {
                drop(turn.take());
                progress.server_is_reached();
                if let Some(link) = self.over_http2(target, &connection, place, payload).await? {
                    return Ok(link);
                }
            }
        }
        let warm = self.warm.as_ref().filter(|_| self.speaks_http1());
        if let Some(link) = self.over_ready(target, warm, progress).await? {
            return Ok(link);
        }
        let began = Instant::now();
        let dial = async { self.handshake.with(self.tcp(progress).await?).await };
        let tls = Warm::timing(warm, progress, dial).await?;
        if tls.get_ref().1.alpn_protocol() != Some(HTTP2) {
            drop(turn);
            return self.over_http1(target, tls).await;
        }
        let runtime = self.runtime.clone().unwrap_or_else(Handle::current);
        self.spare.took(began.elapsed());
        let begun = KeptConnection::begin(tls, &runtime, self.spare.on_leave()).await;
        let connection = begun.map_err(|error| self.broke_off(cut(error)))?;
        let refused = || {
            let what = "it opens no stream on a new connection of HTTP/2";
            self.server.broke_off(io::Error::new(io::ErrorKind::ConnectionRefused, what))
        };
        let place = connection.place().ok_or_else(refused)?;
        self.kept.keep(connection.clone());
        drop(turn);
        self.over_http2(target, &connection, place, payload).await?.ok_or_else(refused)
    }

    fn speaks_http1(&self) -> bool {
        self.handshake.speaks_http1.load(Ordering::Relaxed)
    }

    /// A tunnel over a connection of HTTP/1.1 that was dialled ahead, if there is one.
    async fn over_ready(
        &self,
        target: &Target,
        warm: Option<&Warm<TlsStream<TcpStream>>>,
        progress: &Progress,
    ) -> Result<Option<Link>, Error> {
        let Some(asking) = WarmRequest::on(warm, progress) else { return Ok(None) };
        let tunnel = self.tunnel(target);
        let request = request(target, tunnel.credentials);
        match asking.first_of_answer(&request, response::is_timeout).await {
            Some((tls, first)) => self.answered(tunnel, TlsTunnel::new(tls), first).await.map(Some),
            None => Ok(None),
        }
    }

    /// A tunnel over a connection of HTTP/2 that stands already, if one has a place.
    async fn over_kept(
        &self,
        target: &Target,
        progress: &Progress,
        payload: Option<&FirstPayload<'_>>,
    ) -> Result<Option<Link>, Error> {
        for _ in 0..TRIES {
            let Some((connection, place)) = self.kept.with_place() else { break };
            self.spare.look();
            progress.server_is_reached();
            if let Some(link) = self.over_http2(target, &connection, place, payload).await? {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    /// `None`: the server has not worked on it.
    async fn over_http2(
        &self,
        target: &Target,
        connection: &KeptConnection,
        place: Place,
        payload: Option<&FirstPayload<'_>>,
    ) -> Result<Option<Link>, Error> {
        let leave = || self.optimism.leave(Instant::now());
        // The operator may want nothing ahead of need.
        let may = self.server.warms().is_some() && connection.is_fresh();
        let ahead = payload.filter(|_| may);
        let ahead = ahead.and_then(|payload| Some(OptimisticPayload { payload, leave: leave()? }));
        let tunnel = self.tunnel(target);
        match http2::open(tunnel, connection, place, &self.optimism, ahead).await {
            Outcome::Open(link) => Ok(Some(link)),
            Outcome::Unprocessed => Ok(None),
            Outcome::Failed(error) => {
                if error.is_unanswered() {
                    self.spare.look();
                }
                Err(error)
            }
            Outcome::TrialFailed(trial, error) => {
                // Is it the target that it refuses, or what came ahead of its answer?
                let Some(place) = connection.place() else { return Err(error) };
                match http2::open(tunnel, connection, place, &self.optimism, None).await {
                    Outcome::Open(link) => {
                        trial.failed();
                        Ok(Some(link))
                    }
                    _ => {
                        trial.told_nothing();
                        Err(error)
                    }
                }
            }
        }
    }

    /// Connects to the server, on the runtime where connections live.
    async fn tcp(&self, progress: &Progress) -> Result<TcpStream, Error> {
        let Some(runtime) = &self.runtime else { return self.server.dial(&[], progress).await };
        let server = Arc::clone(&self.server);
        // Dropped with this dial, it ends the other one.
        let mut dialling = JoinSet::new();
        let dial = async move { server.dial(&[], &Progress::default()).await };
        dialling.spawn_on(dial, runtime);
        match dialling.join_next().await {
            Some(Ok(dialled)) => {
                let tcp = dialled?;
                progress.server_is_reached();
                Ok(tcp)
            }
            Some(Err(died)) => Err(self.server.broke_off(io::Error::other(died))),
            None => Err(self.server.broke_off(io::ErrorKind::NotConnected.into())),
        }
    }

    fn tunnel<'a>(&'a self, target: &'a Target) -> Tunnel<'a> {
        let HttpsConnect { server, credentials, .. } = self;
        let (credentials, suspicion) = (credentials.as_ref(), "is it an HTTP proxy?");
        Tunnel { server, target, credentials, suspicion }
    }

    async fn over_http1(&self, target: &Target, tls: TlsStream<TcpStream>) -> Result<Link, Error> {
        let (mut stream, tunnel) = (TlsTunnel::new(tls), self.tunnel(target));
        let asked = async {
            stream.write_all(&request(target, tunnel.credentials)).await?;
            stream.flush().await
        };
        asked.await.map_err(|source| self.broke_off(source))?;
        self.answered(tunnel, stream, Vec::with_capacity(1024)).await
    }

    /// The answer has come so far.
    async fn answered(
        &self,
        tunnel: Tunnel<'_>,
        mut stream: TlsTunnel,
        received: Vec<u8>,
    ) -> Result<Link, Error> {
        let early = tunnel.rest_of_answer(received, &mut stream).await;
        let early = early.map_err(|error| match error {
            Error::Handshake { source, .. } => self.broke_off(source),
            error => error,
        })?;
        let stream = Box::new(stream.with_early(early));
        Ok(Link::Stream { stream, half_close: HalfClose::Held })
    }

    /// The error of a connection that ended while the tunnel was asked for. With TLS 1.3 a server
    /// that wants a certificate of the client says so only now.
    fn broke_off(&self, source: io::Error) -> Error {
        match source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            true => no_tls(&self.server, source),
            false => self.server.broke_off(source),
        }
    }
}

fn no_tls(server: &ProxyServer, source: io::Error) -> Error {
    let Some(cause) = source.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return server.broke_off(source);
    };
    let hint = hint(cause);
    let found = match cause {
        // What rustls prints of it is for developers.
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.0.to_string(),
        cause => cause.to_string(),
    };
    Error::Tls { server: server.endpoint().to_string(), found, hint }
}

/// What the operator may look at.
fn hint(cause: &rustls::Error) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match cause {
        InvalidCertificate(UnknownIssuer) => {
            "; if the server signs its own certificates, give this [[proxy]] tls-ca-file or tls-pin"
        }
        InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "; give this [[proxy]] tls-name, a name that the certificate has"
        }
        InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => "; is the clock of this machine right?",
        InvalidMessage(_) => "; does it speak TLS? A proxy without it is of type = \"http\"",
        AlertReceived(AlertDescription::CertificateRequired) => {
            "; snet has no certificate of its own to show: let the server ask for a password"
        }
        AlertReceived(AlertDescription::UnrecognisedName) => {
            "; give this [[proxy]] tls-name, the name that the server goes by"
        }
        _ => "",
    }
}

impl Proxy for HttpsConnect {
    fn name(&self) -> &str {
        self.server.name()
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        Box::pin(self.dial(target, progress, None))
    }

    fn connect_carrying<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
        payload: &'a FirstPayload<'a>,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        Box::pin(self.dial(target, progress, Some(payload)))
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(self.server.endpoint())
    }

    fn network_changed(&self) {
        self.kept.retire_all();
        self.optimism.forget();
    }

    fn dialled_ahead(&self) -> Option<&dyn DialledAhead> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
