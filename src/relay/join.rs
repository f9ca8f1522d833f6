//! What the ends of both halves make of the connection.
//!
//! An end is sent on as a FIN only while no write has found that side broken ([`Broken`]).

use super::End;
use super::broken::{Broken, Sides};
use super::half::HalfEnd;
use super::hold::HeldFin;
use crate::fault::{self, Fault};
use crate::net;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Runs both halves of a relay between two bare connections, which then close as they deserve when
/// the caller drops them. `held`: the client's FIN is held back.
///
/// The halves are pinned by the caller: a future that takes another one by value holds it twice.
pub(super) async fn join(
    client: &TcpStream,
    upstream: &TcpStream,
    up: Pin<&mut impl Future<Output = HalfEnd>>,
    down: Pin<&mut impl Future<Output = HalfEnd>>,
    held: Option<HeldFin<'_>>,
) -> End {
    // Also when the whole relay is dropped, at the end of a stop.
    let cut = net::ResetOnDrop::new([client, upstream]);
    let sides = Sides::default();
    let forwarded = held.is_none();
    let up = pin!(closing(up, upstream, &sides.client, &sides.upstream, forwarded));
    let down = pin!(closing(down, client, &sides.upstream, &sides.client, true));
    // Boxed when it is needed: it would be room that every connection holds.
    let release = async {
        match held {
            Some(held) => Box::pin(held.release(&sides.client)).await,
            None => pending().await,
        }
    };
    let end = run(up, down, [Some(client), Some(upstream)], release).await;
    if matches!(end, End::Closed | End::Turned) {
        cut.disarm();
    }
    end
}

/// Runs both halves to the end of the connection. A side whose half has finished is not read any
/// more: of `client` and `upstream`, those that are known are watched for a reset from then on.
/// `release` sends a FIN of the client's that was held back; it ends only if that fails.
pub(super) async fn run(
    mut up: Pin<&mut impl Future<Output = HalfEnd>>,
    mut down: Pin<&mut impl Future<Output = HalfEnd>>,
    [client, upstream]: [Option<&TcpStream>; 2],
    release: impl Future<Output = io::Error>,
) -> End {
    tokio::select! {
        first = &mut up => match first {
            HalfEnd::Turned => End::Turned,
            HalfEnd::Source(error) => End::Client(error),
            HalfEnd::Sink(error) => {
                // What the upstream said before it broke may be the reason.
                let _ = down.await;
                End::Upstream(error)
            }
            HalfEnd::Finished => tokio::select! {
                second = down => match second {
                    HalfEnd::Finished => End::Closed,
                    HalfEnd::Source(error) => End::Upstream(error),
                    HalfEnd::Sink(error) => End::Client(error),
                    HalfEnd::Turned => End::Turned,
                },
                error = broken(client) => End::Client(error),
                error = release => End::Upstream(error),
            }
        },
        first = &mut down => match first {
            HalfEnd::Turned => End::Turned,
            HalfEnd::Source(error) => End::Upstream(error),
            HalfEnd::Sink(error) => {
                let _ = up.await;
                End::Client(error)
            }
            HalfEnd::Finished => tokio::select! {
                second = up => match second {
                    HalfEnd::Finished => End::Closed,
                    HalfEnd::Source(error) => End::Client(error),
                    HalfEnd::Sink(error) => End::Upstream(error),
                    HalfEnd::Turned => End::Turned,
                },
                error = broken(upstream) => End::Upstream(error),
            }
        },
    }
}

/// Waits for the reset of a side that has already sent its FIN: it is not read any more, so the
/// reset would not be seen otherwise.
///
/// Boxed, since few connections get here and all of them would hold the room for it.
fn broken(side: Option<&TcpStream>) -> Pin<Box<dyn Future<Output = io::Error> + Send + '_>> {
    Box::pin(async move {
        let Some(side) = side else { return pending().await };
        loop {
            // epoll always reports errors (epoll_ctl(2), EPOLLERR), so this wakes for nothing else.
            match side.ready(Interest::ERROR).await {
                Ok(_) => {}
                Err(error) => return error,
            }
            match side.take_error() {
                Ok(Some(error)) | Err(error) => return error,
                // Not an error of the connection: ask again, but let the others run first.
                Ok(None) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    })
}

/// A half with its end: a FIN is sent on, if it is not held back; a broken sink is told to the
/// other half.
async fn closing(
    half: Pin<&mut impl Future<Output = HalfEnd>>,
    sink: &TcpStream,
    source_is: &Broken,
    sink_is: &Broken,
    forwarded: bool,
) -> HalfEnd {
    let end = match half.await {
        HalfEnd::Finished if source_is.is_set() => HalfEnd::Finished,
        HalfEnd::Finished if fault::is(Fault::HalfClose) => {
            HalfEnd::Source(io::ErrorKind::BrokenPipe.into())
        }
        HalfEnd::Finished if !forwarded => HalfEnd::Finished,
        HalfEnd::Finished => net::finish(sink).map_or_else(HalfEnd::Sink, |()| HalfEnd::Finished),
        broken => broken,
    };
    if let HalfEnd::Sink(error) = &end {
        sink_is.by(error);
    }
    end
}
