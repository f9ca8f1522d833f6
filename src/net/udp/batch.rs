//! Many datagrams by one system call: recvmmsg(2), sendmmsg(2).
//!
//! An [`Inbox`] and an [`Outbox`] are made once for each listener and used again and again: with
//! them a datagram costs neither an allocation nor a system call of its own.
//!
//! Three properties of the calls matter. The headers keep the lengths that the kernel wrote at the
//! last call; that does no harm here, since every datagram of a socket has a sender of the same
//! length and control messages of the same length (PKTINFO is asked for before bind, so that no
//! datagram comes without). sendmmsg gets one control message for a whole call, so replies are sent
//! in runs of those that leave from the same address. And a call that brought fewer datagrams than
//! there was room for has emptied the socket: the next one would be in vain.

use super::{Asker, PacketInfo, UdpListener, Wildcard, std_address};
use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use tokio::io::Interest;

/// Datagrams for each system call, at the most and at first.
const BATCH: usize = 32;
const FEWEST: usize = 4;

/// Datagrams that came in.
#[derive(Debug)]
pub struct Inbox {
    headers: MultiHeaders<SockaddrStorage>,
    /// Room for each datagram, one behind the other, for as many as were ever wanted at once.
    buffers: Box<[u8]>,
    room: usize,
    received: Vec<(usize, Asker)>,
}

/// Replies that wait to be sent.
#[derive(Debug)]
pub struct Outbox {
    headers: MultiHeaders<SockaddrStorage>,
    replies: Replies,
}

#[derive(Debug)]
struct Replies {
    /// The messages, one behind the other.
    bytes: Vec<u8>,
    /// Where each begins; the end of the last is the end of the bytes.
    begins: Vec<usize>,
    to: Vec<Option<SockaddrStorage>>,
    askers: Vec<Asker>,
}

impl UdpListener {
    /// An inbox for this listener. What of a datagram does not fit into `room` bytes is lost.
    pub fn inbox(&self, room: usize) -> Inbox {
        Inbox {
            headers: self.headers(),
            buffers: vec![0; room * FEWEST].into_boxed_slice(),
            room,
            received: Vec::with_capacity(BATCH),
        }
    }

    /// An outbox for this listener.
    pub fn outbox(&self) -> Outbox {
        let replies = Replies {
            bytes: Vec::new(),
            begins: Vec::with_capacity(BATCH),
            to: Vec::with_capacity(BATCH),
            askers: Vec::with_capacity(BATCH),
        };
        Outbox { headers: self.headers(), replies }
    }

    fn headers(&self) -> MultiHeaders<SockaddrStorage> {
        // Exactly as much as the family's message takes: sendmmsg sends the whole space.
        let control = match self.wildcard {
            None => None,
            Some(Wildcard::V4) => Some(cmsg_space!(in_pktinfo)),
            Some(Wildcard::V6) => Some(cmsg_space!(in6_pktinfo)),
        };
        MultiHeaders::preallocate(BATCH, control)
    }

    /// Takes datagrams that are there, as many as one call brings, in place of those of the last
    /// call.
    ///
    /// # Errors
    /// `WouldBlock`: none is there. Pending ICMP errors of former replies come here too.
    pub fn try_receive_all(&self, inbox: &mut Inbox) -> io::Result<()> {
        inbox.clear();
        let taken = self.socket.try_io(Interest::READABLE, || {
            inbox.fill(self.socket.as_raw_fd())?;
            // This tells the runtime that the socket is empty.
            if inbox.is_full() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match taken {
            Err(error) if inbox.received.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends what is in the outbox and empties it. What the kernel does not take is lost, as any
    /// datagram may be; `lost` is told to whom, and why.
    pub fn reply_all(&self, outbox: &mut Outbox, mut lost: impl FnMut(&Asker, io::Error)) {
        let Outbox { headers, replies } = outbox;
        let mut next = 0;
        while let Some(asker) = replies.askers.get(next) {
            let run = replies.run(next);
            let fd = self.socket.as_raw_fd();
            match self.socket.try_io(Interest::WRITABLE, || replies.send(fd, headers, run)) {
                Ok(sent) => next += sent.max(1),
                Err(error) => {
                    lost(asker, error);
                    next += 1;
                }
            }
        }
        replies.clear();
    }
}

impl Inbox {
    /// Whether the last call filled it, so that more datagrams may wait.
    pub fn is_full(&self) -> bool {
        self.received.len() == self.most()
    }

    /// As many as one call brings now.
    pub(super) fn most(&self) -> usize {
        self.buffers.len() / self.room
    }

    /// Empties it, and makes it larger if it was full.
    fn clear(&mut self) {
        if self.is_full() && self.most() < BATCH {
            self.buffers = vec![0; 2 * self.buffers.len()].into_boxed_slice();
        }
        self.received.clear();
    }

    /// The datagrams of the last call.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], &Asker)> {
        let buffers = self.buffers.chunks_exact(self.room);
        buffers.zip(&self.received).map(|(buffer, (length, asker))| (&buffer[..*length], asker))
    }

    fn fill(&mut self, fd: RawFd) -> io::Result<()> {
        let most = self.most();
        let mut buffers = self.buffers.chunks_exact_mut(self.room);
        let mut pieces: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let (pieces, flags) = (pieces.iter_mut().take(most), MsgFlags::MSG_DONTWAIT);
        let messages = recvmmsg(fd, &mut self.headers, pieces, flags, None)?;
        for message in messages {
            // A datagram without sender is not to be had over UDP: it cannot be answered.
            let unknown = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
            let address = message.address.as_ref().and_then(std_address).unwrap_or(unknown);
            let asked = message.cmsgs()?.find_map(|control| PacketInfo::of(&control));
            self.received.push((message.bytes, Asker { address, asked }));
        }
        Ok(())
    }
}

impl Outbox {
    /// Adds a reply that `write` appends to the bytes it is given. If it returns false the reply
    /// is left out. Returns what `write` does.
    pub fn add(&mut self, asker: &Asker, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let Replies { bytes, begins, to, askers } = &mut self.replies;
        let begin = bytes.len();
        let written = write(bytes);
        if written {
            begins.push(begin);
            to.push(Some(asker.address.into()));
            askers.push(*asker);
        } else {
            bytes.truncate(begin);
        }
        written
    }
}

impl Replies {
    /// The replies from `begin` on that one call can send: from one address.
    fn run(&self, begin: usize) -> Range<usize> {
        let waiting = self.askers.iter().skip(begin).take(BATCH);
        let same = waiting.take_while(|asker| asker.asked == self.askers[begin].asked);
        begin..begin + same.count()
    }

    /// Sends a run; returns how many replies the kernel took, or why it did not take the first.
    fn send(
        &self,
        fd: RawFd,
        headers: &mut MultiHeaders<SockaddrStorage>,
        run: Range<usize>,
    ) -> io::Result<usize> {
        let message = |number: usize| {
            let end = self.begins.get(number + 1).copied().unwrap_or(self.bytes.len());
            self.begins.get(number).map_or(&[][..], |begin| &self.bytes[*begin..end])
        };
        let pieces: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|place| [IoSlice::new(message(run.start + place))]);
        let (to, flags) = (&self.to[run.clone()], MsgFlags::MSG_DONTWAIT);
        let sent = match self.askers[run.start].asked {
            None => sendmmsg(fd, headers, &pieces, to, [], flags)?.count(),
            Some(PacketInfo::V4(source)) => {
                let info = source.into();
                sendmmsg(fd, headers, &pieces, to, [ControlMessage::Ipv4PacketInfo(&info)], flags)?
                    .count()
            }
            Some(PacketInfo::V6(source)) => {
                let info = source.into();
                sendmmsg(fd, headers, &pieces, to, [ControlMessage::Ipv6PacketInfo(&info)], flags)?
                    .count()
            }
        };
        Ok(sent)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.begins.clear();
        self.to.clear();
        self.askers.clear();
    }
}
