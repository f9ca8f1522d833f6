//! Any stream on the upstream's side (TLS, a stream of HTTP/2): copied. What carries
//! the stream is not known here, so a broken client only drops it. An idle half holds no memory
//! here either.

use super::End;
use super::broken::{Broken, Sides};
use super::buffer::Buffer;
use super::gate::{self, Gate};
use super::half::HalfEnd;
use super::hold::until_quiet;
use super::join::run;
use super::limits::Limits;
use super::watched::WatchedConnection;
use crate::net;
use crate::proxy::{HalfClose, Stream};
use crate::stats::{ByteFlow, Meter};
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

pub(super) async fn relay(
    client: &mut TcpStream,
    upstream: Box<dyn Stream>,
    half_close: HalfClose,
    meter: &Meter,
    limits: &Limits,
    gate: Option<Gate<'_>>,
) -> End {
    // Whoever drops this relay cuts the connection, and that is no end. (`net::ResetOnDrop` would
    // borrow what is split.)
    net::reset_on_close(client);
    let (upstream_source, upstream_sink) = tokio::io::split(upstream);
    let end = {
        let program = WatchedConnection(client);
        let Sides { client, upstream } = &Sides::default();
        let down_ended = &Notify::new();
        let up = pin!(async {
            let (mut source, mut sink) = (program, upstream_sink);
            if let Some(gate) = gate
                && let Err(end) = Box::pin(gate::pass(program.0, gate)).await
            {
                return end;
            }
            if let Err(end) = carry(&mut source, &mut sink, &meter.up, upstream, limits).await {
                return end;
            }
            if half_close == HalfClose::Held && !client.is_set() {
                // Boxed: few connections get here, and all would hold the room for it.
                Box::pin(async {
                    tokio::select! {
                        () = until_quiet(&meter.down, program.0) => {}
                        () = down_ended.notified() => {}
                    }
                })
                .await;
            }
            finish(&mut sink, client, upstream).await
        });
        let down = pin!(async {
            let (mut source, mut sink) = (upstream_source, program);
            if let Err(end) = carry(&mut source, &mut sink, &meter.down, client, limits).await {
                return end;
            }
            let end = finish(&mut sink, upstream, client).await;
            down_ended.notify_one();
            end
        });
        run(up, down, [Some(program.0), None], pending()).await
    };
    if matches!(end, End::Closed | End::Turned) {
        net::finish_on_close(client);
    }
    end
}

/// Carries the bytes of a half until its source ends.
///
/// Holds memory only while bytes are in flight: a read that finds none gives its piece back.
async fn carry(
    source: &mut (impl AsyncRead + Unpin),
    sink: &mut (impl AsyncWrite + Unpin),
    counter: &ByteFlow,
    sink_is: &Broken,
    limits: &Limits,
) -> Result<(), HalfEnd> {
    let mut memory = None;
    loop {
        let read = poll_fn(|cx| poll_read(source, &mut memory, limits, cx)).await;
        let read = match read {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) => return Err(HalfEnd::Source(error)),
        };
        let piece = memory.as_deref().map_or_else(Default::default, |memory| &memory[..read]);
        let written = match sink.write_all(piece).await {
            Ok(()) => sink.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            sink_is.by(&error);
            return Err(HalfEnd::Sink(error));
        }
        counter.add(read as u64);
    }
}

/// Sends the end of a source on, unless it turned out to be broken.
async fn finish(
    sink: &mut (impl AsyncWrite + Unpin),
    source_is: &Broken,
    sink_is: &Broken,
) -> HalfEnd {
    if source_is.is_set() {
        return HalfEnd::Finished;
    }
    match sink.shutdown().await {
        Ok(()) => HalfEnd::Finished,
        Err(error) => {
            sink_is.by(&error);
            HalfEnd::Sink(error)
        }
    }
}

/// Reads into a piece of memory, which is there only while there is something to read. (A read that
/// has to wait has put nothing there: see [`AsyncRead::poll_read`].)
fn poll_read<'l>(
    source: &mut (impl AsyncRead + Unpin),
    memory: &mut Option<Buffer<'l>>,
    limits: &'l Limits,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(memory.get_or_insert_with(|| Buffer::take(false, limits)));
    match Pin::new(source).poll_read(cx, &mut room) {
        Poll::Ready(result) => Poll::Ready(result.map(|()| room.filled().len())),
        Poll::Pending => {
            *memory = None;
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::net;
    use crate::relay::tests::{stream, tcp_pair};
    use crate::relay::{End, Limits, relay};
    use crate::stats::Meter;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    /// Its half is not read any more.
    #[tokio::test]
    async fn a_client_that_resets_after_its_end_is_noticed() {
        let (mut program, mut client) = tcp_pair().await;
        let (near, mut server) = tcp_pair().await;
        let relay = tokio::spawn(async move {
            relay(&mut client, stream(near), &Meter::default(), &Limits::default(), None).await
        });
        program.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
        net::reset_on_close(&program);
        drop(program);
        let end = timeout(Duration::from_secs(5), relay).await.expect("in time").unwrap();
        assert!(matches!(end, End::Client(_)), "{end:?}");
    }
}
