//! Listening UDP sockets whose replies leave from the address that was asked.
//!
//! A reply to a redirected datagram must leave from the very address the datagram came to, else
//! conntrack does not know it for a reply and the client drops it. On a socket bound to one
//! address that comes by itself; on `::` and `0.0.0.0` the address travels beside each datagram
//! (IP_PKTINFO in ip(7), IPV6_PKTINFO in ipv6(7), RFC 3542, 6).

mod batch;
pub mod connected;
pub mod leg;
#[cfg(all(target_env = "musl", target_pointer_width = "64"))]
mod musl;
mod options;
pub mod sending;
pub mod train;
pub mod transparent;

pub use batch::{Inbox, Outbox};

use crate::target::canonical;
use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A bound socket that belongs to no runtime yet.
#[derive(Debug)]
pub struct Bound {
    socket: std::net::UdpSocket,
    wildcard: Option<Wildcard>,
}

/// A listening socket.
#[derive(Debug)]
pub struct UdpListener {
    socket: UdpSocket,
    wildcard: Option<Wildcard>,
    /// What it is bound to.
    local: SocketAddr,
}

/// A socket that takes datagrams to every address of this machine, and the family it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wildcard {
    V4,
    V6,
}

/// Who sent a datagram, and the way back.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Where the datagram came from.
    pub address: SocketAddr,
    asked: Option<PacketInfo>,
}

/// The address a datagram came to, which the reply leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketInfo {
    V4(Source4),
    V6(Source6),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source4(Ipv4Addr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source6 {
    address: Ipv6Addr,
    /// 0: routing decides.
    interface: u32,
}

/// Binds a socket. `::` takes both families, any other IPv6 address only its own.
///
/// # Errors
/// What the kernel says: EADDRINUSE, EADDRNOTAVAIL, EACCES (port below 1024), EAFNOSUPPORT.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let wildcard = match (address.ip().is_unspecified(), address.is_ipv6()) {
        (true, true) => Some(Wildcard::V6),
        (true, false) => Some(Wildcard::V4),
        (false, _) => None,
    };
    if address.is_ipv6() {
        socket.set_only_v6(wildcard.is_none())?;
    }
    // Before bind: no datagram comes without.
    match wildcard {
        Some(Wildcard::V6) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        Some(Wildcard::V4) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        None => {}
    }
    socket.set_nonblocking(true)?;
    super::listen::free(&socket)?;
    socket.bind(&address.into())?;
    Ok(Bound { socket: socket.into(), wildcard })
}

impl Bound {
    /// Registers the socket with the runtime of the calling thread.
    ///
    /// # Errors
    /// What epoll says.
    pub fn listen(self) -> io::Result<UdpListener> {
        let local = canonical(self.local_addr()?);
        let socket = UdpSocket::from_std(self.socket)?;
        Ok(UdpListener { socket, wildcard: self.wildcard, local })
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
    /// Whether a program of this machine asked: what comes from elsewhere is never for a loopback
    /// address (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3), nor from the address that it is for. One that
    /// was captured has the source address that its way out would have had, and was redirected to
    /// loopback, or to the link's own address.
    pub fn is_own(&self, asker: &Asker) -> bool {
        let asked = self.arrived_at(asker).ip();
        let asking = asker.address.ip().to_canonical();
        asked.is_loopback() || asking.is_loopback() || asking == asked
    }

    /// The address of ours that a datagram came to; where a redirect led, if it was redirected.
    pub fn arrived_at(&self, asker: &Asker) -> SocketAddr {
        let port = self.local.port();
        match asker.asked {
            Some(PacketInfo::V4(Source4(address))) => SocketAddr::new(address.into(), port),
            Some(PacketInfo::V6(Source6 { address, interface })) => {
                canonical(SocketAddrV6::new(address, port, 0, interface).into())
            }
            None => self.local,
        }
    }

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
        if self.wildcard.is_none() {
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
            let asked = message.cmsgs()?.find_map(|control| PacketInfo::of(&control));
            Ok((message.bytes, Asker { address, asked }))
        })
    }

    /// Sends a reply the way its query came. A full send buffer drops it: the client will ask
    /// again, as for any lost datagram.
    ///
    /// # Errors
    /// What sendmsg(2) says.
    pub fn reply(&self, asker: &Asker, message: &[u8]) -> io::Result<()> {
        let send = |control: &[ControlMessage<'_>]| {
            let (pieces, to) = ([IoSlice::new(message)], SockaddrStorage::from(asker.address));
            let flags = MsgFlags::MSG_DONTWAIT;
            self.socket.try_io(Interest::WRITABLE, || {
                sendmsg(self.socket.as_raw_fd(), &pieces, control, flags, Some(&to))?;
                Ok(())
            })
        };
        match asker.asked {
            None => send(&[]),
            Some(PacketInfo::V4(source)) => send(&[ControlMessage::Ipv4PacketInfo(&source.into())]),
            Some(PacketInfo::V6(source)) => send(&[ControlMessage::Ipv6PacketInfo(&source.into())]),
        }
    }
}

impl PacketInfo {
    /// What the kernel says beside a datagram. A link-local address means nothing without its
    /// interface; for others routing decides which one the reply leaves by.
    fn of(control: &ControlMessageOwned) -> Option<PacketInfo> {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let address = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                Some(PacketInfo::V4(Source4(address)))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                Some(PacketInfo::V6(Source6 { address, interface }))
            }
            _ => None,
        }
    }
}

impl From<Source4> for in_pktinfo {
    fn from(Source4(address): Source4) -> in_pktinfo {
        let to = |octets: [u8; 4]| in_addr { s_addr: u32::from_ne_bytes(octets) };
        in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: to(address.octets()), ipi_addr: to([0; 4]) }
    }
}

impl From<Source6> for in6_pktinfo {
    fn from(Source6 { address, interface }: Source6) -> in6_pktinfo {
        in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: interface }
    }
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

    /// Two clients ask at two addresses of one socket, many times each, in turns.
    #[tokio::test]
    async fn a_batch_is_answered_as_each_datagram_asks() {
        for (listening, asked) in [
            ("0.0.0.0", ["127.0.0.8", "127.0.0.9"]),
            ("::", ["127.0.0.9", "::1"]),
            ("::1", ["::1", "::1"]),
            ("127.0.0.1", ["127.0.0.1", "127.0.0.1"]),
        ] {
            let bound = bind(SocketAddr::new(listening.parse().unwrap(), 0)).unwrap();
            let port = bound.local_addr().unwrap().port();
            let listener = bound.listen().unwrap();
            let asked = asked.map(|text| SocketAddr::new(text.parse().unwrap(), port));
            let clients = asked.map(|address| {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                bind(any.parse().unwrap()).unwrap().listen().unwrap()
            });
            let (mut inbox, mut outbox) = (listener.inbox(100), listener.outbox());
            // More than two calls take.
            const MANY: u8 = 50;
            for number in 0..MANY {
                for (client, address) in clients.iter().zip(asked) {
                    let query = vec![number; usize::from(number) + 1];
                    client.socket.send_to(&query, address).await.unwrap();
                }
            }
            let most_at_first = inbox.most();
            let mut seen = 0;
            while seen < 2 * MANY {
                timeout(Duration::from_secs(5), listener.readable()).await.unwrap().unwrap();
                let Ok(()) = listener.try_receive_all(&mut inbox) else { continue };
                for (message, asker) in inbox.datagrams() {
                    seen += 1;
                    assert!(!outbox.add(asker, |out| {
                        out.extend(b"left out");
                        false
                    }));
                    outbox.add(asker, |out| {
                        out.extend(message);
                        true
                    });
                }
                listener.reply_all(&mut outbox, |asker, error| panic!("{asker:?}: {error}"));
            }
            assert_eq!(inbox.most(), 8 * most_at_first, "it grows while it is full");
            for (client, address) in clients.iter().zip(asked) {
                for number in 0..MANY {
                    let mut buffer = [0; 100];
                    let received =
                        timeout(Duration::from_secs(5), client.socket.recv_from(&mut buffer));
                    let (length, from) = received.await.unwrap().unwrap();
                    let query = vec![number; usize::from(number) + 1];
                    assert_eq!((&buffer[..length], from), (&query[..], address), "{listening}");
                }
            }
        }
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
