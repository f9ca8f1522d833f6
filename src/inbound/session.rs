//! One connection from accept to its end: destination, guards, dial, relay, one log line.

use super::Stray;
use super::tcp::Inbound;
use crate::dispatch::{self, Connected, Upstream};
use crate::net::origin::OrigDst;
use crate::net::{self, ResetOnDrop};
use crate::relay::{End, relay};
use crate::route::Route;
use crate::stats::Meter;
use crate::target::Target;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::{debug, error, info};

/// Serves one accepted connection to its end. Whatever cannot be served is reset, so that the
/// program behind it sees "refused" at once and not silence; that is when the caller drops it.
pub(super) async fn serve(inbound: &Inbound, stream: &mut TcpStream, client: SocketAddr) {
    let destination = match inbound.intercept().destination(stream, client, inbound.outbound()) {
        Ok(OrigDst(destination)) => destination,
        Err(stray) => return turn_away(inbound, stream, client, &stray),
    };
    inbound.stats().accepted.add(1);
    let began = Instant::now();
    // Boxed: what dialling needs shall not stay for as long as the connection lives.
    let meter = Arc::new(Meter::default());
    let Some(Connected { link, via }) =
        Box::pin(connect(inbound, stream, client, destination, &meter)).await
    else {
        return;
    };
    let end = relay(stream, link, &meter).await;
    inbound.stats().ended.add(1);
    inbound.stats().bytes.up.add(meter.up.get());
    inbound.stats().bytes.down.add(meter.down.get());
    if let Some(upstream) = &via {
        upstream.report(meter.up.get(), meter.down.get());
    }
    tell(client, destination, name(via.as_deref()), &meter, began, &end);
}

/// The one line that every connection leaves in the log.
fn tell(
    client: SocketAddr,
    destination: SocketAddr,
    way: &str,
    meter: &Meter,
    began: Instant,
    end: &End,
) {
    let (up, down) = (meter.up.get(), meter.down.get());
    // Milliseconds are enough for a reader.
    let seconds = began.elapsed().as_millis() as f64 / 1000.0;
    match end {
        End::Closed if down == 0 && up > 0 => {
            info!(%client, %destination, via = way, up, down, seconds, "closed without a word from the other side");
        }
        End::Closed => info!(%client, %destination, via = way, up, down, seconds, "closed"),
        End::Client(cause) => {
            info!(%client, %destination, via = way, up, down, seconds, "client broke off: {cause}");
        }
        End::Upstream(cause) => {
            info!(%client, %destination, via = way, up, down, seconds, "upstream broke off: {cause}");
        }
    }
}

fn turn_away(inbound: &Inbound, stream: &TcpStream, client: SocketAddr, stray: &Stray) {
    net::reset_on_close(stream);
    if matches!(stray, Stray::Pulse) {
        return;
    }
    inbound.stats().refused.add(1);
    if matches!(stray, Stray::Own(_)) && !inbound.loop_reported.swap(true, Ordering::Relaxed) {
        error!(%client, "reset a connection: {stray}; exempt marked packets there (this is said once)");
    } else {
        debug!(%client, "reset a connection: {stray}");
    }
}

/// Dials for the client. `None`: it was refused, and that is said.
async fn connect(
    inbound: &Inbound,
    stream: &TcpStream,
    client: SocketAddr,
    destination: SocketAddr,
    meter: &Arc<Meter>,
) -> Option<Connected> {
    // A session may be dropped while it dials, at the end of a stop.
    let cut = ResetOnDrop::new([stream]);
    let stats = inbound.stats();
    let dispatcher = inbound.current().load();
    let target = Target::addr(destination);
    if dispatcher.route(&target) == Route::Proxy
        && let Err(cause) = inbound.loops.look(&dispatcher, client, destination, meter)
    {
        stats.refused.add(1);
        debug!(%client, %destination, "refused: {cause}");
        return None;
    }
    match dispatcher.connect(&target).await {
        Ok(connected) => {
            let via = &connected.via;
            if via.is_some() { &stats.proxied } else { &stats.direct }.add(1);
            debug!(%client, %destination, via = name(via.as_deref()), "connected");
            cut.disarm();
            Some(connected)
        }
        Err(cause) => {
            stats.refused.add(1);
            match cause {
                dispatch::Error::Blocked => debug!(%client, %destination, "refused: {cause}"),
                _ => info!(%client, %destination, "refused: {cause}"),
            }
            None
        }
    }
}

fn name(via: Option<&Upstream>) -> &str {
    via.map_or("direct", Upstream::name)
}
