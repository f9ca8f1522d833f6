//! The heads of all sets: their names and how many entries they have. Pure.
//!
//! Source: net/netfilter/ipset/ip_set_core.c (ip_set_dump_do), ip_set_hash_gen.h (mtype_head).

use super::{
    IPSET_ATTR_DATA, IPSET_ATTR_PROTOCOL, IPSET_ATTR_SETNAME, IPSET_PROTOCOL, NFNETLINK_V0,
    NLA_F_NESTED, NLA_F_NET_BYTEORDER, NLMSG_ERROR, NLMSG_HEADER, attribute,
};
use nix::sys::socket::AddressFamily;
use std::collections::HashMap;
use std::io;

/// More than the kernel puts into one message of a dump.
pub(super) const BUFFER: usize = 32 * 1024;

const NLM_F_DUMP: u16 = 0x300;
const NLMSG_DONE: u16 = 3;
const NFGENMSG: usize = 4;
const IPSET_CMD_LIST: u16 = 7;
const IPSET_ATTR_FLAGS: u16 = 6;
/// Without the entries.
const IPSET_FLAG_LIST_HEADER: u32 = 1 << 2;
const IPSET_ATTR_ELEMENTS: u16 = 24;

/// The request for the heads of all sets.
pub(super) fn request(sequence: u32) -> Vec<u8> {
    let mut payload = vec![AddressFamily::Inet as u8, NFNETLINK_V0, 0, 0];
    attribute(&mut payload, IPSET_ATTR_PROTOCOL, &[IPSET_PROTOCOL]);
    let flags = IPSET_FLAG_LIST_HEADER.to_be_bytes();
    attribute(&mut payload, IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, &flags);
    super::message(IPSET_CMD_LIST, NLM_F_DUMP, sequence, &payload)
}

/// Takes in a datagram of the answer. Returns whether it was the last one; answers to others are
/// passed over.
///
/// # Errors
/// What the kernel says.
pub(super) fn read(
    mut datagram: &[u8],
    sequence: u32,
    counts: &mut HashMap<String, u32>,
) -> io::Result<bool> {
    while let Some(head) = datagram.first_chunk::<NLMSG_HEADER>() {
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
        let Some(message) = datagram.get(NLMSG_HEADER..length) else { break };
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        if word(8) == sequence {
            match kind {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    let number =
                        message.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                    return match number {
                        0 => Ok(true),
                        number => Err(io::Error::from_raw_os_error(-number)),
                    };
                }
                _ => head_of_a_set(message.get(NFGENMSG..).unwrap_or_default(), counts),
            }
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn head_of_a_set(attributes: &[u8], counts: &mut HashMap<String, u32>) {
    let name = find(attributes, IPSET_ATTR_SETNAME)
        .and_then(|value| std::str::from_utf8(value.split(|byte| *byte == 0).next()?).ok());
    let elements = find(attributes, IPSET_ATTR_DATA)
        .and_then(|data| find(data, IPSET_ATTR_ELEMENTS))
        .and_then(|value| value.first_chunk());
    if let (Some(name), Some(elements)) = (name, elements) {
        counts.insert(name.into(), u32::from_be_bytes(*elements));
    }
}

fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some([l0, l1, k0, k1]) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let kind = u16::from_ne_bytes([*k0, *k1]) & !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(NLMSG_HEADER + payload.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0, 0]);
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(payload);
        message
    }

    #[test]
    fn heads_are_counted_up_to_the_end() {
        let mut data = Vec::new();
        attribute(&mut data, IPSET_ATTR_ELEMENTS | NLA_F_NET_BYTEORDER, &8000u32.to_be_bytes());
        let mut head = vec![2, 0, 0, 0];
        attribute(&mut head, IPSET_ATTR_SETNAME, b"snet-china4\0");
        attribute(&mut head, IPSET_ATTR_DATA | NLA_F_NESTED, &data);
        let mut datagram = message(0x0607, 6, b"somebody else's");
        datagram.push(0);
        datagram.extend(message(0x0607, 7, &head));
        let mut counts = HashMap::new();
        assert!(!read(&datagram, 7, &mut counts).unwrap());
        assert_eq!(counts, HashMap::from([("snet-china4".to_owned(), 8000)]));
        assert!(read(&message(NLMSG_DONE, 7, &[0; 4]), 7, &mut counts).unwrap());
        let refused = message(NLMSG_ERROR, 7, &(-1i32).to_ne_bytes());
        assert_eq!(read(&refused, 7, &mut counts).unwrap_err().raw_os_error(), Some(1));
    }

    #[test]
    fn what_is_cut_off_is_passed_over() {
        let mut head = vec![2, 0, 0, 0];
        attribute(&mut head, IPSET_ATTR_SETNAME, b"snet-china4\0");
        let whole = message(0x0607, 7, &head);
        let mut counts = HashMap::new();
        for length in 0..=whole.len() {
            assert!(!read(&whole[..length], 7, &mut counts).unwrap());
        }
        assert!(counts.is_empty());
    }
}
