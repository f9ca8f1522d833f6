//! Datagrams that leave, many in one message where the kernel takes trains (UDP_SEGMENT
//! in udp(7), Linux 4.18).

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrStorage, sendmsg,
    setsockopt, socket, sockopt,
};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Datagrams in a train that leaves: UDP_MAX_SEGMENTS in linux/udp.h, before Linux 6.0.
const MOST_SEGMENTS: usize = 64;

/// Bytes of a train that leaves, with room for its headers in the 65,535 of an IP packet.
const LONGEST: usize = 65_000;

/// What became of datagrams that were to leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The kernel took so many.
    pub datagrams: usize,
    /// Their bytes.
    pub bytes: usize,
    /// So many are larger than what the interface or the protocol takes (EMSGSIZE).
    pub too_large: usize,
    /// So many found no room in the socket's buffer or the kernel's memory.
    pub no_room: usize,
}

impl Sent {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Sent) -> Sent {
        Sent {
            datagrams: self.datagrams + other.datagrams,
            bytes: self.bytes + other.bytes,
            too_large: self.too_large + other.too_large,
            no_room: self.no_room + other.no_room,
        }
    }
}

/// Whether trains leave (UDP_SEGMENT). Where the way cannot do it the kernel says so once (EIO,
/// EINVAL), and they leave one by one from then on.
static TAKES_TRAINS: AtomicBool = AtomicBool::new(true);

/// Whether this kernel knows of trains. One before Linux 4.18 passes over what it does not know
/// beside a message (ip_cmsg_send), and would send a whole train as one long datagram: it is asked
/// before the first one.
fn knows_trains() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        // 0 is what every socket begins with: single datagrams.
        is_known(socket.and_then(|socket| setsockopt(&socket, sockopt::UdpGsoSegment, &0)))
    })
}

/// What the kernel said to the option; without a socket nothing is known against it.
fn is_known(said: nix::Result<()>) -> bool {
    said != Err(nix::Error::ENOPROTOOPT)
}

/// Sends datagrams that lie one behind the other, `lengths` in their order, over a socket; `to` is
/// `None` if it is connected. Never waits: what finds no room is lost, as any datagram may be.
///
/// # Errors
/// What the kernel says of the peer (ECONNREFUSED, by ICMP), or of the way: nothing more was sent.
pub(super) fn send(
    fd: RawFd,
    bytes: &[u8],
    lengths: &[usize],
    to: Option<SocketAddr>,
) -> io::Result<Sent> {
    let to = to.map(SockaddrStorage::from);
    let mut sent = Sent::default();
    let (mut bytes, mut lengths) = (bytes, lengths);
    while !lengths.is_empty() {
        let takes = TAKES_TRAINS.load(Ordering::Relaxed) && knows_trains();
        let count = if takes { run(lengths) } else { 1 };
        let (now, later) = lengths.split_at(count);
        let (train, rest) = bytes.split_at(now.iter().sum());
        (bytes, lengths) = (rest, later);
        match message(fd, train, now, to.as_ref()) {
            Ok(taken) => sent = sent.and(taken),
            // Longer than the interface's MTU allows as part of a train, or no trains: one by one
            // they may be fragmented.
            Err(error) if count > 1 && is_about_trains(&error) => {
                if error.raw_os_error() != Some(nix::libc::EMSGSIZE) {
                    TAKES_TRAINS.store(false, Ordering::Relaxed);
                }
                let mut train = train;
                for length in now {
                    let (datagram, rest) = train.split_at(*length);
                    train = rest;
                    sent = sent.and(message(fd, datagram, &[*length], to.as_ref())?);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// How many of them can leave as one train.
fn run(lengths: &[usize]) -> usize {
    let [segment, rest @ ..] = lengths else { return 0 };
    let most = (LONGEST / (*segment).max(1)).clamp(1, MOST_SEGMENTS);
    if *segment == 0 {
        return 1;
    }
    let equal = 1 + rest.iter().take(most - 1).take_while(|length| *length == segment).count();
    match lengths.get(equal) {
        // The last one may be shorter.
        Some(last) if equal < most && (1..*segment).contains(last) => equal + 1,
        _ => equal,
    }
}

/// One system call.
fn message(
    fd: RawFd,
    bytes: &[u8],
    lengths: &[usize],
    to: Option<&SockaddrStorage>,
) -> io::Result<Sent> {
    let segment = lengths.first().copied().unwrap_or_default().try_into().unwrap_or(u16::MAX);
    let train = [ControlMessage::UdpGsoSegments(&segment)];
    let control = if lengths.len() > 1 { &train[..] } else { &[] };
    let count = lengths.len();
    match sendmsg(fd, &[IoSlice::new(bytes)], control, MsgFlags::MSG_DONTWAIT, to) {
        Ok(_) => Ok(Sent { datagrams: count, bytes: bytes.len(), ..Sent::default() }),
        Err(nix::Error::EMSGSIZE) if count == 1 => Ok(Sent { too_large: 1, ..Sent::default() }),
        Err(nix::Error::EAGAIN | nix::Error::ENOBUFS | nix::Error::ENOMEM) => {
            Ok(Sent { no_room: count, ..Sent::default() })
        }
        Err(errno) => Err(errno.into()),
    }
}

fn is_about_trains(error: &io::Error) -> bool {
    use nix::libc::{EINVAL, EIO, EMSGSIZE};
    matches!(error.raw_os_error(), Some(EINVAL | EIO | EMSGSIZE))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these sockets stay on loopback")]
mod tests {
    use super::super::train::{TrainInbox, Wanted};
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    /// The largest payload of a datagram over IPv4 (65,535 less both headers).
    const LARGEST: usize = 65_507;

    #[test]
    fn a_kernel_without_trains_is_recognised() {
        assert!(is_known(Ok(())));
        assert!(!is_known(Err(nix::Error::ENOPROTOOPT)), "Linux 4.14");
        assert!(is_known(Err(nix::Error::EMFILE)), "nothing was asked");
    }

    #[test]
    fn what_leaves_as_one() {
        for (lengths, first) in [
            (&[][..], 0),
            (&[5], 1),
            (&[5, 5, 5], 3),
            (&[5, 5, 4], 3),
            (&[5, 5, 4, 5], 3),
            (&[5, 5, 6], 2),
            (&[4, 5], 1),
            (&[5, 0], 1),
            (&[0, 0], 1),
            (&[40_000, 40_000], 1),
            (&[40_000, 3], 1),
        ] {
            assert_eq!(run(lengths), first, "{lengths:?}");
        }
        assert_eq!(run(&[9; 100]), MOST_SEGMENTS);
        assert_eq!(run(&[1350; 100]), LONGEST / 1350);
    }

    #[test]
    fn what_is_too_large_is_counted() {
        let (receiver, sender) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = Some(receiver.local_addr().unwrap());
        let bytes = vec![0; LARGEST + 1];
        let sent = send(sender.as_raw_fd(), &bytes, &[bytes.len()], to).unwrap();
        assert_eq!(sent, Sent { too_large: 1, ..Sent::default() });
        let largest = [LARGEST];
        let sent = send(sender.as_raw_fd(), &bytes[..LARGEST], &largest, to).unwrap();
        assert_eq!(sent.datagrams, 1);
        let mut inbox = TrainInbox::default();
        inbox.fill(receiver.as_raw_fd(), &Wanted::default()).unwrap();
        assert_eq!(inbox.trains().next().unwrap().datagrams().next().unwrap().len(), largest[0]);
    }
}
