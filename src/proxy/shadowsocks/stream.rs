//! A sealed connection seen as an async byte stream, for callers that speak a protocol over it
//! (the resolver, the selftest's server). The relay does not pass here: it works on the sealer
//! and the opener directly.

use super::opener::{self, Opener};
use super::sealer::{self, Sealer};
use super::{Sealed, invalid};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Both directions of a sealed connection.
pub struct SealedStream {
    tcp: TcpStream,
    sealer: Sealer,
    opener: Opener,
    /// Waits for the first payload.
    header: Vec<u8>,
    outgoing: Box<[u8; sealer::MEMORY]>,
    /// Sealed and not yet sent.
    unsent: Range<usize>,
    incoming: Box<[u8; opener::MEMORY]>,
    /// Bytes in `incoming`.
    received: usize,
    /// Bytes of `incoming` that are done with once `payloads` is empty.
    used: usize,
    payloads: VecDeque<Range<usize>>,
}

impl SealedStream {
    /// Takes over a connection; the address header goes out with the first write.
    pub fn new(sealed: Sealed) -> Self {
        let Sealed { tcp, sealer, opener, header } = sealed;
        SealedStream {
            tcp,
            sealer,
            opener,
            header,
            outgoing: Box::new([0; sealer::MEMORY]),
            unsent: 0..0,
            incoming: Box::new([0; opener::MEMORY]),
            received: 0,
            used: 0,
            payloads: VecDeque::new(),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let bytes = &self.outgoing[self.unsent.clone()];
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, bytes))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.start += sent;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads until at least one payload is there; `false` at an orderly end.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.payloads.is_empty() {
            self.incoming.copy_within(self.used..self.received, 0);
            self.received -= self.used;
            self.used = 0;
            let mut room = ReadBuf::new(&mut self.incoming[self.received..]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut room))?;
            let read = room.filled().len();
            if read == 0 {
                let orderly = self.opener.may_end(self.received);
                let cut = || invalid("the connection ended in the middle of a chunk");
                return Poll::Ready(if orderly { Ok(false) } else { Err(cut()) });
            }
            self.received += read;
            let opened = self.opener.open(&mut self.incoming[..self.received])?;
            self.used = opened.used;
            self.payloads = opened.payloads.into();
        }
        Poll::Ready(Ok(true))
    }
}

impl AsyncRead for SealedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 || !ready!(this.poll_open(cx))? {
            return Poll::Ready(Ok(()));
        }
        if let Some(payload) = this.payloads.front_mut() {
            let length = payload.len().min(buffer.remaining());
            buffer.put_slice(&this.incoming[payload.start..payload.start + length]);
            payload.start += length;
            if payload.start == payload.end {
                this.payloads.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A write is complete once `poll_flush` says so: what was taken may still wait for the kernel.
impl AsyncWrite for SealedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let header = std::mem::take(&mut this.header);
        let filled = sealer::place(&mut this.outgoing, 0, &header);
        let taken = sealer::place(&mut this.outgoing, filled, bytes);
        this.unsent = this.sealer.seal(&mut this.outgoing, filled + taken)?;
        // Sent as far as the kernel takes it now; the rest with the next call.
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

impl fmt::Debug for SealedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}
