//! Where a redirected query wanted to go: conntrack knows, and tells over nfnetlink.
//!
//! SO_ORIGINAL_DST answers that for TCP only (net/netfilter/nf_conntrack_proto.c). The entry of a
//! datagram is found by what its reply will look like, from our port to the client, in the zone of
//! captured queries ([`super`]). One system call each way, never a wait: the kernel has answered
//! when sendto(2) returns. Needs CAP_NET_ADMIN and the module nf_conntrack_netlink, which the first
//! question loads.
//!
//! Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_get_conntrack),
//! linux/netfilter/nfnetlink_conntrack.h.

use super::{Attributes, Message, NFGENMSG, NLMSG_ERROR, attribute, nfgenmsg};
use crate::firewall::names::ZONE;
use crate::firewall::netlink;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockProtocol};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

// linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1;

// linux/netfilter/nfnetlink_conntrack.h
const IPCTNL_MSG_CT_NEW: u16 = 0;
const IPCTNL_MSG_CT_GET: u16 = 1;
pub(super) const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
pub(super) const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
pub(super) const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
pub(super) const CTA_PROTO_NUM: u16 = 1;
pub(super) const CTA_PROTO_SRC_PORT: u16 = 2;
pub(super) const CTA_PROTO_DST_PORT: u16 = 3;

/// The destination was translated (linux/netfilter/nf_conntrack_common.h).
const IPS_DST_NAT: u32 = 1 << 5;

pub(super) const UDP: u8 = 17;

/// A question for entries, and one of them as an answer.
pub(super) const GET: u16 = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
pub(super) const ENTRY: u16 = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;

/// An entry with all its attributes takes some 300 bytes.
const LARGEST: usize = 4096;

/// A netlink socket to the kernel's conntrack. It stays in the network namespace it was opened in.
#[derive(Debug)]
pub struct Conntrack {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Conntrack {
    /// Opens the socket and asks a first question, which loads the module.
    ///
    /// # Errors
    /// PermissionDenied without CAP_NET_ADMIN; InvalidInput or Unsupported: the kernel lacks
    /// nf_conntrack_netlink.
    pub fn open() -> io::Result<Self> {
        let fd = netlink::open(SockProtocol::NetlinkNetFilter, 0)?;
        let conntrack = Conntrack { fd, sequence: Cell::new(0) };
        // Nobody can have sent from port 0.
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        conntrack.original_destination(nowhere, nowhere)?;
        Ok(conntrack)
    }

    /// Where the query went that came from `client` to `local`, an address of ours; `None` if it
    /// was not redirected.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn original_destination(
        &self,
        client: SocketAddr,
        local: SocketAddr,
    ) -> io::Result<Option<SocketAddr>> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        netlink::send(&self.fd, &request(client, local, sequence))?;
        let mut buffer = [0; LARGEST];
        loop {
            let length = netlink::receive(&self.fd, &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            // What answers an earlier question is passed over.
            if let Some(answer) = read(&buffer[..length], sequence) {
                return answer;
            }
        }
    }
}

fn request(client: SocketAddr, local: SocketAddr, sequence: u32) -> Vec<u8> {
    let mut attributes = Attributes::default();
    tuple(&mut attributes, CTA_TUPLE_REPLY, UDP, [local, client]);
    attributes.bytes(CTA_ZONE, &ZONE.to_be_bytes());
    let family = if client.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    netlink::request(GET, 0, sequence, &[&nfgenmsg(family as u8, 0), attributes.as_bytes()])
}

/// A datagram's protocol, source and destination.
pub(super) fn tuple(to: &mut Attributes, kind: u16, protocol: u8, [from, at]: [SocketAddr; 2]) {
    to.nest(kind, |tuple| {
        tuple.nest(CTA_TUPLE_IP, |ip| {
            address(ip, [CTA_IP_V4_SRC, CTA_IP_V6_SRC], from.ip());
            address(ip, [CTA_IP_V4_DST, CTA_IP_V6_DST], at.ip());
        });
        tuple.nest(CTA_TUPLE_PROTO, |proto| {
            proto.bytes(CTA_PROTO_NUM, &[protocol]);
            proto.bytes(CTA_PROTO_SRC_PORT, &from.port().to_be_bytes());
            proto.bytes(CTA_PROTO_DST_PORT, &at.port().to_be_bytes());
        });
    });
}

fn address(ip: &mut Attributes, [v4, v6]: [u16; 2], address: IpAddr) {
    match address {
        IpAddr::V4(address) => ip.bytes(v4, &address.octets()),
        IpAddr::V6(address) => ip.bytes(v6, &address.octets()),
    }
}

/// The answer in the datagram, if it is to this question.
fn read(datagram: &[u8], sequence: u32) -> Option<io::Result<Option<SocketAddr>>> {
    let answer = Message::all(datagram).find(|message| message.sequence == sequence)?;
    Some(match answer.kind {
        NLMSG_ERROR => match Errno::from_raw(answer.errno()) {
            Errno::ENOENT => Ok(None),
            other => Err(other.into()),
        },
        ENTRY => Ok(answer.body.get(NFGENMSG..).and_then(translated)),
        _ => Err(io::Error::other("conntrack answers something else")),
    })
}

/// The original destination of an entry whose destination was translated.
fn translated(entry: &[u8]) -> Option<SocketAddr> {
    let status = u32::from_be_bytes(attribute(entry, CTA_STATUS)?.try_into().ok()?);
    if status & IPS_DST_NAT == 0 {
        return None;
    }
    destination(attribute(entry, CTA_TUPLE_ORIG)?)
}

/// The source of a tuple.
pub(super) fn source(tuple: &[u8]) -> Option<SocketAddr> {
    end(tuple, [CTA_IP_V4_SRC, CTA_IP_V6_SRC, CTA_PROTO_SRC_PORT])
}

/// The destination of a tuple.
pub(super) fn destination(tuple: &[u8]) -> Option<SocketAddr> {
    end(tuple, [CTA_IP_V4_DST, CTA_IP_V6_DST, CTA_PROTO_DST_PORT])
}

fn end(tuple: &[u8], [v4, v6, port]: [u16; 3]) -> Option<SocketAddr> {
    let ip = attribute(tuple, CTA_TUPLE_IP)?;
    let address: IpAddr = match attribute(ip, v4) {
        Some(bytes) => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        None => Ipv6Addr::from(<[u8; 16]>::try_from(attribute(ip, v6)?).ok()?).into(),
    };
    let proto = attribute(tuple, CTA_TUPLE_PROTO)?;
    let port = u16::from_be_bytes(attribute(proto, port)?.try_into().ok()?);
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "192.168.7.10:4000";
    const LOCAL: &str = "192.168.7.1:1211";

    /// That the kernel agrees is shown in the lab.
    #[test]
    fn a_question_on_the_wire() {
        if cfg!(target_endian = "big") {
            return;
        }
        #[rustfmt::skip]
        let expected = [
            80, 0, 0, 0,  1, 1,  1, 0,  7, 0, 0, 0,  0, 0, 0, 0,
            2, 0, 0, 0,
            52, 0, 2, 0x80,
                20, 0, 1, 0x80,  8, 0, 1, 0, 192, 168, 7, 1,  8, 0, 2, 0, 192, 168, 7, 10,
                28, 0, 2, 0x80,  5, 0, 1, 0, 17, 0, 0, 0,
                    6, 0, 2, 0, 4, 187, 0, 0,  6, 0, 3, 0, 15, 160, 0, 0,
            6, 0, 18, 0, 0x53, 0x53, 0, 0,
        ];
        assert_eq!(request(CLIENT.parse().unwrap(), LOCAL.parse().unwrap(), 7), expected);
    }

    fn entry(status: u32, destination: &str) -> Vec<u8> {
        let destination: SocketAddr = destination.parse().unwrap();
        let mut attributes = Attributes::default();
        attributes.nest(CTA_TUPLE_ORIG, |tuple| {
            tuple.nest(CTA_TUPLE_IP, |ip| {
                address(ip, [CTA_IP_V4_DST, CTA_IP_V6_DST], destination.ip());
            });
            tuple.nest(CTA_TUPLE_PROTO, |proto| {
                proto.bytes(CTA_PROTO_DST_PORT, &destination.port().to_be_bytes());
            });
        });
        attributes.number(CTA_STATUS, status);
        netlink::request(0x100, 0, 7, &[&nfgenmsg(2, 0), attributes.as_bytes()])
    }

    #[test]
    fn only_what_was_translated_went_elsewhere() {
        for destination in ["10.89.0.1:53", "[fd00::1]:53"] {
            let redirected = entry(0x1a8 | IPS_DST_NAT, destination);
            let found = read(&redirected, 7).unwrap().unwrap();
            assert_eq!(found, Some(destination.parse().unwrap()));
            assert!(read(&redirected, 8).is_none(), "an answer to another question");
            for length in 0..redirected.len() {
                // No panic, and nothing made up.
                let cut = read(&redirected[..length], 7);
                assert!(!matches!(cut, Some(Ok(Some(other))) if Some(other) != found));
            }
        }
        assert!(read(&entry(0x188, "10.89.0.1:53"), 7).unwrap().unwrap().is_none());
        let mut error = vec![36, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        error.extend((-2i32).to_ne_bytes());
        assert!(read(&error, 7).unwrap().unwrap().is_none(), "there is no such entry");
        error.splice(16..20, (-1i32).to_ne_bytes());
        let refused = read(&error, 7).unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
