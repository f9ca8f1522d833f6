//! Sockets for datagrams that TPROXY captured (Documentation/networking/tproxy.rst).
//!
//! IP_TRANSPARENT (ip(7)) lets a socket take datagrams for addresses that are not this machine's,
//! and send from them. It needs CAP_NET_ADMIN. On an IPv6 socket the IPv4 option sets the same bit
//! (ipv6_setsockopt in net/ipv6/ipv6_sockglue.c hands SOL_IP over).

use super::super::Outbound;
use super::options::{BURST, allow_fragments, hold, take_trains};
use super::sending::{self, Sent};
use super::train::{self, TrainInbox, Wanted};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Bytes that may wait at the listener, as the kernel counts them: about a hundredth of a second of
/// a gigabit.
const LISTENER_BUFFER: usize = 4 * 1024 * 1024;

/// A listener that is bound, and belongs to no runtime yet.
#[derive(Debug)]
pub struct BoundTransparent(std::net::UdpSocket);

/// Takes the datagrams of one family that TPROXY leads to a port of loopback.
#[derive(Debug)]
pub struct TransparentListener {
    socket: UdpSocket,
    wanted: Wanted,
}

/// Sends from a foreign address.
#[derive(Debug)]
pub struct ReplySocket(std::net::UdpSocket);

impl BoundTransparent {
    /// Binds to this port of 127.0.0.1 or ::1, also where this machine does not have that address
    /// now.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, EADDRINUSE, EAFNOSUPPORT (a kernel without IPv6).
    pub fn bind(is_ipv6: bool, port: u16) -> io::Result<Self> {
        let loopback: IpAddr = match is_ipv6 {
            true => Ipv6Addr::LOCALHOST.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        };
        let address = SocketAddr::new(loopback, port);
        let socket = transparent(address)?;
        take_trains(&socket)?;
        match is_ipv6 {
            true => setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true)?,
            false => setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true)?,
        }
        hold(&socket, LISTENER_BUFFER);
        socket.bind(&address.into())?;
        Ok(BoundTransparent(socket.into()))
    }

    /// Registers the socket with the runtime of the calling thread.
    ///
    /// # Errors
    /// What epoll says.
    pub fn listen(self) -> io::Result<TransparentListener> {
        let socket = UdpSocket::from_std(self.0)?;
        Ok(TransparentListener { socket, wanted: Wanted::default() })
    }
}

impl TransparentListener {
    /// Waits until something is there.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes what is there; each train has its destination. Returns whether that was all.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there.
    pub fn receive(&self, inbox: &mut TrainInbox) -> io::Result<bool> {
        train::receive(inbox, &self.wanted, |fill| {
            self.socket.try_io(Interest::READABLE, || fill(self.socket.as_raw_fd()))
        })
    }

    /// Answers who has asked the listener itself.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn answer(&self, bytes: &[u8], client: SocketAddr) -> io::Result<()> {
        sending::send(self.socket.as_raw_fd(), bytes, &[bytes.len()], Some(client)).map(drop)
    }
}

impl ReplySocket {
    /// Binds to a foreign address, with the mark of `outbound`. It is never connected: TPROXY would
    /// hand the client's next datagrams to it (nf_tproxy_get_sock_v4 prefers a connected socket).
    ///
    /// # Errors
    /// EADDRINUSE: a socket of this machine has the port on every address, and does not share it
    /// (SO_REUSEADDR). `AddrNotAvailable`: this machine has the address itself, and the socket
    /// would take what is meant for a server here.
    pub fn bind(outbound: &Outbound, source: SocketAddr) -> io::Result<Self> {
        if super::super::is_own_address(source) {
            let own = "the address is one of this machine";
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, own));
        }
        let socket = transparent(source)?;
        outbound.apply_mark(&socket)?;
        // Beside a server on every address which allows that.
        socket.set_reuse_address(true)?;
        allow_fragments(&socket, source.is_ipv6())?;
        hold(&socket, BURST);
        socket.bind(&source.into())?;
        Ok(ReplySocket(socket.into()))
    }

    /// Sends datagrams that lie one behind the other to a client.
    ///
    /// # Errors
    /// What the kernel says, for example EPERM where a firewall drops them.
    pub fn send(&self, bytes: &[u8], lengths: &[usize], client: SocketAddr) -> io::Result<Sent> {
        sending::send(self.0.as_raw_fd(), bytes, lengths, Some(client))
    }
}

fn transparent(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    setsockopt(&socket, sockopt::IpTransparent, &true)?;
    Ok(socket)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "it stays on loopback")]
impl ReplySocket {
    /// One that needs no right: it sends from an address of its own.
    pub fn of_any_address() -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        Ok(ReplySocket(socket))
    }
}
