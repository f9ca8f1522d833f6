//! Links, addresses and routes of this machine, read over rtnetlink; and word of their changes.
//!
//! Routes and rules of our own are made in `device_routes` and `policy_routes`, by [`change`].
//! Layout: see [`netlink`]; the body is an ifinfomsg, ifaddrmsg or rtmsg, then attributes
//! (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h).

use super::{
    Message, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, attribute,
    attributes, u16_at, u32_at,
};
use crate::family::Family;
use crate::firewall::netlink;
use crate::firewall::network::{Address, LinkRoute, Network, NetworkLink};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockProtocol};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Who made a route or a rule of ours (rtm_protocol, FRA_PROTOCOL); any number from 5 upwards that
/// no other program uses.
pub(in crate::firewall) const PROTOCOL: u8 = 0x53;

// linux/rtnetlink.h
pub(in crate::firewall) const RT_SCOPE_UNIVERSE: u8 = 0;
pub(in crate::firewall) const RT_SCOPE_HOST: u8 = 254;
pub(in crate::firewall) const RTN_LOCAL: u8 = 2;
pub(in crate::firewall) const RTA_PRIORITY: u16 = 6;

/// How often a dump is asked for again because the tables changed under it.
const ATTEMPTS: usize = 5;

/// A dump comes in pieces of at most 32 KiB (NLMSG_GOODSIZE and netlink_dump).
const BUFFER: usize = 64 * 1024;

/// All links, addresses and routes of the network namespace of the calling thread.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn survey() -> io::Result<Network> {
    let socket = open(0)?;
    let (v4, v6) = (AddressFamily::Inet as u8, AddressFamily::Inet6 as u8);
    let mut network = Network { links: links(&socket)?, ..Network::default() };
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

/// All links.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn links(socket: &OwnedFd) -> io::Result<Vec<NetworkLink>> {
    let mut links = Vec::new();
    dump(socket, RTM_GETLINK, 0, |kind, body| {
        if let (RTM_NEWLINK, Some(link)) = (kind, link(body)) {
            links.push(link);
        }
    })?;
    Ok(links)
}

/// Word that something has changed; what, is seen by a new [`survey`].
#[derive(Debug)]
pub(in crate::firewall) struct Changes(OwnedFd);

impl Changes {
    /// Listens from now on, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::firewall) fn subscribe() -> io::Result<Self> {
        open(
            RTMGRP_LINK
                | RTMGRP_IPV4_IFADDR
                | RTMGRP_IPV4_ROUTE
                | RTMGRP_IPV6_IFADDR
                | RTMGRP_IPV6_ROUTE
                | RTMGRP_IPV4_RULE
                | RTMGRP_IPV6_RULE,
        )
        .map(Changes)
    }

    /// Takes what has come, and says whether anything has; never waits.
    ///
    /// # Errors
    /// The socket is broken. That messages were lost is no error: they too say "changed".
    pub(in crate::firewall) fn drain(&self) -> io::Result<bool> {
        let mut buffer = vec![0; BUFFER];
        let mut any = false;
        loop {
            match netlink::receive(&self.0, &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(any),
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

/// A socket of the network namespace of the calling thread, that hears of these groups.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn open(groups: u32) -> io::Result<OwnedFd> {
    Ok(netlink::open(SockProtocol::NetlinkRoute, groups)?)
}

/// Makes or removes what the body says, and waits for the kernel's answer.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn change(
    socket: &OwnedFd,
    act: u16,
    flags: u16,
    body: &[&[u8]],
) -> nix::Result<()> {
    netlink::send(socket, &netlink::request(act, flags | NLM_F_ACK, 0, body))?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = netlink::receive(socket, &mut buffer, MsgFlags::empty())?;
        for message in Message::all(&buffer[..length]) {
            if message.kind == NLMSG_ERROR {
                return match message.errno() {
                    0 => Ok(()),
                    number => Err(Errno::from_raw(number)),
                };
            }
        }
    }
}

/// The family as the kernel numbers it.
pub(in crate::firewall) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => AddressFamily::Inet as u8,
        Family::V6 => AddressFamily::Inet6 as u8,
    }
}

/// Hands every message of a dump to `take`, as its type and its body.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn dump(
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
    // The largest of the three bodies; the kernel takes a longer one for each.
    let mut body = [0; 16];
    body[0] = family;
    netlink::send(socket, &netlink::request(request, NLM_F_DUMP, 0, &[&body]))?;
    let mut buffer = vec![0; BUFFER];
    let mut is_whole = true;
    loop {
        let length = netlink::receive(socket, &mut buffer, MsgFlags::empty())?;
        for message in Message::all(&buffer[..length]) {
            is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                NLMSG_DONE if message.errno() == 0 => return Ok(is_whole),
                NLMSG_DONE | NLMSG_ERROR => {
                    return Err(io::Error::from_raw_os_error(message.errno()));
                }
                kind => messages.push((kind, message.body.to_vec())),
            }
        }
    }
}

fn link(body: &[u8]) -> Option<NetworkLink> {
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let mut link = NetworkLink { index, flags, ..NetworkLink::default() };
    for (kind, value) in attributes(body.get(IFINFOMSG..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MASTER => link.master = u32_at(value, 0),
            IFLA_LINKINFO => {
                let kind = attribute(value, IFLA_INFO_KIND);
                link.is_bridge = kind.is_some_and(|kind| text(kind) == "bridge");
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
    let (length, link) = (*body.get(1)?, u32_at(body, 4)?);
    let (mut peer, mut own, mut flags) = (None, None, u32::from(*body.get(2)?));
    for (kind, value) in attributes(body.get(IFADDRMSG..)?) {
        match kind {
            IFA_ADDRESS => peer = ip(value),
            IFA_LOCAL => own = ip(value),
            IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // For IPv6, and without a peer, the two are one.
    let peer = peer.or(own)?;
    let prefix = IpNet::new(peer, length).ok()?.trunc();
    let is_usable = flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0;
    Some(Address { link, own: own.unwrap_or(peer), prefix, is_usable })
}

fn route(body: &[u8], family: u8) -> Option<LinkRoute> {
    let flags = u32_at(body, 8)?;
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
            RTA_OIF => links.push(u32_at(value, 0)?),
            RTA_GATEWAY | RTA_VIA => has_gateway = true,
            RTA_MULTIPATH => {
                has_gateway = true;
                links.extend(next_hops(value));
            }
            _ => {}
        }
    }
    let destination = IpNet::new(destination, *body.get(1)?).ok()?;
    Some(LinkRoute { destination, links, has_gateway })
}

/// The links of a multipath route: struct rtnexthop, each with attributes of its own.
fn next_hops(mut value: &[u8]) -> Vec<u32> {
    let mut links = Vec::new();
    while let (Some(length), Some(link)) = (u16_at(value, 0), u32_at(value, 4)) {
        links.push(link);
        let length = usize::from(length).next_multiple_of(4).max(8);
        value = value.get(length..).unwrap_or_default();
    }
    links
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
pub(in crate::firewall) const RTM_NEWROUTE: u16 = 24;
pub(in crate::firewall) const RTM_DELROUTE: u16 = 25;
pub(in crate::firewall) const RTM_GETROUTE: u16 = 26;
const RTMSG: usize = 12;
const RTM_F_CLONED: u32 = 0x200;
const RTN_UNICAST: u8 = 1;
pub(in crate::firewall) const RTA_DST: u16 = 1;
pub(in crate::firewall) const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV4_RULE: u32 = 0x80;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;
/// 1 << (RTNLGRP_IPV6_RULE - 1); it has no RTMGRP_ of its own.
const RTMGRP_IPV6_RULE: u32 = 0x40000;

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

/// Reads a body as each of the three kinds. For `reading`.
pub(in crate::firewall) fn read(body: &[u8], family: u8) {
    let _ = (link(body), address(body, family), route(body, family));
}

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
}
