//! The UDP flows that a table in the kernel knows as older than the capture. Their set is kept by
//! the packets, so the kernel alone has it: it is read before another table takes the place of one
//! that a dead process left, or that another program has damaged.

use super::connection::TableConnection;
use super::error::Error;
use super::message::{Act, NFTA_LIST_ELEM};
use super::numbers::NFTA_DATA_VALUE;
use super::set_encoding::{
    NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE,
};
use super::sets::set_name;
use crate::family::Family;
use crate::firewall::flow::Flow;
use crate::firewall::names::TABLE;
use crate::firewall::netlink::{Message, NFGENMSG, attribute, attributes};
use crate::firewall::sets::Set;
use std::net::{IpAddr, SocketAddr};

/// Those of both families.
///
/// # Errors
/// What the kernel says; without the table or its sets, that there is no such thing.
pub(super) fn read(connection: &TableConnection) -> Result<Vec<Flow>, Error> {
    let mut found = Vec::new();
    for family in Family::ALL {
        let name = set_name(Set::Older, family);
        let asked = connection.all(
            Act::GetElement,
            |list| {
                list.text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
                list.text(NFTA_SET_ELEM_LIST_SET, &name);
            },
            |answer| Some(flows(answer, family)),
        );
        found.extend(asked?.into_iter().flatten());
    }
    Ok(found)
}

fn flows(answer: Message<'_>, family: Family) -> Vec<Flow> {
    let list = answer.body.get(NFGENMSG..).unwrap_or_default();
    let elements = attribute(list, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    let elements = attributes(elements).filter(|(kind, _)| *kind == NFTA_LIST_ELEM);
    let keys = elements.filter_map(|(_, element)| {
        attribute(attribute(element, NFTA_SET_ELEM_KEY)?, NFTA_DATA_VALUE)
    });
    keys.filter_map(|key| flow(key, family)).collect()
}

/// Of a key of the set: address, port, address, port, each filled up to four bytes.
fn flow(key: &[u8], family: Family) -> Option<Flow> {
    let length = if family == Family::V4 { 4 } else { 16 };
    let (source, destination) = key.split_at_checked(length + 4)?;
    let end = |end: &[u8]| {
        let (address, port) = end.split_at_checked(length)?;
        let address: IpAddr = match family {
            Family::V4 => <[u8; 4]>::try_from(address).ok()?.into(),
            Family::V6 => <[u8; 16]>::try_from(address).ok()?.into(),
        };
        Some(SocketAddr::new(address, u16::from_be_bytes(*port.first_chunk()?)))
    };
    Some(Flow { source: end(source)?, destination: end(destination)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_flow() {
        let v4 = [192, 0, 2, 2, 0x0f, 0xa0, 0, 0, 198, 51, 100, 1, 0x0d, 0x96, 0, 0];
        let source = "192.0.2.2:4000".parse().unwrap();
        let destination = "198.51.100.1:3478".parse().unwrap();
        assert_eq!(flow(&v4, Family::V4), Some(Flow { source, destination }));
        for length in 0..v4.len() - 2 {
            assert_eq!(flow(&v4[..length], Family::V4), None);
            assert_eq!(flow(&v4[..length], Family::V6), None);
        }
        let v6 = flow(&[7; 40], Family::V6).unwrap();
        assert_eq!(v6.source, "[707:707:707:707:707:707:707:707]:1799".parse().unwrap());
    }
}
