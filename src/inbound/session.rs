//! One connection from accept to its end: destination, guards, dial, relay, one log line.

use super::loops::{Loop, Loops};
use super::open::Open;
use super::token::Token;
use super::{Intercept, Intercepted, Rejected};
use crate::dispatch::{self, Connected, Current, Upstream};
use crate::firewall::{Family, probe};
use crate::net::origin::OrigDst;
use crate::net::{self, Outbound, ResetOnDrop};
use crate::proxy::BoxFuture;
use crate::proxy::direct::Direct;
use crate::proxy::first_payload::FirstPayload;
use crate::relay::{self, relay};
use crate::route::{ClientHost, Route, ToldName};
use crate::stats::{LiveFlow, Meter, Stats};
use crate::target::Target;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tracing::{debug, error};

/// What every session needs.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) intercept: Intercept,
    pub(super) current: Current,
    pub(super) outbound: Outbound,
    pub(super) stats: Arc<Stats>,
    pub(super) relay_limits: relay::Limits,
    /// The answer to the daemon's own proof.
    pub(super) token: Option<Token>,
    pub(super) loops: Loops,
    /// Reported once: some rule overwrites our mark.
    pub(super) loop_reported: AtomicBool,
}

impl Sessions {
    /// Serves one accepted connection to its end. What cannot be served is reset when the caller
    /// drops it, so that the program behind it sees "refused" at once and not silence.
    pub(super) async fn serve(&self, stream: &mut TcpStream, live: &LiveFlow) {
        let client = live.client;
        let intercepted = match self.intercept.destination(stream, client, &self.outbound) {
            Ok(it) if is_proof(it.destination.0) => return self.prove(stream).await,
            Ok(intercepted) => intercepted,
            Err(rejected) => return self.turn_away(stream, client, &rejected),
        };
        let told = self.told(stream, client, intercepted.destination);
        let name = told.as_ref().map(|told| told.name.clone());
        let mut open = Open::new(&self.stats, live, intercepted.destination.0, name);
        // Boxed: what dialling needs shall not stay for as long as the connection lives.
        let dial = Box::pin(self.connect(stream, client, intercepted, told, &live.meter)).await;
        let (link, mortal) = match dial {
            Ok((Connected { link, via, resets, group, reason }, sent)) => {
                let mortal = via.clone().filter(|_| resets);
                open.look(stream, &sent);
                open.has_sent(sent.len());
                open.connected(via, group, reason);
                (link, mortal)
            }
            Err(cause) => return open.refused(&cause, cause.is_expected()),
        };
        let relaying = relay(stream, link, &live.meter, &self.relay_limits);
        let end = match mortal {
            None => relaying.await,
            Some(via) => until_death(relaying, &via, &live.meter).await,
        };
        open.ended(&end);
    }

    async fn prove(&self, stream: &mut TcpStream) {
        let Some(token) = &self.token else { return };
        // A peer that has left needs no answer. The other end closes first, by a reset: a TIME_WAIT
        // of ours would stand in the way of the next program whose connection has the same port,
        // for the second until its first packet is sent again.
        let told = async {
            stream.write_all(token.text().as_bytes()).await?;
            stream.read(&mut [0]).await
        };
        let _ = timeout(PROVED, told).await;
    }

    fn turn_away(&self, stream: &TcpStream, client: SocketAddr, rejected: &Rejected) {
        net::reset_on_close(stream);
        if matches!(rejected, Rejected::HealthCheck) {
            return;
        }
        self.stats.accepted.add(1);
        self.stats.refused.add(1);
        if matches!(rejected, Rejected::Own(_)) && !self.loop_reported.swap(true, Ordering::Relaxed)
        {
            error!(
                %client,
                "reset a connection: {rejected}; exempt marked packets there (this is said once)"
            );
        } else {
            debug!(%client, "reset a connection: {rejected}");
        }
    }

    /// The name by which the client found the destination.
    fn told(
        &self,
        stream: &TcpStream,
        client: SocketAddr,
        OrigDst(destination): OrigDst,
    ) -> Option<ToldName> {
        let at = stream.local_addr().ok().map(|address| address.ip());
        let host = ClientHost::of(client.ip(), at);
        self.current.load().told().find(host, destination.ip(), Instant::now().into_std())
    }

    /// Dials for the client. Returns also what was taken from it, and is on its way.
    async fn connect(
        &self,
        stream: &TcpStream,
        client: SocketAddr,
        Intercepted { destination: OrigDst(destination), is_own }: Intercepted,
        told: Option<ToldName>,
        meter: &Arc<Meter>,
    ) -> Result<(Connected, Vec<u8>), NotServed> {
        // A session may be dropped while it dials, at the end of a stop.
        let cut = ResetOnDrop::new([stream]);
        let dispatcher = self.current.load();
        let (target, payload) = (Target::addr(destination), FirstPayload::of(stream));
        let connected = if is_own {
            debug!(
                %client,
                %destination,
                "a connection of snet's own came back, and is dialled again"
            );
            dispatch::connect_direct(&Direct::new(self.outbound.second()), &target).await?
        } else {
            if dispatcher.route(&target).route == Route::Proxy {
                self.loops.look(&dispatcher, client, destination, meter)?;
            }
            let client = client.ip().to_canonical();
            dispatcher.connect(&target, client, told.as_ref(), Some(&payload)).await?
        };
        cut.disarm();
        Ok((connected, payload.into_taken()))
    }
}

/// Relays, unless the proxy turns out to be dead: then both sides are reset, so that the program
/// learns it and dials again. Boxed, since only groups of several proxies need it.
fn until_death<'a>(
    relaying: BoxFuture<'a, relay::End>,
    via: &'a Upstream,
    meter: &'a Meter,
) -> BoxFuture<'a, relay::End> {
    Box::pin(async move {
        tokio::select! {
            end = relaying => end,
            () = via.dies(meter) => {
                relay::End::Upstream(io::Error::new(io::ErrorKind::TimedOut, "its proxy is down"))
            }
        }
    })
}

/// Whether it is the daemon's own question whether connections are captured.
fn is_proof(destination: SocketAddr) -> bool {
    destination.port() == probe::TCP_PORT
        && Family::ALL.iter().any(|family| probe::address(*family) == destination.ip())
}

/// Longer than the daemon takes to read the answer.
const PROVED: Duration = Duration::from_secs(2);

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    /// A rule, or no proxy that answers.
    #[error(transparent)]
    Dispatch(#[from] dispatch::Error),
    /// It is one of a proxy's own.
    #[error(transparent)]
    Loop(#[from] Loop),
}

impl NotServed {
    /// Whether the operator asked for it, or has been told where it was found.
    fn is_expected(&self) -> bool {
        matches!(self, NotServed::Dispatch(dispatch::Error::Blocked) | NotServed::Loop(_))
    }
}
