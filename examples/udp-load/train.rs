//! Datagrams of equal length, sent by one system call and taken by one (udp(7), UDP_SEGMENT and
//! UDP_GRO), as programs that have many of them do: so the load costs little beside what is
//! measured.

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Datagrams of a train that leaves.
const LONGEST: usize = 16;

/// Between two looks at the clock.
const PAUSE: Duration = Duration::from_micros(200);

/// Bytes of a socket's buffers, as far as the kernel allows: the load loses nothing by itself.
const BUFFER: usize = 16 << 20;

/// Bytes that a train may have.
pub const ROOM: usize = 65_536;

/// What one receive has brought.
#[derive(Debug)]
pub struct Arrival {
    /// Bytes of all datagrams.
    pub bytes: usize,
    /// Bytes of each; the last may have fewer.
    pub segment: usize,
    /// The sender.
    pub peer: SocketAddr,
}

impl Arrival {
    /// How many datagrams they are.
    pub fn datagrams(&self) -> u64 {
        self.bytes.div_ceil(self.segment).max(1) as u64
    }
}

/// A socket with large buffers, bound to this address.
///
/// # Errors
/// What the kernel says: EADDRINUSE, EADDRNOTAVAIL.
pub fn bind(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(local)?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER))?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &BUFFER))?;
    Ok(socket)
}

/// Takes what comes next within the socket's time-out.
///
/// # Errors
/// `WouldBlock`: nothing came in time.
pub fn receive(socket: &UdpSocket, room: &mut [u8]) -> io::Result<Arrival> {
    let mut control = cmsg_space!(i32);
    let mut pieces = [IoSliceMut::new(room)];
    let flags = MsgFlags::empty();
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
    let segment = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
        _ => None,
    });
    let bytes = message.bytes;
    let segment = segment.unwrap_or(bytes).max(1);
    let peer = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Arrival { bytes, segment, peer })
}

/// Sends `count` datagrams of `length` bytes, `rate` of them a second; `fill` makes each train: it
/// appends so many. Returns how many have left.
///
/// # Errors
/// What the kernel says, but for want of room: then that train is lost.
pub fn send(
    socket: &UdpSocket,
    to: SocketAddr,
    length: usize,
    (rate, count): (f64, u64),
    mut fill: impl FnMut(usize, &mut Vec<u8>),
) -> io::Result<u64> {
    let longest = (65_000 / length.max(1)).clamp(1, LONGEST);
    let mut train = Vec::new();
    let segment = length.try_into().map_err(io::Error::other)?;
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let to = SockaddrStorage::from(to);
    let (mut left, began) = (0, Instant::now());
    while left < count {
        let due = ((began.elapsed().as_secs_f64() * rate) as u64).min(count);
        let now = due.saturating_sub(left).min(longest as u64);
        if now == 0 {
            std::thread::sleep(PAUSE);
            continue;
        }
        train.clear();
        fill(now as usize, &mut train);
        let pieces = [IoSlice::new(&train)];
        let sent = sendmsg(socket.as_raw_fd(), &pieces, &control, MsgFlags::empty(), Some(&to));
        match sent {
            Ok(_) | Err(nix::Error::EAGAIN | nix::Error::ENOBUFS) => left += now,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(left)
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| std::net::SocketAddrV4::from(*v4).into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| std::net::SocketAddrV6::from(*v6).into()))
}
