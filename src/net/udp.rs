//! Listening UDP sockets whose replies leave from the address that was asked.
//!
//! A reply to a redirected datagram must leave from the very address the datagram came to, else
//! conntrack does not know it for a reply and the client drops it. On a socket bound to one
//! address that comes by itself; on `::` and `0.0.0.0` the address travels beside each datagram
//! (IP_PKTINFO in ip(7), IPV6_PKTINFO in ipv6(7), RFC 3542, 6).

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A bound socket that belongs to no runtime yet.
#[derive(Debug)]
pub struct Bound {
    socket: std::net::UdpSocket,
    is_wildcard: bool,
}

/// A listening socket.
#[derive(Debug)]
pub struct UdpListener {
    socket: UdpSocket,
    is_wildcard: bool,
}

/// Who sent a datagram, and the way back.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Where the datagram came from.
    pub address: SocketAddr,
    asked: Option<PacketInfo>,
}

/// The address a datagram came to, in the form that sends the reply from it.
#[derive(Clone, Copy, Debug)]
enum PacketInfo {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// Binds a socket. `::` takes both families, any other IPv6 address only its own.
///
/// # Errors
/// What the kernel says: EADDRINUSE, EADDRNOTAVAIL, EACCES (port below 1024), EAFNOSUPPORT.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let is_wildcard = address.ip().is_unspecified();
    if address.is_ipv6() {
        socket.set_only_v6(!is_wildcard)?;
    }
    match (is_wildcard, address.is_ipv6()) {
        (true, true) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        (true, false) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        (false, _) => {}
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(Bound { socket: socket.into(), is_wildcard })
}

impl Bound {
    /// Registers the socket with the runtime of the calling thread.
    ///
    /// # Errors
    /// What epoll says.
    pub fn listen(self) -> io::Result<UdpListener> {
        Ok(UdpListener { socket: UdpSocket::from_std(self.socket)?, is_wildcard: self.is_wildcard })
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl UdpListener {
    /// Waits until a datagram is there; [`try_receive`](Self::try_receive) takes it.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes a datagram that is there; what does not fit into `buffer` is lost.
    ///
    /// # Errors
    /// `WouldBlock`: none is there. Pending ICMP errors of former replies come here too.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Asker)> {
        if !self.is_wildcard {
            let (length, address) = self.socket.try_recv_from(buffer)?;
            return Ok((length, Asker { address, asked: None }));
        }
        self.socket.try_io(Interest::READABLE, || {
            let mut space = cmsg_space!(in6_pktinfo, in_pktinfo);
            let mut pieces = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut pieces,
                Some(&mut space),
                MsgFlags::MSG_DONTWAIT,
            )?;
            let address = message.address.as_ref().and_then(std_address);
            let address = address.ok_or_else(|| io::Error::other("a datagram without sender"))?;
            let asked = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(PacketInfo::V4(reply_v4(info))),
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(PacketInfo::V6(reply_v6(info))),
                _ => None,
            });
            Ok((message.bytes, Asker { address, asked }))
        })
    }

    /// Sends a reply the way its query came. A full send buffer drops it: the client will ask
    /// again, as for any lost datagram.
    ///
    /// # Errors
    /// What sendmsg(2) says.
    pub fn reply(&self, asker: &Asker, message: &[u8]) -> io::Result<()> {
        let Some(asked) = &asker.asked else {
            return self.socket.try_send_to(message, asker.address).map(drop);
        };
        let control = match asked {
            PacketInfo::V4(info) => [ControlMessage::Ipv4PacketInfo(info)],
            PacketInfo::V6(info) => [ControlMessage::Ipv6PacketInfo(info)],
        };
        let to = SockaddrStorage::from(asker.address);
        self.socket.try_io(Interest::WRITABLE, || {
            let pieces = [IoSlice::new(message)];
            sendmsg(self.socket.as_raw_fd(), &pieces, &control, MsgFlags::MSG_DONTWAIT, Some(&to))?;
            Ok(())
        })
    }
}

/// The reply leaves from the address in the query's header; which interface, routing decides.
fn reply_v4(query: in_pktinfo) -> in_pktinfo {
    in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: query.ipi_addr, ipi_addr: in_addr { s_addr: 0 } }
}

/// The same for IPv6; a link-local address means nothing without its interface.
fn reply_v6(query: in6_pktinfo) -> in6_pktinfo {
    let address = Ipv6Addr::from(query.ipi6_addr.s6_addr);
    let interface = if address.is_unicast_link_local() { query.ipi6_ifindex } else { 0 };
    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: interface }
}

fn std_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddrV4::new(v4.ip(), v4.port()).into());
    }
    let v6 = storage.as_sockaddr_in6()?;
    Some(SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::Duration;
    use tokio::time::timeout;

    /// Asks `listening` at `asked` and returns where the reply came from.
    async fn reply_from(listening: &str, asked: IpAddr) -> SocketAddr {
        let bound = bind(SocketAddr::new(listening.parse().unwrap(), 0)).unwrap();
        let port = bound.local_addr().unwrap().port();
        let listener = bound.listen().unwrap();
        let any: SocketAddr = if asked.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
        let client = bind(any).unwrap().listen().unwrap();
        client.socket.send_to(b"query", SocketAddr::new(asked, port)).await.unwrap();
        listener.readable().await.unwrap();
        let mut buffer = [0; 100];
        let (length, asker) = listener.try_receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"query");
        listener.reply(&asker, b"reply").unwrap();
        let received = timeout(Duration::from_secs(5), client.socket.recv_from(&mut buffer));
        let (length, from) = received.await.unwrap().unwrap();
        assert_eq!(&buffer[..length], b"reply");
        from
    }

    #[tokio::test]
    async fn replies_leave_from_the_address_that_was_asked() {
        for (listening, asked) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("0.0.0.0", "127.0.0.9"),
            ("::", "127.0.0.9"),
            ("::", "::1"),
        ] {
            let asked: IpAddr = asked.parse().unwrap();
            assert_eq!(reply_from(listening, asked).await.ip(), asked, "{listening}");
        }
    }
}
