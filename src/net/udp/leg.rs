//! The socket that carries a session's datagrams to its proxy: many at a time, in both directions.

use super::super::Outbound;
use super::connected::readable;
use super::options::{BURST, allow_fragments, hold, take_trains};
use super::sending::{self, Sent};
use super::train::{self, TrainInbox, Wanted};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// The connected socket of a session. The runtime asks only what comes in: a socket that is asked
/// for both wakes its thread once more for each packet that has left (sock_def_write_space).
#[derive(Debug)]
pub struct LegSocket {
    socket: AsyncFd<std::net::UdpSocket>,
    wanted: Wanted,
}

impl Outbound {
    /// A UDP socket connected to a proxy's server, as [`udp`](Self::udp) makes it. It takes trains
    /// where the kernel has them, holds a burst, and lets large packets leave in fragments.
    ///
    /// # Errors
    /// As [`udp`](Self::udp).
    pub async fn datagrams(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.udp(server).await?;
        take_trains(&socket)?;
        allow_fragments(&socket, server.is_ipv6())?;
        hold(&socket, BURST);
        Ok(socket)
    }
}

impl LegSocket {
    /// Of a connected socket.
    ///
    /// # Errors
    /// What epoll says.
    #[expect(deprecated, reason = "what replaces it is unsafe; a UdpSocket keeps its descriptor")]
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let socket = AsyncFd::with_interest(socket.into_std()?, Interest::READABLE)?;
        Ok(LegSocket { socket, wanted: Wanted::default() })
    }

    /// Its own address.
    ///
    /// # Errors
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Waits until something is there.
    ///
    /// # Errors
    /// What the peer, or the way to it, has said of what was sent (ICMP): it makes a socket neither
    /// readable nor closed (`datagram_poll` in net/core/datagram.c).
    pub async fn readable(&self) -> io::Result<()> {
        readable(&self.socket).await
    }

    /// Takes what is there. Returns whether that was all.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. What the peer has said of what was sent (ICMP).
    pub fn receive(&self, inbox: &mut TrainInbox) -> io::Result<bool> {
        train::receive(inbox, &self.wanted, |fill| {
            self.socket.try_io(Interest::READABLE, |socket| fill(socket.as_raw_fd()))
        })
    }

    /// Sends datagrams that lie one behind the other.
    ///
    /// # Errors
    /// What the kernel says of the peer or of the way.
    pub fn send(&self, bytes: &[u8], lengths: &[usize]) -> io::Result<Sent> {
        sending::send(self.socket.as_raw_fd(), bytes, lengths, None)
    }
}
