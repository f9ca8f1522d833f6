//! A tunnel that is a stream of an HTTP/2 connection (RFC 9113, 8.5).
//!
//! The other side may send no more than the window of the stream ([`Windows`](super::windows))
//! ahead of what was read here; what it has sent waits in the connection's memory. The other
//! direction has a bound of its own, beside the other side's window.

use super::kept::{Place, cut};
use super::optimism::OptimisticTrial;
use super::windows::ReadingPace;
use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Both directions. Dropped before both have ended, it resets the stream, and nothing else of the
/// connection.
#[derive(Debug)]
pub(super) struct Http2Tunnel {
    sink: SendStream<Bytes>,
    source: RecvStream,
    /// Of what was received, the rest.
    rest: Bytes,
    pace: ReadingPace,
    sink_ended: bool,
    place: Place,
    /// Something was sent ahead of the answer, to a server that is not known to take it. Until it
    /// is. Boxed: a tunnel that idles shall not hold the room.
    trial: Option<Box<OptimisticTrial>>,
}

impl Http2Tunnel {
    pub(super) fn new(
        sink: SendStream<Bytes>,
        source: RecvStream,
        place: Place,
        trial: Option<OptimisticTrial>,
    ) -> Self {
        let (rest, pace) = (Bytes::new(), ReadingPace::from(Instant::now()));
        let trial = trial.map(Box::new);
        Http2Tunnel { sink, source, rest, pace, sink_ended: false, place, trial }
    }
}

impl AsyncRead for Http2Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(this.source.poll_data(cx)) {
                // END_STREAM; a connection that ends without it is an error.
                None => return Poll::Ready(Ok(())),
                Some(Ok(piece)) => {
                    this.rest = piece;
                    if let Some(trial) = this.trial.take().filter(|_| !this.rest.is_empty()) {
                        trial.succeeded();
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(cut(error))),
            }
        }
        let length = this.rest.len().min(buffer.remaining());
        buffer.put_slice(&this.rest[..length]);
        this.rest.advance(length);
        if this.rest.is_empty() {
            // It would keep the memory of the whole frame.
            this.rest = Bytes::new();
        }
        this.pace.took(length, Instant::now(), this.place.windows());
        Poll::Ready(this.source.flow_control().release_capacity(length).map_err(cut))
    }
}

impl AsyncWrite for Http2Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // What is left from before is not announced a second time.
        let mut room = this.sink.capacity();
        if room == 0 {
            this.sink.reserve_capacity(bytes.len());
        }
        while room == 0 {
            room = match ready!(this.sink.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(cut(error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
        }
        let length = room.min(bytes.len());
        let piece = Bytes::copy_from_slice(&bytes[..length]);
        this.sink.send_data(piece, false).map_err(cut)?;
        Poll::Ready(Ok(length))
    }

    /// The connection sends by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.sink_ended {
            this.sink.send_data(Bytes::new(), true).map_err(cut)?;
            this.sink_ended = true;
        }
        Poll::Ready(Ok(()))
    }
}
