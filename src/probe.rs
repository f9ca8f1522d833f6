//! The destination of the daemon's own proof that the rules capture.
//!
//! A proof has to take the way of a program's packets: an unmarked socket, the default route, the
//! hooks of everybody. So there is one foreign address whose connections, queries and datagrams our
//! rules capture at any time, whether they are active or not, and reject where no redirect took
//! them.
//!
//! Nobody is at these addresses, and no router forwards them to somebody: 192.0.0.8 is the IPv4
//! dummy address (RFC 7600), 100::/64 is for discarding (RFC 6666). The sockets have a hop limit of
//! 1 besides (`net::probe`).

use crate::family::Family;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The port of the connection.
pub const TCP_PORT: u16 = 443;

/// The port of the query.
pub const DNS_PORT: u16 = 53;

/// The port of the datagram, where UDP is captured.
pub const UDP_PORT: u16 = 7;

/// The address in this family.
pub const fn address(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8)),
    }
}

/// The address in this family, as a prefix.
pub fn prefix(family: Family) -> IpNet {
    IpNet::from(address(family))
}
