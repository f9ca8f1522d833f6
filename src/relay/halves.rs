//! What the relays have in common: how a half ends, what both ends make of the connection, and
//! writing everything.
//!
//! A connection tells its error once (net/core/sock.c, sock_error): whoever writes to a connection
//! that was reset may take the error away, and the half that reads it then sees a mere end. So an
//! end is sent on as a FIN only while nobody has found that side broken ([`Broken`]).

use super::End;
use crate::fault::{self, Fault};
use crate::net;
use crate::stats::Counter;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How long an upstream may take nothing of a client that was reset.
const STALL: Duration = Duration::from_secs(10);

/// How one half ended.
#[derive(Debug)]
pub(super) enum Half {
    /// The source ended. Its FIN was sent on, unless the source turned out to be broken.
    Finished,
    /// The source broke.
    Source(io::Error),
    /// The sink broke.
    Sink(io::Error),
}

/// What the half that writes to a side found out about it, for the half that reads it.
#[derive(Debug, Default)]
pub(super) struct Broken(AtomicBool);

impl Broken {
    /// Writing to the side failed. EPIPE says that its FIN had come before its reset
    /// (net/ipv4/tcp_input.c, tcp_reset): then its end is a true one.
    pub(super) fn by(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether an end of this side is the trace of a reset.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Both sides of a connection.
#[derive(Debug, Default)]
pub(super) struct Sides {
    pub(super) client: Broken,
    pub(super) upstream: Broken,
}

/// Runs both halves of a relay between two bare connections, which then close as they deserve when
/// the caller drops them.
///
/// The halves are pinned by the caller: a future that takes another one by value holds it twice.
pub(super) async fn join(
    client: &TcpStream,
    upstream: &TcpStream,
    up: Pin<&mut impl Future<Output = Half>>,
    down: Pin<&mut impl Future<Output = Half>>,
) -> End {
    // Also when the whole relay is dropped, at the end of a stop.
    let cut = net::ResetOnDrop::new([client, upstream]);
    let sides = Sides::default();
    let up = pin!(closing(up, upstream, &sides.client, &sides.upstream));
    let down = pin!(closing(down, client, &sides.upstream, &sides.client));
    let end = run(up, down, Some((client, upstream))).await;
    if matches!(end, End::Closed) {
        cut.disarm();
    }
    end
}

/// Runs both halves to the end of the connection. A side whose half has finished is read by
/// nobody any more: `sides`, client and upstream, are watched from then on.
pub(super) async fn run(
    mut up: Pin<&mut impl Future<Output = Half>>,
    mut down: Pin<&mut impl Future<Output = Half>>,
    sides: Option<(&TcpStream, &TcpStream)>,
) -> End {
    tokio::select! {
        first = &mut up => match first {
            Half::Source(error) => End::Client(error),
            Half::Sink(error) => {
                // What the upstream said before it broke may be the reason.
                let _ = down.await;
                End::Upstream(error)
            }
            Half::Finished => tokio::select! {
                second = down => match second {
                    Half::Finished => End::Closed,
                    Half::Source(error) => End::Upstream(error),
                    Half::Sink(error) => End::Client(error),
                },
                error = broken(sides.map(|(client, _)| client)) => End::Client(error),
            }
        },
        first = &mut down => match first {
            Half::Source(error) => End::Upstream(error),
            Half::Sink(error) => {
                let _ = up.await;
                End::Client(error)
            }
            Half::Finished => tokio::select! {
                second = up => match second {
                    Half::Finished => End::Closed,
                    Half::Source(error) => End::Client(error),
                    Half::Sink(error) => End::Upstream(error),
                },
                error = broken(sides.map(|(_, upstream)| upstream)) => End::Upstream(error),
            }
        },
    }
}

/// Waits for the reset of a side that has already sent its FIN: nobody reads it any more, so
/// nobody else would see it.
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

/// A half with its end: a FIN is sent on, a broken sink is told to the other half.
async fn closing(
    half: Pin<&mut impl Future<Output = Half>>,
    sink: &TcpStream,
    source_is: &Broken,
    sink_is: &Broken,
) -> Half {
    let end = match half.await {
        Half::Finished if source_is.is_set() => Half::Finished,
        Half::Finished if fault::is(Fault::HalfClose) => {
            Half::Source(io::ErrorKind::BrokenPipe.into())
        }
        Half::Finished => net::finish(sink).map_or_else(Half::Sink, |()| Half::Finished),
        broken => broken,
    };
    if let Half::Sink(error) = &end {
        sink_is.by(error);
    }
    end
}

/// Writes all bytes and counts them. `client`: see [`writable`].
pub(super) async fn write_all(
    sink: &TcpStream,
    mut bytes: &[u8],
    counter: &Counter,
    client: Option<&TcpStream>,
) -> Result<(), Half> {
    while !bytes.is_empty() {
        match sink.try_write(bytes) {
            Ok(0) => return Err(Half::Sink(io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                counter.add(written as u64);
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                writable(sink, client).await?;
            }
            Err(error) => return Err(Half::Sink(error)),
        }
    }
    Ok(())
}

/// Waits until the sink takes bytes again. `client`: the source, if it is the client. Nobody reads
/// it meanwhile, so nobody else would see its reset, and an upstream that has stalled for good
/// would hold the connection for ever. What the client sent before is given [`STALL`] to leave. (Of
/// an upstream's reset a client that stalls need not know: what came before it is worth reading.)
pub(super) async fn writable(sink: &TcpStream, client: Option<&TcpStream>) -> Result<(), Half> {
    let Some(client) = client else { return sink.writable().await.map_err(Half::Sink) };
    tokio::select! {
        biased;
        ready = sink.writable() => return ready.map_err(Half::Sink),
        // The error stays where it is, for whoever reads next.
        _ = client.ready(Interest::ERROR) => {}
    }
    match tokio::time::timeout(STALL, sink.writable()).await {
        Ok(ready) => ready.map_err(Half::Sink),
        Err(_) => Err(Half::Source(io::ErrorKind::ConnectionReset.into())),
    }
}
