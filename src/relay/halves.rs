//! What the relays have in common: how a half ends, what both ends make of the connection, and
//! writing everything.

use super::End;
use crate::fault::{self, Fault};
use crate::net;
use crate::stats::Counter;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How one half ended.
#[derive(Debug)]
pub(super) enum Half {
    /// The source ended and its FIN was sent on.
    Finished,
    /// The source broke.
    Source(io::Error),
    /// The sink broke.
    Sink(io::Error),
}

/// Relays between two bare connections, then closes both as they deserve.
pub(super) async fn join(
    client: TcpStream,
    upstream: TcpStream,
    up: impl AsyncFnOnce(&TcpStream, &TcpStream) -> Half,
    down: impl AsyncFnOnce(&TcpStream, &TcpStream) -> Half,
) -> End {
    // Also when the whole relay is dropped, at the end of a stop.
    let cut = net::ResetOnDrop::new([&client, &upstream]);
    let end = {
        let up = pin!(up(&client, &upstream));
        let down = pin!(down(&upstream, &client));
        run(up, down, Some((&client, &upstream))).await
    };
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

/// Sends the FIN of a source that ended.
pub(super) fn finish(sink: &TcpStream) -> Half {
    if fault::is(Fault::HalfClose) {
        return Half::Source(io::ErrorKind::BrokenPipe.into());
    }
    match net::finish(sink) {
        Ok(()) => Half::Finished,
        Err(error) => Half::Sink(error),
    }
}

/// Writes all bytes and counts them.
pub(super) async fn write_all(
    sink: &TcpStream,
    mut bytes: &[u8],
    counter: &Counter,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                counter.add(written as u64);
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
