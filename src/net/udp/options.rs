//! Options of the sockets that relayed datagrams pass.

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use std::io;
use std::os::fd::AsFd;

/// Bytes that may wait at a session's socket, or leave by one at a time, as the kernel counts them
/// (some two kilobytes for a packet of 1,400 bytes): a burst of four hundred packets, such as a
/// server sends whose window has just opened. It is a bound and not memory that is taken; what all
/// sockets take is bounded by net.ipv4.udp_mem.
pub(super) const BURST: usize = 1024 * 1024;

/// Lets a socket hold so many bytes in each direction. (SO_RCVBUFFORCE, socket(7), is not bound by
/// net.core.rmem_max, but only the first user namespace may use it: EPERM in a container. A small
/// buffer is no reason to carry nothing.)
pub(super) fn hold(socket: &impl AsFd, bytes: usize) {
    let _ = setsockopt(socket, sockopt::RcvBufForce, &bytes)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes));
    let _ = setsockopt(socket, sockopt::SndBufForce, &bytes)
        .or_else(|_| setsockopt(socket, sockopt::SndBuf, &bytes));
}

/// Lets large datagrams leave in fragments on the way: a router that drops what is too large for it
/// may not say so. By default the kernel forbids fragments up to the MTU that it knows.
pub(super) fn allow_fragments(socket: impl AsFd, is_ipv6: bool) -> io::Result<()> {
    match is_ipv6 {
        true => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?,
        false => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?,
    }
    Ok(())
}

/// Lets a socket take trains, where the kernel has them (Linux 5.0).
pub(super) fn take_trains(socket: &impl AsFd) -> io::Result<()> {
    match setsockopt(socket, sockopt::UdpGroSegment, &true) {
        Err(nix::Error::ENOPROTOOPT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
