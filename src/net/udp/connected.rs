//! A connected socket that many questions are asked from: what came in is taken by one call.
//!
//! The runtime asks only what comes in, as for [`LegSocket`](super::leg::LegSocket): a socket that
//! is asked for both wakes its thread once more for each packet that has left
//! (sock_def_write_space in net/core/sock.c).

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;

/// Datagrams for each system call. One that brings fewer has emptied the socket.
const BATCH: usize = 8;

/// The socket.
#[derive(Debug)]
pub struct ConnectedSocket {
    socket: AsyncFd<std::net::UdpSocket>,
}

/// Room for what one call takes; good for any number of sockets, one after the other.
pub struct ConnectedInbox {
    headers: MultiHeaders<SockaddrStorage>,
    /// Room for each datagram, one behind the other.
    buffers: Box<[u8]>,
    room: usize,
    lengths: Vec<usize>,
}

impl ConnectedSocket {
    /// Of a connected socket.
    ///
    /// # Errors
    /// What epoll says.
    #[expect(deprecated, reason = "what replaces it is unsafe; a UdpSocket keeps its descriptor")]
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let socket = AsyncFd::with_interest(socket.into_std()?, Interest::READABLE)?;
        Ok(ConnectedSocket { socket })
    }

    /// Its own address.
    ///
    /// # Errors
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Sends a datagram. A full send buffer drops it, as any datagram may be lost.
    ///
    /// # Errors
    /// What the peer, or the way to it, has said of what was sent before (ICMP); what the kernel
    /// says of the way.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        match self.socket.get_ref().send(message) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// Waits until something is there.
    ///
    /// # Errors
    /// What the peer, or the way to it, has said of what was sent (ICMP): it makes a socket neither
    /// readable nor closed (`datagram_poll` in net/core/datagram.c).
    pub async fn readable(&self) -> io::Result<()> {
        readable(&self.socket).await
    }

    /// Takes datagrams that are there, as many as one call brings, in place of those of the last
    /// call.
    ///
    /// # Errors
    /// `WouldBlock`: none is there. What the peer has said of what was sent (ICMP).
    pub fn receive(&self, inbox: &mut ConnectedInbox) -> io::Result<()> {
        inbox.lengths.clear();
        let taken = self.socket.try_io(Interest::READABLE, |socket| {
            inbox.fill(socket)?;
            // This tells the runtime that the socket is empty.
            if inbox.lengths.len() == BATCH {
                Ok(())
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        match taken {
            Err(error) if inbox.lengths.is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}

impl ConnectedInbox {
    /// What of a datagram does not fit into `room` bytes is lost.
    pub fn new(room: usize) -> Self {
        ConnectedInbox {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![0; room * BATCH].into_boxed_slice(),
            room,
            lengths: Vec::with_capacity(BATCH),
        }
    }

    /// The datagrams of the last call.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let buffers = self.buffers.chunks_exact(self.room);
        buffers.zip(&self.lengths).map(|(buffer, length)| &buffer[..*length])
    }

    fn fill(&mut self, socket: &std::net::UdpSocket) -> io::Result<()> {
        let mut buffers = self.buffers.chunks_exact_mut(self.room);
        let mut pieces: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages =
            recvmmsg(socket.as_raw_fd(), &mut self.headers, pieces.iter_mut(), flags, None)?;
        self.lengths.extend(messages.map(|message| message.bytes));
        Ok(())
    }
}

impl fmt::Debug for ConnectedInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedInbox").field("lengths", &self.lengths).finish_non_exhaustive()
    }
}
/// Waits until something is there for a connected socket, or its peer has said something of what
/// was sent.
pub(super) async fn readable(socket: &AsyncFd<std::net::UdpSocket>) -> io::Result<()> {
    loop {
        let mut guard = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if guard.ready().is_error() {
            guard.clear_ready_matching(Ready::ERROR);
            if let Some(error) = socket.get_ref().take_error()? {
                return Err(error);
            }
        }
        if guard.ready().is_readable() {
            return Ok(());
        }
    }
}
