//! One connection from accept to its end: destination, guards, dial, relay, one log line.

use super::look::FirstLook;
use super::loops::{Loop, Loops};
use super::open::Open;
use super::token::Token;
use super::{Intercept, Intercepted, Rejected};
use crate::dispatch::{self, Connected, Current, FirstWords, Upstream};
use crate::domain::Name;
use crate::family::Family;
use crate::net::origin::OrigDst;
use crate::net::{self, Outbound, ResetOnDrop};
use crate::probe;
use crate::proxy::BoxFuture;
use crate::proxy::direct::Direct;
use crate::proxy::first_payload::{FirstPayload, MayLeave};
use crate::relay::{self, Gate, relay};
use crate::route::{ClientHost, Route, ToldName};
use crate::sniff::{self, Sniffed};
use crate::stats::{DecidedBy, LiveFlow, Meter, RefusedKind, Stats};
use crate::target::Target;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
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
        let looks = told.is_none() && !intercepted.is_own && self.current.load().looks();
        let mut look = if looks { FirstLook::Untouched } else { FirstLook::Over };
        let errand = SessionErrand { client, intercepted, told, claimed: OnceLock::new() };
        // A second time if the name in the first bytes says so.
        loop {
            // Boxed: what dialling needs shall not stay for as long as the connection lives.
            let dial = Box::pin(self.dial(stream, &errand, &open, live, &mut look)).await;
            let (link, mortal) = match dial {
                Ok((connected, sent)) => {
                    open.has_sent(sent);
                    let said = self.say(stream, connected, &errand, &open, live, &mut look);
                    let Some(connected) = Box::pin(said).await else { continue };
                    let Connected { link, via, resets, group, reason, by, .. } = connected;
                    let mortal = via.clone().filter(|_| resets);
                    open.connected(via, group, reason);
                    open.decided(by);
                    (link, mortal)
                }
                Err(cause) => {
                    open.decided(self.decided_by(&errand));
                    return open.refused(&cause, cause.is_expected());
                }
            };
            let stays = |first: &[u8]| self.stays(&errand, &open, live, first);
            let gate = (look == FirstLook::Untouched).then_some(&stays as Gate<'_>);
            if gate.is_none() {
                open.stays();
            }
            let relaying = relay(stream, link, &live.meter, &self.relay_limits, gate);
            let end = match mortal {
                None => relaying.await,
                Some(via) => until_death(relaying, &via, &live.meter).await,
            };
            if !matches!(end, relay::End::Turned) {
                return open.ended(&end);
            }
            look = FirstLook::Over;
            open.turned();
        }
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
        let destination = match rejected {
            Rejected::Own(OrigDst(destination)) => Some(*destination),
            _ => None,
        };
        let kind = RefusedKind::Connection;
        self.stats.refusals.note(kind, client, destination, None, rejected);
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

    /// Dials for the client, and looks meanwhile at what it sends. A dial that the name there turns
    /// to another way is given up: nothing of the client has been sent by then. Returns also how
    /// many bytes were taken from it, and are on their way.
    async fn dial(
        &self,
        stream: &TcpStream,
        errand: &SessionErrand,
        open: &Open<'_>,
        live: &LiveFlow,
        look: &mut FirstLook,
    ) -> Result<(Connected, usize), NotServed> {
        // A session may be dropped while it dials, at the end of a stop.
        let cut = ResetOnDrop::new([stream]);
        let result = loop {
            let turned = Notify::new();
            // A dial that would send the first bytes ahead asks before.
            let stays = |first: &[u8]| match sniff::stream(first) {
                Sniffed::Name(name) if self.is_turned_by(errand, open, &name) => {
                    turned.notify_one();
                    false
                }
                _ => true,
            };
            let payload = FirstPayload::of(stream);
            let payload = match look {
                FirstLook::Over => payload,
                FirstLook::Untouched | FirstLook::Unfinished => payload.asking(&stays),
            };
            let dialled = {
                let mut dial = pin!(self.connect(errand, &payload, &live.meter));
                tokio::select! {
                    biased;
                    name = look.name(stream) => {
                        if payload.is_out() {
                            open.claimed(&name);
                        } else if self.is_turned_by(errand, open, &name) {
                            continue;
                        }
                        dial.await
                    }
                    () = turned.notified() => {
                        *look = FirstLook::Over;
                        continue;
                    }
                    dialled = &mut dial => dialled,
                }
            };
            let is_out = payload.is_out();
            let sent = payload.into_taken();
            let found = look.glance(stream, &sent);
            if is_out || !sent.is_empty() {
                *look = FirstLook::Over;
                found.iter().for_each(|name| open.claimed(name));
            } else if let Some(name) = found
                && self.is_turned_by(errand, open, &name)
            {
                continue;
            }
            break dialled.map(|connected| (connected, sent.len()));
        };
        if result.is_ok() {
            cut.disarm();
        }
        result
    }

    /// What decided about a connection that is refused.
    fn decided_by(&self, errand: &SessionErrand) -> Option<DecidedBy> {
        let Intercepted { destination: OrigDst(destination), is_own } = errand.intercepted;
        let target = Target::addr(destination);
        let decision = self.current.load().route_claimed(&target, errand.claimed.get());
        decision.by.filter(|_| !is_own)
    }

    /// Dials the way that address and name say.
    async fn connect(
        &self,
        SessionErrand { client, intercepted, told, claimed }: &SessionErrand,
        payload: &FirstPayload<'_>,
        meter: &Arc<Meter>,
    ) -> Result<Connected, NotServed> {
        let Intercepted { destination: OrigDst(destination), is_own } = *intercepted;
        let (dispatcher, target) = (self.current.load(), Target::addr(destination));
        if is_own {
            debug!(
                %client,
                %destination,
                "a connection of snet's own came back, and is dialled again"
            );
            let direct = Direct::new(self.outbound.second());
            return Ok(dispatch::connect_direct(&direct, &target).await?);
        }
        let claimed = claimed.get();
        if dispatcher.route_claimed(&target, claimed).route == Route::Proxy {
            self.loops.look(&dispatcher, *client, destination, meter)?;
        }
        let client = client.ip().to_canonical();
        Ok(dispatcher.connect(&target, claimed, client, told.as_ref(), Some(payload)).await?)
    }

    /// Says the client's first words where they may have to be said again, once they were seen.
    /// `None`: their name turns the connection to another way, and nothing was said.
    async fn say(
        &self,
        stream: &TcpStream,
        connected: Connected,
        errand: &SessionErrand,
        open: &Open<'_>,
        live: &LiveFlow,
        look: &mut FirstLook,
    ) -> Option<Connected> {
        let was_turned = errand.claimed.get().is_some();
        let stays = |first: &[u8]| match sniff::stream(first) {
            Sniffed::Name(name) => !self.is_turned_by(errand, open, &name),
            _ => true,
        };
        let OrigDst(destination) = errand.intercepted.destination;
        let words = FirstWords {
            client: stream,
            from: errand.client.ip().to_canonical(),
            target: &Target::addr(destination),
            claimed: errand.claimed.get(),
            told: errand.told.as_ref(),
            meter: &live.meter,
            may_leave: (*look != FirstLook::Over).then_some(&stays as MayLeave<'_>),
        };
        let connected = self.current.load().say(connected, words).await;
        if errand.claimed.get().is_some() && !was_turned {
            *look = FirstLook::Over;
            return None;
        }
        if live.meter.up.get() > 0 {
            *look = FirstLook::Over;
        }
        Some(connected)
    }

    /// Whether the connection stays on its way, by its first bytes.
    fn stays(
        &self,
        errand: &SessionErrand,
        open: &Open<'_>,
        live: &LiveFlow,
        first: &[u8],
    ) -> bool {
        if let Sniffed::Name(name) = sniff::stream(first) {
            if live.meter.down.get() > 0 {
                // The destination has spoken: no other one may follow it.
                open.claimed(&name);
            } else if self.is_turned_by(errand, open, &name) {
                return false;
            }
        }
        open.stays();
        true
    }

    /// Notes the name that the client itself says, and whether a rule for it makes another way of
    /// it; then it goes that way.
    fn is_turned_by(&self, errand: &SessionErrand, open: &Open<'_>, name: &Name) -> bool {
        open.claimed(name);
        let OrigDst(destination) = errand.intercepted.destination;
        self.current.load().is_turned_by(&Target::addr(destination), name)
            && errand.claimed.set(name.clone()).is_ok()
    }
}

/// What a connection wants.
struct SessionErrand {
    client: SocketAddr,
    intercepted: Intercepted,
    told: Option<ToldName>,
    /// The name that turns it to another way, once that is known.
    claimed: OnceLock<Name>,
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
            () = via.dies(|| meter.down.get()) => {
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
