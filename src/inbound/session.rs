//! One connection from accept to its end: destination, guards, dial, relay, one log line.

use super::loops::Loop;
use super::tcp::Inbound;
use super::{Arrival, Stray};
use crate::dispatch::{self, Connected, Upstream};
use crate::firewall::{Family, probe};
use crate::net::origin::OrigDst;
use crate::net::{self, ResetOnDrop};
use crate::proxy::direct::Direct;
use crate::relay::{End, relay};
use crate::route::Route;
use crate::stats::Meter;
use crate::target::Target;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info};

/// Serves one accepted connection to its end. Whatever cannot be served is reset, so that the
/// program behind it sees "refused" at once and not silence; that is when the caller drops it.
pub(super) async fn serve(inbound: &Inbound, stream: &mut TcpStream, client: SocketAddr) {
    let arrival = match inbound.intercept().destination(stream, client, inbound.outbound()) {
        Ok(arrival) if is_proof(arrival.destination.0) => return prove(inbound, stream).await,
        Ok(arrival) => arrival,
        Err(stray) => return turn_away(inbound, stream, client, &stray),
    };
    let OrigDst(destination) = arrival.destination;
    inbound.stats().accepted.add(1);
    let mut open = Open::new(inbound, client, destination);
    // Boxed: what dialling needs shall not stay for as long as the connection lives.
    let link = match Box::pin(connect(inbound, stream, client, arrival, &open.meter)).await {
        Ok(Connected { link, via }) => {
            open.connected(via);
            link
        }
        Err(cause) => return open.refused(&cause),
    };
    let end = relay(stream, link, &open.meter, inbound.relay_limits()).await;
    open.ended(&end);
}

/// Whether it is the daemon's own question whether connections are captured.
fn is_proof(destination: SocketAddr) -> bool {
    destination.port() == probe::TCP_PORT
        && Family::ALL.iter().any(|family| probe::address(*family) == destination.ip())
}

/// Longer than who asks takes to read the answer.
const PROVED: Duration = Duration::from_secs(2);

async fn prove(inbound: &Inbound, stream: &mut TcpStream) {
    if let Some(token) = inbound.token() {
        // Who has left needs no answer. The other end closes first, by a reset: a TIME_WAIT of ours
        // would stand in the way of the next program whose connection has the same port, for the
        // second until its first packet is sent again.
        let told = async {
            stream.write_all(token.text().as_bytes()).await?;
            stream.read(&mut [0]).await
        };
        let _ = timeout(PROVED, told).await;
    }
}

/// A connection whose destination is known. It is counted once, refused or ended, and leaves one
/// line in the log, also when it is dropped in the middle: then it was cut.
struct Open<'a> {
    inbound: &'a Inbound,
    client: SocketAddr,
    destination: SocketAddr,
    began: Instant,
    /// Shared with those who see whether the connection is answered.
    meter: Arc<Meter>,
    stage: Stage,
}

enum Stage {
    Dialling,
    /// Through whom; `None` for direct.
    Relaying(Option<Arc<Upstream>>),
    /// It was counted, and told.
    Over,
}

impl<'a> Open<'a> {
    fn new(inbound: &'a Inbound, client: SocketAddr, destination: SocketAddr) -> Self {
        let (began, meter) = (Instant::now(), Arc::default());
        Open { inbound, client, destination, began, meter, stage: Stage::Dialling }
    }

    fn connected(&mut self, via: Option<Arc<Upstream>>) {
        let Open { client, destination, .. } = self;
        let stats = self.inbound.stats();
        if via.is_some() { &stats.proxied } else { &stats.direct }.add(1);
        debug!(%client, %destination, via = name(via.as_deref()), "connected");
        self.stage = Stage::Relaying(via);
    }

    fn refused(mut self, cause: &Refused) {
        self.stage = Stage::Over;
        self.inbound.stats().refused.add(1);
        let Open { client, destination, .. } = &self;
        match cause {
            // A loop is told by whoever found it.
            Refused::Dispatch(dispatch::Error::Blocked) | Refused::Loop(_) => {
                debug!(%client, %destination, "refused: {cause}");
            }
            _ => info!(%client, %destination, "refused: {cause}"),
        }
    }

    fn ended(mut self, end: &End) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let (up, down) = (self.meter.up.get(), self.meter.down.get());
        if let Stage::Relaying(Some(upstream)) = &stage {
            upstream.report(self.destination, up, down);
        }
        let how = match end {
            End::Closed if down == 0 && up > 0 => {
                "closed without a word from the other side".into()
            }
            End::Closed => "closed".into(),
            End::Client(cause) => format!("client broke off: {cause}"),
            End::Upstream(cause) => format!("upstream broke off: {cause}"),
        };
        self.tell(&stage, &how);
    }

    /// Counts the end, and writes the one line that every connection leaves in the log.
    fn tell(&self, stage: &Stage, how: &str) {
        let Open { client, destination, began, meter, .. } = self;
        let (up, down) = (meter.up.get(), meter.down.get());
        let stats = self.inbound.stats();
        stats.ended.add(1);
        stats.bytes.up.add(up);
        stats.bytes.down.add(down);
        // Milliseconds are enough for a reader.
        let seconds = began.elapsed().as_millis() as f64 / 1000.0;
        match stage {
            Stage::Relaying(via) => {
                let via = name(via.as_deref());
                info!(%client, %destination, via, up, down, seconds, "{how}");
            }
            _ => info!(%client, %destination, seconds, "{how} while it was being connected"),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        if matches!(stage, Stage::Over) {
            return;
        }
        let why = match std::thread::panicking() {
            true => "cut by a fault of snet's own (please report it)",
            false => "cut by the end of snet",
        };
        self.tell(&stage, why);
    }
}

fn turn_away(inbound: &Inbound, stream: &TcpStream, client: SocketAddr, stray: &Stray) {
    net::reset_on_close(stream);
    if matches!(stray, Stray::Pulse) {
        return;
    }
    inbound.stats().accepted.add(1);
    inbound.stats().refused.add(1);
    if matches!(stray, Stray::Own(_)) && !inbound.loop_reported.swap(true, Ordering::Relaxed) {
        error!(
            %client,
            "reset a connection: {stray}; exempt marked packets there (this is said once)"
        );
    } else {
        debug!(%client, "reset a connection: {stray}");
    }
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// A rule, or no proxy that answers.
    #[error(transparent)]
    Dispatch(#[from] dispatch::Error),
    /// It is one of a proxy's own.
    #[error(transparent)]
    Loop(#[from] Loop),
}

/// Dials for the client.
async fn connect(
    inbound: &Inbound,
    stream: &TcpStream,
    client: SocketAddr,
    Arrival { destination: OrigDst(destination), is_own }: Arrival,
    meter: &Arc<Meter>,
) -> Result<Connected, Refused> {
    // A session may be dropped while it dials, at the end of a stop.
    let cut = ResetOnDrop::new([stream]);
    let dispatcher = inbound.current().load();
    let target = Target::addr(destination);
    if is_own {
        debug!(%client, %destination, "a connection of snet's own came back, and is dialled again");
        let second = Direct::new(inbound.outbound().second());
        let connected = dispatch::connect_direct(&second, &target).await?;
        cut.disarm();
        return Ok(connected);
    }
    if dispatcher.route(&target).route == Route::Proxy {
        inbound.loops.look(&dispatcher, client, destination, meter)?;
    }
    let connected = dispatcher.connect(&target).await?;
    cut.disarm();
    Ok(connected)
}

fn name(via: Option<&Upstream>) -> &str {
    via.map_or("direct", Upstream::name)
}
