//! Any stream on the upstream's side (TLS, later): copied. What carries the stream is not known
//! here, so a broken client only drops it. An idle half holds no memory here either.

use super::End;
use super::broken::{Broken, Sides};
use super::buffer::Buffer;
use super::half::HalfEnd;
use super::join::run;
use super::limits::Limits;
use crate::net;
use crate::proxy::Stream;
use crate::stats::{Counter, Meter};
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

pub(super) async fn relay(
    client: &mut TcpStream,
    upstream: Box<dyn Stream>,
    meter: &Meter,
    limits: &Limits,
) -> End {
    // Whoever drops this relay cuts the connection, and that is no end. (`net::ResetOnDrop` would
    // borrow what is split.)
    net::reset_on_close(client);
    let (upstream_source, upstream_sink) = tokio::io::split(upstream);
    let end = {
        let (client_source, client_sink) = client.split();
        let Sides { client, upstream } = &Sides::default();
        let up = pin!(half(client_source, upstream_sink, &meter.up, client, upstream, limits));
        let down = pin!(half(upstream_source, client_sink, &meter.down, upstream, client, limits));
        run(up, down, None, pending()).await
    };
    if matches!(end, End::Closed) {
        net::finish_on_close(client);
    }
    end
}

/// Holds memory only while bytes are in flight: a read that finds none gives its piece back.
async fn half(
    mut source: impl AsyncRead + Unpin,
    mut sink: impl AsyncWrite + Unpin,
    counter: &Counter,
    source_is: &Broken,
    sink_is: &Broken,
    limits: &Limits,
) -> HalfEnd {
    let mut memory = None;
    loop {
        let read = poll_fn(|cx| poll_read(&mut source, &mut memory, limits, cx)).await;
        let read = match read {
            Ok(read) => read,
            Err(error) => return HalfEnd::Source(error),
        };
        let piece = memory.as_deref().map_or_else(Default::default, |memory| &memory[..read]);
        let written = match read {
            0 if source_is.is_set() => Ok(()),
            0 => sink.shutdown().await,
            _ => match sink.write_all(piece).await {
                Ok(()) => sink.flush().await,
                Err(error) => Err(error),
            },
        };
        match written {
            Err(error) => {
                sink_is.by(&error);
                return HalfEnd::Sink(error);
            }
            Ok(()) if read == 0 => return HalfEnd::Finished,
            Ok(()) => counter.add(read as u64),
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
