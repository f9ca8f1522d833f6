//! What a relay asks of a TCP connection beyond tokio's own: reads that know when the socket is
//! empty, and waking only for many bytes.

use nix::errno::Errno;
use nix::libc::{self, IPPROTO_TCP, SO_RCVLOWAT, SOL_SOCKET, TCP_INFO, tcp_info};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, getsockopt, recv, setsockopt};
use nix::sys::uio::readv;
use std::io::{self, IoSliceMut};
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what is there into the pieces, in order; 0 is the end.
///
/// A read that fills less than it was given has emptied the socket, and epoll will report the next
/// byte (epoll(7), question 9): so the socket counts as not readable from then on, and nobody has
/// to ask the kernel a second time to learn that. An end or an error that has come meanwhile stays
/// visible.
///
/// # Errors
/// `WouldBlock`: nothing is there. Else what recv(2) and readv(2) say.
pub fn read_vectored(stream: &TcpStream, pieces: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let room: usize = pieces.iter().map(|piece| piece.len()).sum();
    match pieces {
        // readv(2) takes the way of files, which is longer.
        [only, ..] if only.len() == room => read(stream, only),
        _ => taking(stream, room, || Ok(readv(stream, pieces)?)),
    }
}

/// The same into one piece.
///
/// # Errors
/// As [`read_vectored`].
pub fn read(stream: &TcpStream, piece: &mut [u8]) -> io::Result<usize> {
    taking(stream, piece.len(), || Ok(recv(stream.as_raw_fd(), piece, MsgFlags::empty())?))
}

/// Runs `take`, which takes up to `room` bytes off the socket, and remembers whether that has
/// emptied it.
fn taking(
    stream: &TcpStream,
    room: usize,
    take: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut taken = None;
    let result = stream.try_io(Interest::READABLE, || match take()? {
        // The end stays readable for ever.
        read if read == 0 || read == room => Ok(read),
        read => {
            taken = Some(read);
            Err(io::ErrorKind::WouldBlock.into())
        }
    });
    taken.map_or(result, Ok)
}

/// Whether nothing has come on it: no byte, no end, no error. Asks the kernel (recv(2), MSG_PEEK),
/// since the runtime may not have heard of it yet.
pub fn is_silent(stream: &TcpStream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(stream.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
}

/// Reads what is there, whether the runtime has heard of it or not; 0 is the end.
///
/// # Errors
/// `WouldBlock`: nothing is there. Else what recv(2) says.
pub fn read_now(stream: &TcpStream, piece: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream.as_raw_fd(), piece, MsgFlags::MSG_DONTWAIT)?)
}

/// Whether the other end has acknowledged all that was sent (TCP_INFO, tcp(7)).
pub fn is_acknowledged(stream: &TcpStream) -> bool {
    getsockopt(stream, TcpInformation).is_ok_and(|words| words[UNACKED] == 0)
}

/// Whether nothing waits to be read from `source`, and `sink` has room for it.
pub fn is_at_rest(source: &TcpStream, sink: &TcpStream) -> bool {
    let mut both = [
        PollFd::new(source.as_fd(), PollFlags::POLLIN),
        PollFd::new(sink.as_fd(), PollFlags::POLLOUT),
    ];
    let asked = poll(&mut both, PollTimeout::ZERO);
    let [waits, has_room] = both.map(|side| side.any().unwrap_or(true));
    asked.is_ok() && !waits && has_room
}

/// Whether `sink` has room.
pub fn has_room(sink: &TcpStream) -> bool {
    let mut sink = [PollFd::new(sink.as_fd(), PollFlags::POLLOUT)];
    poll(&mut sink, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// The socket becomes readable only when so many bytes wait, or the end, or an error, or when the
/// peer's window closes (SO_RCVLOWAT, socket(7); tcp_epollin_ready). 1 is how it is born.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_low_water(stream: &TcpStream, bytes: i32) -> io::Result<()> {
    Ok(setsockopt(stream, LowWater, &bytes)?)
}

/// The option is not among nix's own.
#[derive(Clone, Copy, Debug)]
struct LowWater;

nix::setsockopt_impl!(
    LowWater,
    SOL_SOCKET,
    SO_RCVLOWAT,
    i32,
    nix::sys::socket::sockopt::SetStruct<i32>
);

/// Nor is this one. Of struct tcp_info (linux/tcp.h) only the beginning is asked for: the kernel
/// writes as much as it is asked for, but no more than it has, and each few versions it has more.
/// nix panics if that is less. musl's struct is that of Linux 5.4.
#[derive(Clone, Copy, Debug)]
struct TcpInformation;

/// The place of tcpi_unacked among the words of it.
const UNACKED: usize = 6;
type TcpWords = [u32; UNACKED + 1];
const _: () = assert!(offset_of!(tcp_info, tcpi_unacked) == UNACKED * size_of::<u32>());

nix::getsockopt_impl!(
    TcpInformation,
    IPPROTO_TCP,
    TCP_INFO,
    TcpWords,
    nix::sys::socket::sockopt::GetStruct<TcpWords>
);
