//! The heads of all sets: their names and how many entries they have. Pure.
//!
//! Source: net/netfilter/ipset/ip_set_core.c (ip_set_dump_do), ip_set_hash_gen.h (mtype_head).

use super::{IPSET_ATTR_DATA, IPSET_ATTR_SETNAME};
use crate::firewall::netlink::{
    Message, NFGENMSG, NLA_F_NET_BYTEORDER, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, attribute,
};
use nix::sys::socket::AddressFamily;
use std::collections::HashMap;
use std::io;

/// More than the kernel puts into one message of a dump.
pub(in crate::firewall) const BUFFER: usize = 32 * 1024;

const IPSET_CMD_LIST: u16 = 7;
const IPSET_ATTR_FLAGS: u16 = 6;
/// Without the entries.
const IPSET_FLAG_LIST_HEADER: u32 = 1 << 2;
const IPSET_ATTR_ELEMENTS: u16 = 24;

/// The request for the heads of all sets.
pub(in crate::firewall) fn request(sequence: u32) -> Vec<u8> {
    super::request(IPSET_CMD_LIST, NLM_F_DUMP, sequence, AddressFamily::Inet, |all| {
        all.number(IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, IPSET_FLAG_LIST_HEADER);
    })
}

/// Takes in a datagram of the answer. Returns whether it was the last one; answers to others are
/// passed over.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn read(
    datagram: &[u8],
    sequence: u32,
    counts: &mut HashMap<String, u32>,
) -> io::Result<bool> {
    for message in Message::all(datagram).filter(|message| message.sequence == sequence) {
        match message.kind {
            NLMSG_DONE | NLMSG_ERROR => {
                return match message.errno() {
                    0 => Ok(true),
                    number => Err(io::Error::from_raw_os_error(number)),
                };
            }
            _ => head_of_a_set(message.body.get(NFGENMSG..).unwrap_or_default(), counts),
        }
    }
    Ok(false)
}

fn head_of_a_set(attributes: &[u8], counts: &mut HashMap<String, u32>) {
    let name = attribute(attributes, IPSET_ATTR_SETNAME)
        .and_then(|value| std::str::from_utf8(value.split(|byte| *byte == 0).next()?).ok());
    let elements = attribute(attributes, IPSET_ATTR_DATA)
        .and_then(|data| attribute(data, IPSET_ATTR_ELEMENTS))
        .and_then(|value| value.first_chunk());
    if let (Some(name), Some(elements)) = (name, elements) {
        counts.insert(name.into(), u32::from_be_bytes(*elements));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::netlink;
    use crate::firewall::netlink::Attributes;

    /// What the kernel says of a set; the numbers are those of ip_set.h.
    fn head(sequence: u32, elements: u32) -> Vec<u8> {
        let mut attributes = Attributes::default();
        attributes.text(2, "snet-china4");
        attributes.nest(7, |data| data.number(24 | NLA_F_NET_BYTEORDER, elements));
        netlink::request(0x0607, 0, sequence, &[&[2, 0, 0, 0], attributes.as_bytes()])
    }

    #[test]
    fn heads_are_counted_up_to_the_end() {
        let datagram = [head(6, 1), head(7, 8000)].concat();
        let mut counts = HashMap::new();
        assert!(!read(&datagram, 7, &mut counts).unwrap());
        assert_eq!(counts, HashMap::from([("snet-china4".to_owned(), 8000)]));
        let status = |kind, number: i32| netlink::request(kind, 0, 7, &[&number.to_ne_bytes()]);
        assert!(read(&status(NLMSG_DONE, 0), 7, &mut counts).unwrap());
        let refused = read(&status(NLMSG_ERROR, -1), 7, &mut counts).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
    }

    #[test]
    fn what_is_cut_off_is_passed_over() {
        let whole = head(7, 8000);
        let mut counts = HashMap::new();
        for length in 0..whole.len() {
            assert!(!read(&whole[..length], 7, &mut counts).unwrap());
        }
        assert!(counts.is_empty());
    }
}
