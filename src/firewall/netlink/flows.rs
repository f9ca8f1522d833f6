//! The UDP flows that conntrack knows, as a dump over nfnetlink; no tool is needed.
//!
//! An entry that the kernel shows twice, or misses because it came meanwhile, does no harm: who
//! asks also learns from the packets (`older` flows of both backends). Since Linux 5.8 the kernel
//! leaves out the entries of other protocols, of which a router may have a hundred thousand; an
//! older one shows them, and they are passed over here.
//!
//! Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_dump_table, ctnetlink_alloc_filter),
//! linux/netfilter/nfnetlink_conntrack.h.

use super::conntrack::{
    CTA_PROTO_NUM, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY, CTA_ZONE, ENTRY, GET, UDP,
    destination, source,
};
use super::{Attributes, NFGENMSG, attribute, dump, nfgenmsg, route};
use crate::family::Family;
use crate::firewall::flow::Flow;
use crate::firewall::names::ZONE;
use nix::errno::Errno;
use std::io;

const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// 1 << `__CTA_FILTER_CTA_PROTO_NUM` (net/netfilter/nf_internals.h).
const BY_PROTOCOL: u32 = 1 << 3;

/// Hands the flows of this family to `take`, until it says `false`: as they began, and the way back
/// of each, as its answers leave from the host that gives them. Those of captured queries are left
/// out.
///
/// # Errors
/// What the kernel says; without conntrack that is ENOENT or the like.
pub(in crate::firewall) fn of(
    family: Family,
    mut take: impl FnMut(Flow) -> bool,
) -> io::Result<()> {
    match ask(family, &by_protocol(), &mut take) {
        // A filter that this kernel does not have.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ERANGE) => {
            Ok(ask(family, &Attributes::default(), &mut take)?)
        }
        result => Ok(result?),
    }
}

fn by_protocol() -> Attributes {
    let mut attributes = Attributes::default();
    attributes.nest(CTA_TUPLE_ORIG, |tuple| {
        tuple.nest(CTA_TUPLE_PROTO, |proto| proto.bytes(CTA_PROTO_NUM, &[UDP]));
    });
    attributes.nest(CTA_FILTER, |filter| {
        filter.bytes(CTA_FILTER_ORIG_FLAGS, &BY_PROTOCOL.to_ne_bytes());
        filter.bytes(CTA_FILTER_REPLY_FLAGS, &0u32.to_ne_bytes());
    });
    attributes
}

fn ask(
    family: Family,
    filter: &Attributes,
    take: &mut impl FnMut(Flow) -> bool,
) -> nix::Result<()> {
    let question: [&[u8]; 2] = [&nfgenmsg(route::number(family), 0), filter.as_bytes()];
    dump(GET, ENTRY, &question, |body| {
        let flows = body.get(NFGENMSG..).and_then(read);
        flows.into_iter().flatten().all(&mut *take)
    })
}

/// The flow of an entry and its way back; `None` if it is another protocol's, or a captured
/// query's.
fn read(entry: &[u8]) -> Option<[Flow; 2]> {
    let tuple = attribute(entry, CTA_TUPLE_ORIG)?;
    let proto = attribute(tuple, CTA_TUPLE_PROTO)?;
    if attribute(proto, CTA_PROTO_NUM)? != [UDP] {
        return None;
    }
    if attribute(entry, CTA_ZONE).is_some_and(|zone| zone == ZONE.to_be_bytes()) {
        return None;
    }
    let flow = |tuple| Some(Flow { source: source(tuple)?, destination: destination(tuple)? });
    Some([flow(tuple)?, flow(attribute(entry, CTA_TUPLE_REPLY)?)?])
}

/// Reads an entry. For `reading`.
pub(in crate::firewall) fn read_any(entry: &[u8]) {
    let _ = read(entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::netlink::conntrack::tuple;

    /// An entry as the kernel shows it of a flow whose destination is translated.
    fn entry(protocol: u8, zone: Option<u16>, [there, back]: [Flow; 2]) -> Vec<u8> {
        let mut attributes = Attributes::default();
        for (kind, Flow { source, destination }) in
            [(CTA_TUPLE_ORIG, there), (CTA_TUPLE_REPLY, back)]
        {
            tuple(&mut attributes, kind, protocol, [source, destination]);
        }
        if let Some(zone) = zone {
            attributes.bytes(CTA_ZONE, &zone.to_be_bytes());
        }
        attributes.as_bytes().to_vec()
    }

    fn flow(source: &str, destination: &str) -> Flow {
        Flow { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn flows_as_they_were_sent_and_as_they_are_answered() {
        for flows in [
            [
                flow("192.168.1.10:4000", "198.51.100.1:3478"),
                flow("198.51.100.1:3478", "192.0.2.2:4000"),
            ],
            [
                flow("198.51.100.1:4000", "192.0.2.2:5001"),
                flow("192.168.1.10:5000", "198.51.100.1:4000"),
            ],
            [
                flow("[2001:db8:1::10]:4000", "[2001:db8:f::1]:3478"),
                flow("[2001:db8:f::1]:3478", "[2001:db8:1::10]:4000"),
            ],
        ] {
            let whole = entry(UDP, None, flows);
            assert_eq!(read(&whole), Some(flows));
            for length in 0..whole.len() {
                // No panic, and nothing made up.
                assert!(read(&whole[..length]).is_none_or(|found| found == flows));
            }
            assert_eq!(read(&entry(6, None, flows)), None, "TCP");
            assert_eq!(read(&entry(UDP, Some(7), flows)), Some(flows));
            assert_eq!(read(&entry(UDP, Some(ZONE), flows)), None, "a query");
        }
    }
}
