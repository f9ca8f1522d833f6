//! Netlink messages of nf_tables, byte by byte: attributes are built here, and taken apart.
//!
//! Layout: struct nlmsghdr, struct nfgenmsg, attributes padded to four bytes, numbers in network
//! byte order (linux/netlink.h, linux/netfilter/nfnetlink.h). What the attributes mean is said in
//! linux/netfilter/nf_tables.h. All numbers are the kernel's, and stable.

use std::time::Duration;

// linux/netlink.h
pub(super) const NLM_F_REQUEST: u16 = 0x001;
pub(super) const NLM_F_ACK: u16 = 0x004;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x010;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
const NLMSG_HEADER: usize = 16;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = !(3 << 14);

// linux/netfilter/nfnetlink.h
pub(super) const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
pub(super) const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNETLINK_V0: u8 = 0;
const NFGENMSG: usize = 4;
/// One table for both families; needs a kernel with IPv6.
const NFPROTO_INET: u8 = 1;

/// An element of a list of attributes, whatever the list.
pub(super) const NFTA_LIST_ELEM: u16 = 1;

/// What is asked of nf_tables (enum nf_tables_msg_types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    DelSet = 11,
    NewElement = 12,
    DelElement = 14,
}

impl Act {
    pub(super) fn kind(self) -> u16 {
        (NFNL_SUBSYS_NFTABLES << 8) | self as u16
    }

    /// The kind of the answers to a request for something: each `Get` stands behind its `New`.
    pub(super) fn answer(self) -> u16 {
        self.kind() - 1
    }
}

/// A request to nf_tables about the family inet.
pub(super) fn request(
    act: Act,
    flags: u16,
    sequence: u32,
    fill: impl FnOnce(&mut Attributes),
) -> Vec<u8> {
    let mut attributes = Attributes::default();
    fill(&mut attributes);
    frame(act.kind(), flags, sequence, NFPROTO_INET, 0, &attributes.0)
}

/// The first or the last message of a batch.
pub(super) fn bracket(kind: u16, sequence: u32) -> Vec<u8> {
    frame(kind, 0, sequence, 0, NFNL_SUBSYS_NFTABLES, &[])
}

fn frame(
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    attributes: &[u8],
) -> Vec<u8> {
    let length = NLMSG_HEADER + NFGENMSG + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0u32.to_ne_bytes()); // to the kernel
    message.extend([family, NFNETLINK_V0]);
    message.extend(resource.to_be_bytes());
    message.extend(attributes);
    message
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

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn millis(&mut self, kind: u16, value: Duration) {
        let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        self.bytes(kind, &millis.to_be_bytes());
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) {
        let at = self.open(kind | NLA_F_NESTED);
        fill(self);
        self.close(at);
    }

    fn open(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        at
    }

    /// A length has 16 bits. Only a list of elements could be longer, and
    /// [`batch`](super::batch) cuts those.
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
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The messages of one datagram. What is cut off is left out.
    pub(super) fn all(mut datagram: &'a [u8]) -> impl Iterator<Item = Message<'a>> {
        std::iter::from_fn(move || {
            let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
            let message = Message {
                kind: u16_at(datagram, 4)?,
                flags: u16_at(datagram, 6)?,
                sequence: u32_at(datagram, 8)?,
                // An error quotes what was asked, and may be longer than our buffer.
                payload: datagram.get(NLMSG_HEADER..length.min(datagram.len()))?,
            };
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(message)
        })
    }

    /// Of an [`NLMSG_ERROR`] or [`NLMSG_DONE`]: the error number, 0 for success.
    pub(super) fn errno(&self) -> i32 {
        let number = self.payload.first_chunk().copied().map_or(0, i32::from_ne_bytes);
        number.saturating_neg()
    }

    /// The value of the first attribute of this kind.
    pub(super) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        let mut rest = self.payload.get(NFGENMSG..)?;
        loop {
            let length = usize::from(u16_at(rest, 0)?);
            let found = u16_at(rest, 2)? & NLA_TYPE_MASK;
            let value = rest.get(4..length)?;
            if found == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    /// The value of an attribute that is a number of 32 bits.
    pub(super) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(*self.attribute(kind)?.first_chunk()?))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_on_the_wire() {
        if cfg!(target_endian = "big") {
            return;
        }
        let message = request(Act::NewTable, NLM_F_CREATE | NLM_F_ACK, 7, |table| {
            table.text(1, "snet");
            table.nest(2, |inner| inner.number(3, 2));
        });
        #[rustfmt::skip]
        let expected = [
            44, 0, 0, 0,  0, 10,  5, 4,  7, 0, 0, 0,  0, 0, 0, 0,
            1, 0, 0, 0,
            9, 0, 1, 0,  b's', b'n', b'e', b't', 0, 0, 0, 0,
            12, 0, 2, 0x80,
                8, 0, 3, 0,  0, 0, 0, 2,
        ];
        assert_eq!(message, expected);
        let read: Vec<Message<'_>> = Message::all(&message).collect();
        assert_eq!((read.len(), read[0].sequence), (1, 7));
        assert_eq!(read[0].attribute(1), Some(&b"snet\0"[..]));
        assert_eq!(read[0].attribute(2), Some(&[8, 0, 3, 0, 0, 0, 0, 2][..]));
        assert_eq!(read[0].attribute(9), None);
    }

    #[test]
    fn a_batch_is_bracketed() {
        if cfg!(target_endian = "little") {
            let expected = [20, 0, 0, 0, 0x10, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
            assert_eq!(bracket(NFNL_MSG_BATCH_BEGIN, 1), expected);
        }
    }

    #[test]
    fn what_is_cut_off_ends_the_reading() {
        let mut datagram = request(Act::NewTable, 0, 1, |table| table.text(1, "snet"));
        datagram.extend(request(Act::NewTable, 0, 2, |table| table.text(1, "snet")));
        assert_eq!(Message::all(&datagram).count(), 2);
        for length in 0..datagram.len() {
            for message in Message::all(&datagram[..length]) {
                // No panic, whatever is asked of a fragment.
                let _ = (message.attribute(1), message.number(2), message.errno());
            }
        }
        let endless = [0; 32];
        assert_eq!(Message::all(&endless).count(), 0);
    }
}
