//! Listening sockets.

use crate::warnings::Complaint;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tracing::debug;

/// Pending connections the kernel holds for us; it clips this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// How long accepting rests when descriptors or memory run out, or for a cause that nobody knows:
/// the running connections need the time to end, and the kernel keeps the newcomers in the backlog.
const REST: Duration = Duration::from_millis(100);

/// A TCP listener of the calling thread's runtime. What it accepts is tuned (`net::tune`). `::`
/// accepts both families, any other IPv6 address only its own.
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
    free(&socket)?;
    socket.bind(&address.into())?;
    super::tune(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets a socket be bound to an address that this machine does not have now (IP_FREEBIND, ip(7)):
/// it may come, and go, while the socket listens.
///
/// The option of IPv4 is heeded by sockets of both families. IPV6_FREEBIND is only there since
/// Linux 4.15, for raw sockets (84e14fe353de).
pub(super) fn free(socket: &Socket) -> io::Result<()> {
    socket.set_freebind_v4(true)
}

/// Whether this machine has the address now, or it is unspecified.
pub fn is_here(address: IpAddr) -> bool {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP));
    socket.and_then(|socket| socket.bind(&address.into())).is_ok()
}

/// What to do after accept(2), or the receiving of a datagram, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// The connection died in the queue: go on at once. accept(2) also hands out pending network
    /// errors of the new socket, which are of no concern.
    Transient,
    /// The kernel has run out of something (`net::is_shortage`), or the error is one that accept(2)
    /// does not list as passing, such as the EPERM of a security module: rest, then go on. Going on
    /// at once would be a busy loop for as long as the error stays.
    Lasting,
    /// The listener itself is broken.
    Fatal,
}

impl AcceptError {
    /// Classes an error of accept(2) by its number.
    pub fn class(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => {
                Self::Fatal
            }
            // accept(2): "treat them like EAGAIN by retrying". EOPNOTSUPP is one of them too, but
            // not on a TCP listener (inet_csk_accept), where it says that it is none.
            Some(
                libc::ECONNABORTED
                | libc::EINTR
                | libc::EAGAIN
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                // Of datagrams: an ICMP error for a former reply, whose client has left.
                | libc::ECONNREFUSED,
            ) => Self::Transient,
            _ => Self::Lasting,
        }
    }
}

/// What a loop that accepts, or receives, does about errors: it goes on at once, or rests, or ends.
/// A cause that stays is told once.
#[derive(Debug, Default)]
pub struct Errors {
    told: Complaint,
}

impl Errors {
    /// It works again.
    pub fn over(&mut self) {
        self.told.clear();
    }

    /// Rests if that is called for. `what` could not be done; `beside` tells what else goes on.
    ///
    /// # Errors
    /// The same error: the listener is broken.
    pub async fn after(
        &mut self,
        error: io::Error,
        what: &str,
        beside: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match AcceptError::class(&error) {
            AcceptError::Transient => debug!("{what}: {error}"),
            AcceptError::Lasting => {
                if !self.told.holds() {
                    let beside = beside();
                    let told = format!("{what}: {error}; resting until that passes{beside}");
                    self.told.set(Some(told));
                }
                tokio::time::sleep(REST).await;
            }
            AcceptError::Fatal => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal};

    #[test]
    fn accept_errors_by_class() {
        let class = |number| AcceptError::class(&io::Error::from_raw_os_error(number));
        for passing in [libc::ECONNABORTED, libc::EINTR, libc::EPROTO, libc::EHOSTUNREACH] {
            assert_eq!(class(passing), AcceptError::Transient);
        }
        for lasting in [libc::EMFILE, libc::ENOBUFS, libc::EPERM, libc::EACCES, libc::ENOSYS] {
            assert_eq!(class(lasting), AcceptError::Lasting);
        }
        for fatal in [libc::EINVAL, libc::EBADF, libc::ENOTSOCK] {
            assert_eq!(class(fatal), AcceptError::Fatal);
        }
        let unknown = AcceptError::class(&io::Error::other("no number"));
        assert_eq!(unknown, AcceptError::Lasting);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_stays_costs_a_rest_each_time() {
        let (mut errors, began) = (Errors::default(), tokio::time::Instant::now());
        let mut after = async |number| {
            let error = io::Error::from_raw_os_error(number);
            errors.after(error, "cannot accept", String::new).await
        };
        after(libc::ECONNABORTED).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            after(libc::EPERM).await.unwrap();
        }
        assert_eq!(began.elapsed(), REST * 10);
        assert!(after(libc::EBADF).await.is_err());
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

    /// Kernels before 4.15 know only the option of IPv4, so it has to do for both families.
    #[test]
    fn an_address_may_come_later() {
        for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            assert!(!is_here(address.ip()));
            assert_eq!(bind(address).unwrap().local_addr().unwrap().ip(), address.ip());
            assert!(crate::net::udp::bind(address).is_ok());
        }
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
