//! Many datagrams in one message: UDP_GRO and UDP_SEGMENT (udp(7), Linux 4.18 and 5.0).
//!
//! A train is what the kernel hands over, or takes, as one: datagrams of one sender to one
//! destination, all of the same length but the last, which may be shorter. Where the network card
//! or the sender made no train it has one datagram.
//!
//! Received trains lie in a [`TrainInbox`], which is made once and emptied after each call; a
//! thread needs one for all of its sockets. The headers for recvmmsg(2) are made for each call,
//! since the kernel leaves the length of the control messages that it wrote in them: a datagram
//! without UDP_GRO would leave no room for the number of the next one.

use super::std_address;
use crate::target::canonical;
use nix::cmsg_space;
use nix::libc::{in_pktinfo, sockaddr_in6};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockFlag,
    SockType, SockaddrStorage, recvmmsg, sendmsg, setsockopt, socket, sockopt,
};
use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Messages for each system call.
const MOST: usize = 32;
const FEWEST: usize = 4;

/// The longest train.
const ROOM: usize = 65_535;

/// From one buffer to the next. With a power of two the beginnings of all of them, which is where
/// single datagrams lie, would share a few lines of the processor's caches.
const STRIDE: usize = ROOM + 1 + 4096 + 64 * 23;

/// Datagrams in a train that leaves: UDP_MAX_SEGMENTS in linux/udp.h, before Linux 6.0.
const MOST_SEGMENTS: usize = 64;

/// Bytes of a train that leaves, with room for its headers in the 65,535 of an IP packet.
const LONGEST: usize = 65_000;

/// The largest payload of a datagram over IPv4 (65,535 less both headers).
pub const LARGEST_DATAGRAM: usize = 65_507;

/// Trains that came in.
#[derive(Debug, Default)]
pub struct TrainInbox {
    /// Room for each, one behind the other, for as many as were ever wanted at once: some
    /// allocators clear the memory, and what was written to is no longer free.
    buffers: Box<[u8]>,
    received: Vec<Received>,
    /// Datagrams of all of them.
    datagrams: u64,
}

/// How many trains to ask a socket for: somewhat more than it had at the last call.
#[derive(Debug)]
pub(super) struct Wanted(Cell<usize>);

#[derive(Clone, Copy, Debug)]
struct Received {
    length: usize,
    segment: usize,
    peer: SocketAddr,
    destination: Option<SocketAddr>,
}

/// Datagrams of one sender to one destination.
#[derive(Debug)]
pub struct Train<'a> {
    /// The sender.
    pub peer: SocketAddr,
    /// Where the sender sent them, if the socket tells (IP_RECVORIGDSTADDR).
    pub destination: Option<SocketAddr>,
    bytes: &'a mut [u8],
    segment: usize,
}

#[cfg(test)]
impl<'a> Train<'a> {
    /// One of one datagram, as a listener would have it.
    pub fn of_one(peer: SocketAddr, destination: SocketAddr, bytes: &'a mut [u8]) -> Self {
        let segment = bytes.len();
        Train { peer, destination: Some(destination), bytes, segment }
    }
}

impl Train<'_> {
    /// Whether it is this one datagram.
    pub fn is(&self, datagram: &[u8]) -> bool {
        self.bytes == datagram
    }

    /// The datagrams, in their order.
    pub fn datagrams(&mut self) -> impl Iterator<Item = &mut [u8]> {
        // A datagram may be empty (RFC 768), and then it came alone.
        let empty = self.bytes.is_empty().then(Default::default);
        empty.into_iter().chain(self.bytes.chunks_mut(self.segment.max(1)))
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted(Cell::new(FEWEST))
    }
}

impl TrainInbox {
    /// The trains of the last call.
    pub fn trains(&mut self) -> impl Iterator<Item = Train<'_>> {
        let buffers = self.buffers.chunks_exact_mut(STRIDE);
        buffers.zip(&self.received).map(|(buffer, received)| {
            let Received { length, segment, peer, destination, .. } = *received;
            Train { peer, destination, bytes: &mut buffer[..length], segment }
        })
    }

    /// How many datagrams they are.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Takes trains that are there, as many as one call brings, in place of those of the last call.
    /// Returns whether that emptied the socket.
    ///
    /// # Errors
    /// `WouldBlock`: none is there. Pending ICMP errors of what was sent come here too.
    pub(super) fn fill(&mut self, fd: RawFd, wanted: &Wanted) -> io::Result<bool> {
        self.received.clear();
        let (last, wanted) = (wanted, wanted.0.get());
        if self.buffers.len() < wanted * STRIDE {
            self.buffers = vec![0; wanted * STRIDE].into_boxed_slice();
        }
        let control = cmsg_space!(sockaddr_in6, i32, in_pktinfo);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(wanted, Some(control));
        let mut pieces: Vec<[IoSliceMut<'_>; 1]> = self
            .buffers
            .chunks_exact_mut(STRIDE)
            .take(wanted)
            .map(|buffer| [IoSliceMut::new(&mut buffer[..ROOM])])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = recvmmsg(fd, &mut headers, pieces.iter_mut(), flags, None)?;
        self.received.extend(messages.filter_map(|message| Received::of(&message)));
        let trains = self.received.iter();
        self.datagrams =
            trains.map(|train| train.length.div_ceil(train.segment.max(1)) as u64).sum();
        let count = self.received.len();
        last.0.set((count + 1).next_power_of_two().clamp(FEWEST, MOST));
        Ok(count < wanted)
    }
}

impl Received {
    fn of(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Self> {
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return None;
        }
        let (mut segment, mut destination) = (message.bytes, None);
        for control in message.cmsgs().ok()? {
            match control {
                ControlMessageOwned::UdpGroSegments(size) => segment = size.try_into().ok()?,
                ControlMessageOwned::Ipv4OrigDstAddr(address) => {
                    let ip = address.sin_addr.s_addr.to_ne_bytes().into();
                    let port = u16::from_be(address.sin_port);
                    destination = Some(SocketAddrV4::new(ip, port).into());
                }
                ControlMessageOwned::Ipv6OrigDstAddr(address) => {
                    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                    let port = u16::from_be(address.sin6_port);
                    let scope = address.sin6_scope_id;
                    destination = Some(SocketAddrV6::new(ip, port, 0, scope).into());
                }
                _ => {}
            }
        }
        Some(Received {
            length: message.bytes,
            segment,
            peer: canonical(message.address.as_ref().and_then(std_address)?),
            destination: destination.map(canonical),
        })
    }
}

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

/// Takes trains from a socket of the runtime, by its own `try_io`. Returns whether that emptied it.
///
/// # Errors
/// As [`TrainInbox::fill`].
pub(super) fn receive(
    inbox: &mut TrainInbox,
    wanted: &Wanted,
    try_io: impl FnOnce(&mut dyn FnMut(RawFd) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<bool> {
    let mut taken = None;
    let result = try_io(&mut |fd| {
        let is_empty = inbox.fill(fd, wanted)?;
        taken = Some(is_empty);
        // This tells the runtime that the socket is empty.
        if is_empty { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match taken {
        Some(is_empty) => Ok(is_empty),
        None => result.map(|()| true),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these sockets stay on loopback")]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

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

    /// An allocator that clears what it gives would make it resident, 2 MiB on every router.
    #[test]
    fn an_inbox_is_as_large_as_what_was_wanted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (mut inbox, wanted) = (TrainInbox::default(), Wanted::default());
        assert!(inbox.buffers.is_empty());
        inbox.fill(receiver.as_raw_fd(), &wanted).unwrap_err();
        assert_eq!(inbox.buffers.len(), FEWEST * STRIDE);
        for _ in 0..FEWEST {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.send_to(b"one", receiver.local_addr().unwrap()).unwrap();
        }
        assert!(!inbox.fill(receiver.as_raw_fd(), &wanted).unwrap(), "there may be more");
        inbox.fill(receiver.as_raw_fd(), &wanted).unwrap_err();
        assert_eq!(inbox.buffers.len(), 2 * FEWEST * STRIDE);
    }

    /// Whatever the lengths, all come, whole and in order, also to a receiver that takes trains.
    #[test]
    fn trains_arrive_as_the_datagrams_they_were() {
        for gro in [false, true] {
            let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
            setsockopt(&receiver, sockopt::UdpGroSegment, &gro).unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = receiver.local_addr().unwrap();
            let lengths =
                [1200, 1200, 1200, 300, 0, 1200, 7, 1, 1, 1, 9000, 9000, 20, 1350, 1350, 1350];
            let mut bytes = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                bytes.extend(std::iter::repeat_n(number as u8, *length));
            }
            let sent = send(sender.as_raw_fd(), &bytes, &lengths, Some(to)).unwrap();
            let all = Sent { datagrams: lengths.len(), bytes: bytes.len(), ..Sent::default() };
            assert_eq!(sent, all);
            let mut inbox = TrainInbox::default();
            let mut came = Vec::new();
            let mut trains = 0;
            while came.len() < lengths.len() {
                inbox.fill(receiver.as_raw_fd(), &Wanted::default()).unwrap();
                for mut train in inbox.trains() {
                    trains += 1;
                    assert_eq!(train.peer, sender.local_addr().unwrap());
                    came.extend(train.datagrams().map(|datagram| datagram.to_vec()));
                }
            }
            let lost = inbox.fill(receiver.as_raw_fd(), &Wanted::default()).unwrap_err();
            assert_eq!(lost.kind(), io::ErrorKind::WouldBlock);
            for (number, (datagram, length)) in came.iter().zip(lengths).enumerate() {
                assert_eq!(datagram, &vec![number as u8; length], "datagram {number}");
            }
            assert_eq!(trains < lengths.len(), gro, "{trains} trains");
        }
    }

    #[test]
    fn what_is_too_large_is_counted() {
        let (receiver, sender) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = Some(receiver.local_addr().unwrap());
        let bytes = vec![0; LARGEST_DATAGRAM + 1];
        let sent = send(sender.as_raw_fd(), &bytes, &[bytes.len()], to).unwrap();
        assert_eq!(sent, Sent { too_large: 1, ..Sent::default() });
        let largest = [LARGEST_DATAGRAM];
        let sent = send(sender.as_raw_fd(), &bytes[..LARGEST_DATAGRAM], &largest, to).unwrap();
        assert_eq!(sent.datagrams, 1);
        let mut inbox = TrainInbox::default();
        inbox.fill(receiver.as_raw_fd(), &Wanted::default()).unwrap();
        assert_eq!(inbox.trains().next().unwrap().datagrams().next().unwrap().len(), largest[0]);
    }
}
