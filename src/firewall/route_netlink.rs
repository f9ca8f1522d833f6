//! Links, addresses and routes of this machine, read over rtnetlink; and word of their changes.
//!
//! Reads only. Layout: struct nlmsghdr, then ifinfomsg, ifaddrmsg or rtmsg, then attributes padded
//! to four bytes (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h).

use super::network::{Address, Link, Network, Route};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How often a dump is asked for again because the tables changed under it.
const ATTEMPTS: usize = 5;

/// A dump comes in pieces of at most 32 KiB (NLMSG_GOODSIZE and netlink_dump).
const BUFFER: usize = 64 * 1024;

/// All links, addresses and routes of the network namespace of the calling thread.
///
/// # Errors
/// What the kernel says.
pub(super) fn survey() -> io::Result<Network> {
    let socket = open(0)?;
    let (v4, v6) = (AddressFamily::Inet as u8, AddressFamily::Inet6 as u8);
    let mut network = Network::default();
    dump(&socket, RTM_GETLINK, 0, |kind, body| {
        if let (RTM_NEWLINK, Some(link)) = (kind, link(body)) {
            network.links.push(link);
        }
    })?;
    for family in [v4, v6] {
        dump(&socket, RTM_GETADDR, family, |kind, body| {
            if let (RTM_NEWADDR, Some(address)) = (kind, address(body, family)) {
                network.addresses.push(address);
            }
        })?;
        dump(&socket, RTM_GETROUTE, family, |kind, body| {
            if let (RTM_NEWROUTE, Some(route)) = (kind, route(body, family)) {
                network.routes.push(route);
            }
        })?;
    }
    Ok(network)
}

/// Word that something has changed; what, is seen by a new [`survey`].
#[derive(Debug)]
pub(super) struct Changes(OwnedFd);

impl Changes {
    /// Listens from now on, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn subscribe() -> io::Result<Self> {
        open(
            RTMGRP_LINK
                | RTMGRP_IPV4_IFADDR
                | RTMGRP_IPV4_ROUTE
                | RTMGRP_IPV6_IFADDR
                | RTMGRP_IPV6_ROUTE,
        )
        .map(Changes)
    }

    /// Takes what has come, and says whether anything has; never waits.
    ///
    /// # Errors
    /// The socket is broken. That messages were lost is no error: they too say "changed".
    pub(super) fn drain(&self) -> io::Result<bool> {
        let mut buffer = vec![0; BUFFER];
        let mut any = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(any),
                Err(Errno::EINTR) => {}
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// Hands every message of a dump to `take`, as its type and its body.
fn dump(
    socket: &OwnedFd,
    request: u16,
    family: u8,
    mut take: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let mut messages = Vec::new();
        if attempt(socket, request, family, &mut messages)? {
            messages.iter().for_each(|(kind, body)| take(*kind, body));
            return Ok(());
        }
    }
    Err(io::Error::other("links, addresses or routes change all the time"))
}

/// `false`: it changed meanwhile (NLM_F_DUMP_INTR).
fn attempt(
    socket: &OwnedFd,
    request: u16,
    family: u8,
    messages: &mut Vec<(u16, Vec<u8>)>,
) -> io::Result<bool> {
    // The largest of the three headers; the kernel takes a longer one for each.
    let mut message = Vec::new();
    message.extend(u32::to_ne_bytes(32));
    message.extend(request.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family]);
    message.extend([0; 15]);
    let fd = socket.as_raw_fd();
    sendto(fd, &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    let mut is_whole = true;
    loop {
        let length = match recv(fd, &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        for Message { kind, flags, body } in Messages(&buffer[..length]) {
            is_whole &= flags & NLM_F_DUMP_INTR == 0;
            match kind {
                NLMSG_DONE => return Ok(is_whole),
                NLMSG_ERROR => {
                    let number = body.get(..4).and_then(|bytes| bytes.try_into().ok());
                    let number = number.map_or(0, i32::from_ne_bytes);
                    return Err(io::Error::from_raw_os_error(-number));
                }
                _ => messages.push((kind, body.to_vec())),
            }
        }
    }
}

fn link(body: &[u8]) -> Option<Link> {
    let index = word(body, 4)?;
    let flags = word(body, 8)?;
    let mut link = Link { index, flags, ..Link::default() };
    for (kind, value) in attributes(body.get(IFINFOMSG..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MASTER => link.master = word(value, 0),
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.is_bridge = kind.is_some_and(|(_, value)| text(value) == "bridge");
            }
            _ => {}
        }
    }
    Some(link)
}

fn address(body: &[u8], family: u8) -> Option<Address> {
    if *body.first()? != family {
        return None;
    }
    let (length, link) = (*body.get(1)?, word(body, 4)?);
    let (mut peer, mut own, mut flags) = (None, None, u32::from(*body.get(2)?));
    for (kind, value) in attributes(body.get(IFADDRMSG..)?) {
        match kind {
            IFA_ADDRESS => peer = ip(value),
            IFA_LOCAL => own = ip(value),
            IFA_FLAGS => flags = word(value, 0)?,
            _ => {}
        }
    }
    // For IPv6, and without a peer, the two are one.
    let peer = peer.or(own)?;
    let prefix = IpNet::new(peer, length).ok()?.trunc();
    let is_usable = flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0;
    Some(Address { link, own: own.unwrap_or(peer), prefix, is_usable })
}

fn route(body: &[u8], family: u8) -> Option<Route> {
    let flags = word(body, 8)?;
    if *body.first()? != family || *body.get(7)? != RTN_UNICAST || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let any: IpAddr = if family == AddressFamily::Inet as u8 {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let (mut destination, mut links, mut has_gateway) = (any, Vec::new(), false);
    for (kind, value) in attributes(body.get(RTMSG..)?) {
        match kind {
            RTA_DST => destination = ip(value)?,
            RTA_OIF => links.push(word(value, 0)?),
            RTA_GATEWAY | RTA_VIA => has_gateway = true,
            RTA_MULTIPATH => {
                has_gateway = true;
                links.extend(next_hops(value));
            }
            _ => {}
        }
    }
    let destination = IpNet::new(destination, *body.get(1)?).ok()?;
    Some(Route { destination, links, has_gateway })
}

/// The links of a multipath route: struct rtnexthop, each with attributes of its own.
fn next_hops(mut value: &[u8]) -> Vec<u32> {
    let mut links = Vec::new();
    while let (Some(length), Some(link)) = (half(value, 0), word(value, 4)) {
        links.push(link);
        let length = usize::from(length).next_multiple_of(4).max(8);
        value = value.get(length..).unwrap_or_default();
    }
    links
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

/// The messages in one datagram.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(word(self.0, 0)?).ok()?;
        let body = self.0.get(NLMSGHDR..length)?;
        let (kind, flags) = (half(self.0, 4)?, half(self.0, 6)?);
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, body })
    }
}

/// Attributes as type and value. One that is longer than what is left ends the list.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let kind = half(bytes, 2)? & !NLA_F_NESTED;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

// linux/netlink.h
const NLMSGHDR: usize = 16;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 1 << 15;

// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTMSG: usize = 12;
const RTM_F_CLONED: u32 = 0x200;
const RTN_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;

// linux/if_link.h
const IFINFOMSG: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

// linux/if_addr.h
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_link_is_seen_on_this_very_machine() {
        let network = survey().unwrap();
        let lo = network.links.iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.is_loopback());
        let own: IpAddr = "127.0.0.1".parse().unwrap();
        if let Some(address) = network.addresses.iter().find(|address| address.own == own) {
            assert_eq!(
                (address.link, address.prefix.to_string().as_str()),
                (lo.index, "127.0.0.0/8")
            );
        }
    }

    #[test]
    fn a_multipath_route_names_all_its_links() {
        let hop = |link: u32| [&[8, 0, 0, 0][..], &link.to_ne_bytes()].concat();
        assert_eq!(next_hops(&[hop(3), hop(5)].concat()), [3, 5]);
        assert_eq!(next_hops(&[0; 8]), [0], "a length of zero ends it");
        assert_eq!(next_hops(&[1, 0]), [] as [u32; 0]);
    }

    #[test]
    fn what_is_cut_off_is_no_attribute() {
        assert_eq!(attributes(&[8, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Messages(&[200, 0, 0, 0, 1, 0, 0, 0]).count(), 0);
    }
}
