//! A tunnel that has a TLS connection to itself.

use crate::net;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Both directions. Dropped before both have ended in order, it resets the connection: what was cut
/// shall not look whole to the other side either.
#[derive(Debug)]
pub(super) struct TlsTunnel {
    tls: TlsStream<TcpStream>,
    /// What the destination said behind the answer. Once it is taken it holds no memory.
    early: Vec<u8>,
    /// Of `early`, what was taken.
    taken: usize,
    source_ended: bool,
    sink_ended: bool,
}

impl TlsTunnel {
    pub(super) fn new(tls: TlsStream<TcpStream>) -> Self {
        net::reset_on_close(tls.get_ref().0);
        TlsTunnel { tls, early: Vec::new(), taken: 0, source_ended: false, sink_ended: false }
    }

    /// With bytes of the destination that came behind the answer.
    pub(super) fn with_early(self, early: Vec<u8>) -> Self {
        TlsTunnel { early, ..self }
    }

    fn settle(&mut self) {
        if self.source_ended && self.sink_ended {
            net::finish_on_close(self.tls.get_ref().0);
        }
    }
}

/// What rustls says of an end without close_notify is for developers.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "TCP ended in the middle of TLS (no close_notify)")
        }
        _ => error,
    }
}

impl AsyncRead for TlsTunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let early = &this.early[this.taken..];
        if !early.is_empty() {
            let length = early.len().min(buffer.remaining());
            buffer.put_slice(&early[..length]);
            this.taken += length;
            if this.taken == this.early.len() {
                (this.early, this.taken) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        ready!(Pin::new(&mut this.tls).poll_read(cx, buffer)).map_err(in_words)?;
        if buffer.filled().len() == before && room > 0 {
            this.source_ended = true;
            this.settle();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsTunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tls).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_flush(cx)
    }

    /// Sends close_notify, then a FIN.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.tls).poll_shutdown(cx))?;
        this.sink_ended = true;
        this.settle();
        Poll::Ready(Ok(()))
    }
}
