//! One attempt to connect a TCP socket, with the options that the operator chose.
//!
//! **Fast Open** (RFC 7413): the first bytes of the proxy's protocol leave in the SYN once the
//! kernel has a cookie of the server, and the server works on them a round trip sooner. Only what
//! a proxy says itself goes there, never a byte of the client: data of a SYN may be delivered twice
//! (RFC 7413, 6.1). The attempt ends when the server has answered, as without it, so time-outs and
//! fail-over see what they always see. Without a cookie, or where the kernel does not have it
//! (net.ipv4.tcp_fastopen), this is a plain connect that sends nothing.
//!
//! **Multipath** (RFC 8684): the socket is IPPROTO_MPTCP where the kernel has that; a server that
//! has it not answers plain TCP, and the kernel goes on with that by itself.

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Once;
use tracing::warn;

/// How connections to a server are made. By default plainly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialOptions {
    /// TCP Fast Open: the first bytes leave in the SYN.
    pub fast_open: bool,
    /// Multipath TCP.
    pub multipath: bool,
}

/// A TCP socket for this address, not connected, not blocking.
pub(super) fn socket(address: SocketAddr, options: DialOptions) -> io::Result<Socket> {
    let (domain, kind) = (Domain::for_address(address), Type::STREAM.nonblocking());
    if options.multipath {
        match Socket::new(domain, kind, Some(Protocol::MPTCP)) {
            Ok(socket) => return Ok(socket),
            Err(error) if is_missing(&error) => report(&error),
            Err(error) => return Err(error),
        }
    }
    Socket::new(domain, kind, Some(Protocol::TCP))
}

/// Whether the kernel does not have the protocol (socket(2)), or has it turned off
/// (net.mptcp.enabled: ENOPROTOOPT).
fn is_missing(error: &io::Error) -> bool {
    let missing = [libc::EPROTONOSUPPORT, libc::ENOPROTOOPT, libc::EINVAL, libc::EAFNOSUPPORT];
    error.raw_os_error().is_some_and(|number| missing.contains(&number))
}

fn report(error: &io::Error) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        warn!(
            "multipath: this kernel has no multipath TCP, plain TCP is used (this is said \
             once): {error}"
        );
    });
}

/// Begins to connect; returns how many of the `first` bytes leave in the SYN.
pub(super) fn begin(socket: &Socket, address: SocketAddr, first: &[u8]) -> io::Result<usize> {
    let address = SockAddr::from(address);
    if !first.is_empty() {
        // Without a cookie nothing is taken and the SYN asks for one: EINPROGRESS.
        match socket.send_to_with_flags(first, &address, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(error) if is_in_progress(&error) => return Ok(0),
            // Turned off, or not for this kind of socket: nothing has begun.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    match socket.connect(&address) {
        Err(error) if !is_in_progress(&error) => Err(error),
        _ => Ok(0),
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}
