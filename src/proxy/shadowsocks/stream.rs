//! A sealed connection seen as an async byte stream, for callers that speak a protocol over it
//! (the resolver, the selftest's server). The relay does not pass here: it works on the sealer
//! and the opener directly.

use super::opener::{self, Opened, Opener};
use super::sealer::{self, Sealer};
use super::{Sealed, invalid};
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
    outgoing: Box<[u8]>,
    /// Sealed and not yet sent.
    unsent: Range<usize>,
    incoming: Box<[u8]>,
    /// Bytes in `incoming`.
    received: usize,
    /// What they became.
    opened: Opened,
    /// Plain bytes that were taken.
    taken: usize,
}

/// Chunks a system call.
const CHUNKS: usize = 4;

const _: () = assert!(sealer::memory(CHUNKS) >= opener::LONGEST_PIECE);

impl SealedStream {
    /// Takes over a connection; the destination's address goes out with the first write.
    pub fn new(sealed: Sealed) -> Self {
        let Sealed { tcp, sealer, opener, .. } = sealed;
        SealedStream {
            tcp,
            sealer,
            opener,
            outgoing: vec![0; sealer::memory(CHUNKS)].into(),
            unsent: 0..0,
            incoming: vec![0; sealer::memory(CHUNKS)].into(),
            received: 0,
            opened: Opened::default(),
            taken: 0,
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

    /// Reads until at least one plain byte is there; `false` at an orderly end.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.taken == self.opened.plain {
            self.incoming.copy_within(self.opened.used..self.received, 0);
            self.received -= self.opened.used;
            (self.opened, self.taken) = (Opened::default(), 0);
            let mut room = ReadBuf::new(&mut self.incoming[self.received..]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut room))?;
            let read = room.filled().len();
            if read == 0 {
                let orderly = self.opener.may_end(self.received);
                let cut = || invalid("the connection ended in the middle of a chunk");
                return Poll::Ready(if orderly { Ok(false) } else { Err(cut()) });
            }
            self.received += read;
            self.opened = self.opener.open(&mut self.incoming[..self.received])?;
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
        let plain = &this.incoming[this.taken..this.opened.plain];
        let length = plain.len().min(buffer.remaining());
        buffer.put_slice(&plain[..length]);
        this.taken += length;
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
        let filled = this.sealer.lead(&mut this.outgoing);
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
