//! A witness at the cable: what leaves the machine for foreign addresses without snet's mark.
//!
//! A packet socket (packet(7)) on the machine's side sees what the firewall has let out, whichever
//! firewall that was. Its filter (classic BPF, linux/filter.h) passes outgoing packets without the
//! mark that begin something: the first of a TCP connection, and datagrams. What snet redirects or
//! rejects never comes by, nor what stays within the machine, as captured datagrams do (loopback
//! does not count); what snet sends itself carries the mark. The proxies' addresses are
//! foreign, too, so that a connection of snet's own that lost its mark is counted as well. A
//! connection that was there before snet goes on directly.

use super::{Unable, world};
use crate::mark::Fwmark;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io::{self, Read};
use std::net::IpAddr;

/// Counts from its beginning on.
pub(super) struct Witness {
    socket: Socket,
    foreign: Vec<IpNet>,
    count: u64,
}

/// linux/if_ether.h: every protocol.
const ETH_P_ALL: u16 = 3;

impl Witness {
    /// Begins to watch.
    pub(super) fn new() -> Result<Self, Unable> {
        let foreign = [world::FOREIGN_RANGE, world::FOREIGN_RANGE_V6];
        let foreign = foreign.iter().filter_map(|range| range.parse().ok()).collect();
        let socket = open().map_err(|source| Unable::Trial { what: "a packet socket", source })?;
        Ok(Witness { socket, foreign, count: 0 })
    }

    /// Packets so far.
    pub(super) fn count(&mut self) -> Result<u64, Unable> {
        // Headers are enough: the rest of a packet is cut off.
        let mut packet = [0; 64];
        loop {
            match (&self.socket).read(&mut packet) {
                Ok(length) => {
                    let to = destination(&packet[..length]);
                    let is_foreign = |to| self.foreign.iter().any(|range| range.contains(&to));
                    self.count += u64::from(to.is_some_and(is_foreign));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(self.count),
                Err(source) => return Err(Unable::Trial { what: "the packet socket", source }),
            }
        }
    }
}

fn open() -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
    socket.attach_filter(&filter(Fwmark::SNET.mask(), Fwmark::SNET.value()))?;
    socket.set_nonblocking(true)?;
    // What came before the filter was there.
    let mut packet = [0; 64];
    while (&socket).read(&mut packet).is_ok() {}
    Ok(socket)
}

/// Where an IP packet goes.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?)),
        6 => Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?)),
        _ => None,
    }
}

// linux/bpf_common.h, linux/filter.h
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
/// Into X, four times the low half of a byte: the length of an IPv4 header.
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const LOAD_BYTE_BEHIND_X: u16 = 0x50;
const AND: u16 = 0x54;
const SHIFT_RIGHT: u16 = 0x74;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// SKF_AD_OFF: what the kernel knows beside the bytes.
const BESIDE: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = BESIDE + 4;
const INTERFACE: u32 = BESIDE + 8;
const MARK: u32 = BESIDE + 20;
/// LOOPBACK_IFINDEX (include/net/flow.h), in every network namespace.
const LOOPBACK: u32 = 1;
/// linux/if_packet.h
const PACKET_OUTGOING: u32 = 4;
const TCP: u32 = 6;
const UDP: u32 = 17;
const FIN_SYN_RST_ACK: u32 = 0x17;
const SYN: u32 = 0x02;

fn filter(mask: u32, value: u32) -> [SockFilter; 25] {
    let step = |code, operand| SockFilter::new(code, 0, 0, operand);
    // Jumps count the steps they leave out.
    let test = |operand, then, otherwise| SockFilter::new(IF_EQUAL, then, otherwise, operand);
    const TAKE: usize = 23;
    const DROP: usize = 24;
    // From a step to another.
    let to = |from: usize, there: usize| u8::try_from(there - from - 1).unwrap_or(u8::MAX);
    [
        /*  0 */ step(LOAD_WORD, MARK),
        /*  1 */ step(AND, mask),
        /*  2 */ test(value, to(2, DROP), 0),
        /*  3 */ step(LOAD_WORD, PACKET_TYPE),
        /*  4 */ test(PACKET_OUTGOING, 0, to(4, DROP)),
        /*  5 */ step(LOAD_WORD, INTERFACE),
        /*  6 */ test(LOOPBACK, to(6, DROP), 0),
        /*  7 */ step(LOAD_BYTE, 0),
        /*  8 */ step(SHIFT_RIGHT, 4),
        /*  9 */ test(4, 0, to(9, 16)),
        // IPv4
        /* 10 */ step(LOAD_BYTE, 9),
        /* 11 */ test(UDP, to(11, TAKE), 0),
        /* 12 */ test(TCP, 0, to(12, DROP)),
        /* 13 */ step(LOAD_HEADER_LENGTH, 0),
        /* 14 */ step(LOAD_BYTE_BEHIND_X, 13),
        /* 15 */ step(JUMP, 5),
        // IPv6
        /* 16 */ test(6, 0, to(16, DROP)),
        /* 17 */ step(LOAD_BYTE, 6),
        /* 18 */ test(UDP, to(18, TAKE), 0),
        /* 19 */ test(TCP, 0, to(19, DROP)),
        /* 20 */ step(LOAD_BYTE, 40 + 13),
        // The flags of TCP
        /* 21 */ step(AND, FIN_SYN_RST_ACK),
        /* 22 */ test(SYN, 0, to(22, DROP)),
        /* 23 */ step(RETURN, 64),
        /* 24 */ step(RETURN, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::destination;

    #[test]
    fn the_destination_of_either_family_is_read() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[16..20].copy_from_slice(&[203, 0, 113, 9]);
        assert_eq!(destination(&v4), "203.0.113.9".parse().ok());
        let mut v6 = [0; 40];
        v6[0] = 0x60;
        v6[24..26].copy_from_slice(&[0x20, 0x01]);
        assert_eq!(destination(&v6), "2001::".parse().ok());
        assert_eq!(destination(&v4[..19]), None);
        assert_eq!(destination(&[]), None);
    }
}
