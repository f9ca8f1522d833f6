//! What is asked of nf_tables, and what its answers hold.
//!
//! Layout: see [`netlink`](crate::firewall::netlink). What the attributes mean is said in
//! linux/netfilter/nf_tables.h.

use crate::firewall::netlink;
use crate::firewall::netlink::{Attributes, Message, NFGENMSG, nfgenmsg};
use std::time::Duration;

// linux/netfilter/nfnetlink.h
pub(super) const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
pub(super) const NFNL_MSG_BATCH_END: u16 = 0x11;
pub(super) const NFNL_SUBSYS_NFTABLES: u16 = 10;
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
    GetElement = 13,
    DelElement = 14,
    NewObject = 18,
    GetObject = 19,
    DelObject = 20,
    NewFlowtable = 22,
    DelFlowtable = 24,
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
    let head = nfgenmsg(NFPROTO_INET, 0);
    netlink::request(act.kind(), flags, sequence, &[&head, attributes.as_bytes()])
}

/// The first or the last message of a batch.
pub(super) fn bracket(kind: u16, sequence: u32) -> Vec<u8> {
    netlink::request(kind, 0, sequence, &[&nfgenmsg(0, NFNL_SUBSYS_NFTABLES)])
}

impl Attributes {
    /// A time, in milliseconds.
    pub(super) fn millis(&mut self, kind: u16, value: Duration) {
        let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        self.bytes(kind, &millis.to_be_bytes());
    }
}

impl<'a> Message<'a> {
    /// The value of the first attribute of this kind.
    pub(super) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        netlink::attribute(self.body.get(NFGENMSG..)?, kind)
    }

    /// The value of an attribute that is a number of 32 bits.
    pub(super) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(*self.attribute(kind)?.first_chunk()?))
    }
}

/// Reads every attribute there can be in an answer. For `reading`.
pub(in crate::firewall) fn read(answer: Message<'_>) {
    for kind in 0..32 {
        let _ = (answer.attribute(kind), answer.number(kind));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_of_the_family_inet() {
        if cfg!(target_endian = "little") {
            let expected = [20, 0, 0, 0, 0, 10, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
            assert_eq!(request(Act::NewTable, netlink::NLM_F_ACK, 7, |_| {}), expected);
        }
    }

    #[test]
    fn a_batch_is_bracketed() {
        if cfg!(target_endian = "little") {
            let expected = [20, 0, 0, 0, 0x10, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
            assert_eq!(bracket(NFNL_MSG_BATCH_BEGIN, 1), expected);
        }
    }
}
