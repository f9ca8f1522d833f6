//! Many datagrams that came in one message: UDP_GRO (udp(7), Linux 5.0).
//!
//! A train is what the kernel hands over as one: datagrams of one sender to one destination, all
//! of the same length but the last, which may be shorter. Where the network card or the sender made
//! no train it has one datagram. [`sending`](super::sending) makes some.
//!
//! They lie in a [`TrainInbox`], which is made once and emptied after each call; a
//! thread needs one for all of its sockets. The headers for recvmmsg(2) are made for each call,
//! since the kernel leaves the length of the control messages that it wrote in them: a datagram
//! without UDP_GRO would leave no room for the number of the next one.

use super::std_address;
use crate::target::canonical;
use nix::cmsg_space;
use nix::libc::{in_pktinfo, sockaddr_in6};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
};
use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// Messages for each system call.
const MOST: usize = 32;
const FEWEST: usize = 4;

/// The longest train.
const ROOM: usize = 65_535;

/// From one buffer to the next. With a power of two the beginnings of all of them, which is where
/// single datagrams lie, would share a few lines of the processor's caches.
const STRIDE: usize = ROOM + 1 + 4096 + 64 * 23;

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
    use super::super::sending::{Sent, send};
    use super::*;
    use nix::sys::socket::{setsockopt, sockopt};
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

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
}
