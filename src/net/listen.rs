//! Listening sockets.

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;

/// Pending connections the kernel holds for us; it clips this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A TCP listener of the calling thread's runtime. What it accepts is tuned (`net::tune`). `::` accepts both families, any other IPv6 address only its own.
///
/// # Errors
/// What the kernel says: EADDRINUSE, EADDRNOTAVAIL, EACCES (port below 1024), EAFNOSUPPORT.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(bind(address)?)
}

/// The same, for a runtime that does not run yet: tokio takes it by `TcpListener::from_std`.
///
/// # Errors
/// As [`tcp`].
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A port left in TIME_WAIT by the former daemon must not stop the next one.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    free(&socket, address)?;
    socket.bind(&address.into())?;
    super::tune(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets a socket be bound to an address that this machine does not have now (IP_FREEBIND, ip(7)): it
/// may come, and go, while the socket listens.
pub(super) fn free(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true),
        SocketAddr::V6(_) => socket.set_freebind_v6(true),
    }
}

/// Whether this machine has the address now, or it is unspecified.
pub fn is_here(address: IpAddr) -> bool {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP));
    socket.and_then(|socket| socket.bind(&address.into())).is_ok()
}

/// What to do after accept(2) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// The connection died in the queue: go on at once. accept(2) also hands out pending network
    /// errors of the new socket, which are of no concern.
    Transient,
    /// The kernel has run out of something (`net::is_shortage`): rest, then go on.
    Shortage,
    /// The listener itself is broken.
    Fatal,
}

impl AcceptError {
    /// Classes an error of accept(2) by its number.
    pub fn class(error: &io::Error) -> Self {
        if super::is_shortage(error) {
            return Self::Shortage;
        }
        match error.raw_os_error() {
            Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => {
                Self::Fatal
            }
            _ => Self::Transient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal};
    use std::time::Duration;

    #[test]
    fn accept_errors_by_class() {
        let class = |number| AcceptError::class(&io::Error::from_raw_os_error(number));
        assert_eq!(class(libc::ECONNABORTED), AcceptError::Transient);
        assert_eq!(class(libc::EMFILE), AcceptError::Shortage);
        assert_eq!(class(libc::EINVAL), AcceptError::Fatal);
    }

    #[tokio::test]
    async fn what_is_accepted_has_the_options_of_the_listener() {
        let listener = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let _dialled = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = socket2::SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(120));
    }

    #[tokio::test]
    async fn the_same_port_can_be_taken_by_both_families() {
        let v4 = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = v4.local_addr().unwrap().port();
        let again = tcp(SocketAddr::new("127.0.0.1".parse().unwrap(), port));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        tcp(SocketAddr::new("::1".parse().unwrap(), port)).unwrap();
    }
}
