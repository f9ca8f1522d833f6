//! Netlink, as far as rtnetlink, ipset and nf_tables have it in common: sockets, messages and
//! attributes.
//!
//! Layout: struct nlmsghdr and its body, in the byte order of the machine; attributes padded to
//! four bytes (linux/netlink.h, linux/netfilter/nfnetlink.h). All numbers are the kernel's, and
//! stable. What is read is never trusted to be whole.

pub(super) mod conntrack;
pub(super) mod flows;
pub(super) mod flowtables;
pub(super) mod ipset;
pub(super) mod nat_chains;
pub(super) mod route;
pub(super) mod tables;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

// linux/netlink.h
const NLM_F_REQUEST: u16 = 0x001;
pub(super) const NLM_F_ACK: u16 = 0x004;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x010;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
const NLMSGHDR: usize = 16;
const NLA_F_NESTED: u16 = 1 << 15;
pub(super) const NLA_F_NET_BYTEORDER: u16 = 1 << 14;
const NLA_TYPE_MASK: u16 = !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);

// linux/netfilter/nfnetlink.h
const NFNETLINK_V0: u8 = 0;
/// Bytes of struct nfgenmsg, which begins the body of a message of netfilter.
pub(super) const NFGENMSG: usize = 4;

/// A socket of the network namespace of the calling thread, that hears of these groups (a bit
/// each).
///
/// # Errors
/// EPROTONOSUPPORT: the kernel does not have the protocol. EPERM: no right to hear of these groups.
/// ENFILE, EMFILE, ENOBUFS.
pub(super) fn open(protocol: SockProtocol, groups: u32) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    // Port 0: the kernel gives it our process id, if no other socket of ours has it.
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// Sends to the kernel. It has carried a request out, and queued its answers, when this returns
/// (netlink_unicast_kernel); only a dump goes on while it is read.
///
/// # Errors
/// What sendto(2) says; EMSGSIZE if the message does not fit into the send buffer.
pub(super) fn send(fd: &OwnedFd, message: &[u8]) -> nix::Result<()> {
    let kernel = NetlinkAddr::new(0, 0);
    retried(|| sendto(fd.as_raw_fd(), message, &kernel, MsgFlags::empty())).map(drop)
}

/// Receives one datagram; what does not fit is lost.
///
/// # Errors
/// What recv(2) says; ENOBUFS: datagrams were lost.
pub(super) fn receive(fd: &OwnedFd, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<usize> {
    retried(|| recv(fd.as_raw_fd(), buffer, flags))
}

fn retried<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// A request: the header, and this body behind it.
pub(super) fn request(kind: u16, flags: u16, sequence: u32, body: &[&[u8]]) -> Vec<u8> {
    let length = NLMSGHDR + body.iter().map(|part| part.len()).sum::<usize>();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0u32.to_ne_bytes()); // to the kernel
    body.iter().for_each(|part| message.extend(*part));
    message
}

/// A dump comes in pieces of at most 32 KiB (NLMSG_GOODSIZE and netlink_dump).
const DUMP: usize = 64 * 1024;

/// Of every family (NFPROTO_UNSPEC), the body of a question to nfnetlink.
const OF_ALL_FAMILIES: [u8; NFGENMSG] = nfgenmsg(0, 0);

/// Asks nfnetlink for all of a kind, and hands the body of each answer to `take`, until it says
/// `false`.
///
/// # Errors
/// What the kernel says, for instance that it has no nf_tables.
pub(super) fn dump(
    get: u16,
    answer: u16,
    question: &[&[u8]],
    mut take: impl FnMut(&[u8]) -> bool,
) -> nix::Result<()> {
    // One of its own: what is left of a dump that is not read to its end goes with it.
    let socket = open(SockProtocol::NetlinkNetFilter, 0)?;
    send(&socket, &request(get, NLM_F_DUMP, 0, question))?;
    let mut buffer = vec![0; DUMP];
    loop {
        let length = receive(&socket, &mut buffer, MsgFlags::empty())?;
        for message in Message::all(&buffer[..length]) {
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR => match message.errno() {
                    0 => return Ok(()),
                    number => return Err(Errno::from_raw(number)),
                },
                kind if kind == answer && !take(message.body) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// struct nfgenmsg.
pub(super) const fn nfgenmsg(family: u8, resource: u16) -> [u8; NFGENMSG] {
    let [high, low] = resource.to_be_bytes();
    [family, NFNETLINK_V0, high, low]
}

/// A growing list of attributes.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let at = self.open(kind);
        self.0.extend(value);
        self.close(at);
    }

    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.bytes(kind, &[value.as_bytes(), b"\0"].concat());
    }

    /// In network byte order, as netfilter has its numbers.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) {
        let at = self.open(kind | NLA_F_NESTED);
        fill(self);
        self.close(at);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn open(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        at
    }

    /// A length has 16 bits. Only a list of elements of nf_tables could be longer, and those are
    /// cut (`nftables/batch.rs`).
    fn close(&mut self, at: usize) {
        let length = u16::try_from(self.0.len() - at).unwrap_or(u16::MAX);
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The messages of one datagram. The body of the last one is shorter than it says if the
    /// datagram did not fit into the buffer: an error quotes what was asked.
    pub(super) fn all(mut datagram: &'a [u8]) -> impl Iterator<Item = Message<'a>> {
        std::iter::from_fn(move || {
            let length = usize::try_from(u32_at(datagram, 0)?).ok()?.min(datagram.len());
            let message = Message {
                kind: u16_at(datagram, 4)?,
                flags: u16_at(datagram, 6)?,
                sequence: u32_at(datagram, 8)?,
                body: datagram.get(NLMSGHDR..length)?,
            };
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(message)
        })
    }

    /// Of an [`NLMSG_ERROR`] or [`NLMSG_DONE`]: the error number, 0 for success. One that is cut
    /// off is EBADMSG.
    pub(super) fn errno(&self) -> i32 {
        let number = self.body.first_chunk().copied().map(i32::from_ne_bytes);
        number.map_or(Errno::EBADMSG as i32, i32::saturating_neg)
    }
}

/// Attributes as type and value. One that is longer than what is left ends the list.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number in the byte order of the machine.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number in the byte order of the machine.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Vec<u8> {
        let mut attributes = Attributes::default();
        attributes.text(1, "snet");
        attributes.nest(2, |inner| inner.number(3 | NLA_F_NET_BYTEORDER, 2));
        request(0x0a00, NLM_F_CREATE | NLM_F_ACK, 7, &[&nfgenmsg(1, 10), attributes.as_bytes()])
    }

    #[test]
    fn a_request_on_the_wire() {
        if cfg!(target_endian = "big") {
            return;
        }
        #[rustfmt::skip]
        let expected = [
            44, 0, 0, 0,  0, 10,  5, 4,  7, 0, 0, 0,  0, 0, 0, 0,
            1, 0, 0, 10,
            9, 0, 1, 0,  b's', b'n', b'e', b't', 0, 0, 0, 0,
            12, 0, 2, 0x80,
                8, 0, 3, 0x40,  0, 0, 0, 2,
        ];
        assert_eq!(message(), expected);
    }

    #[test]
    fn what_was_written_is_read() {
        let message = message();
        let read: Vec<Message<'_>> = Message::all(&message).collect();
        assert_eq!((read.len(), read[0].sequence), (1, 7));
        let body = &read[0].body[NFGENMSG..];
        assert_eq!(attribute(body, 1), Some(&b"snet\0"[..]));
        let inner: Vec<_> = attributes(attribute(body, 2).unwrap()).collect();
        assert_eq!(inner, [(3, &[0, 0, 0, 2][..])]);
        assert_eq!(attribute(body, 9), None);
    }

    #[test]
    fn what_is_cut_off_ends_the_reading() {
        let datagram = [message(), message()].concat();
        assert_eq!(Message::all(&datagram).count(), 2);
        for length in 0..datagram.len() {
            for message in Message::all(&datagram[..length]) {
                // No panic, whatever is asked of a fragment.
                let _ = (attribute(message.body, 1), message.errno());
            }
        }
        assert_eq!(Message::all(&[0; 32]).count(), 0, "a length of zero");
        assert_eq!(Message::all(&[0xff; 32]).count(), 1, "and the largest");
        let odd = [request(1, 0, 7, &[b"odd"]), vec![0], message()].concat();
        assert_eq!(Message::all(&odd).count(), 2, "padded to four bytes");
        let cut = request(NLMSG_DONE, 0, 7, &[]);
        assert_ne!(Message::all(&cut).next().unwrap().errno(), 0);
        assert_eq!(Message::all(&[200, 0, 0, 0, 1, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[8, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
    }
}
