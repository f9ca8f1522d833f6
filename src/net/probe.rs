//! Sockets that stand for those of any program: they carry no mark, so our own rules treat them as
//! everybody's. They ask only whether the rules capture.
//!
//! Their hop limit is 1: what no rule takes dies at the next router. A packet that is redirected to
//! this machine is not forwarded, and its hop limit does not matter.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};

const HOPS: u32 = 1;

/// Connects. Has no time-out of its own.
///
/// # Errors
/// What the kernel says of the socket or the way, or the other end.
pub async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// Whether something accepts on this address of this machine, now.
pub fn accepts(address: SocketAddr) -> bool {
    // Long enough for the machine itself to answer.
    const LIMIT: Duration = Duration::from_millis(200);
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.connect_timeout(&address.into(), LIMIT))
        .is_ok()
}

/// A connected socket; nothing is sent. So its failure is that of the route.
///
/// # Errors
/// What the kernel says of the socket or the way.
pub fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.connect(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Sends the first packet of a connection and a query of two bytes, and waits for neither. What is
/// returned keeps them alive.
pub fn knock(address: IpAddr, tcp: u16, udp: u16) -> Vec<Socket> {
    let kinds = [(Type::STREAM, Protocol::TCP, tcp), (Type::DGRAM, Protocol::UDP, udp)];
    let knocking = kinds.map(|(kind, protocol, port)| {
        let to = SocketAddr::new(address, port);
        let socket = socket(to, kind, protocol).ok()?;
        // What becomes of it is seen elsewhere.
        let _ = socket.connect(&to.into());
        if kind == Type::DGRAM {
            let _ = socket.send(&[0, 0]);
        }
        Some(socket)
    });
    knocking.into_iter().flatten().collect()
}

/// Sends a datagram of one byte, and waits for nothing. What is returned keeps the socket alive.
pub fn send(to: SocketAddr) -> Option<Socket> {
    let socket = socket(to, Type::DGRAM, Protocol::UDP).ok()?;
    // What becomes of it is seen elsewhere.
    let _ = socket.send_to(&[0], &to.into());
    Some(socket)
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    match address {
        SocketAddr::V4(_) => socket.set_ttl_v4(HOPS)?,
        SocketAddr::V6(_) => socket.set_unicast_hops_v6(HOPS)?,
    }
    Ok(socket)
}
