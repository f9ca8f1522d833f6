//! Sockets that are bound to a device (SO_BINDTODEVICE, socket(7)): routes that let a redirect
//! reach them.
//!
//! # Theory of operation
//!
//! A redirect of local packets leads to 127.0.0.1 or ::1 and has the packet routed anew, by the
//! device that its socket is bound to (ip_route_me_harder). The loopback addresses are on `lo`
//! only, so the packet left on the wire, addressed to 127.0.0.1, and its program waited in vain. No
//! rule can tell such a packet: in OUTPUT every redirected one still shows the device of before
//! (seen), and behind OUTPUT nothing can be rejected.
//!
//! So every device gets a local route to the loopback address of each captured family, in the table
//! `local`, behind the kernel's own. Only a lookup for that very device finds it. The packet then
//! stays here and counts as one that came in by the device, as do the replies to it, whose
//! destination is an address of the device: the bound socket is found (`orig_oif = FIB_RES_OIF`,
//! ip_route_output_key_hash_rcu in net/ipv4/route.c).
//!
//! A device gets its routes as soon as there is word of it, not when the network is quiet again;
//! they go with it. (A route for all devices that have none yet, "unreachable", is passed over by a
//! lookup for a device, in IPv6, or taken for a neighbour on it, in IPv4: seen.)
//!
//! Without rules these routes mean nothing: from outside such an address never gets in, whatever
//! the table says (martian destinations, RFC 4291 section 2.5.3). They are known by their protocol
//! number, so that a cleanup needs no memory.

use super::netlink::route;
use super::netlink::route::{
    PROTOCOL, RT_SCOPE_HOST, RT_SCOPE_UNIVERSE, RTA_DST, RTA_OIF, RTA_PRIORITY, RTM_DELROUTE,
    RTM_GETROUTE, RTM_NEWROUTE, RTN_LOCAL, number,
};
use super::netlink::{Attributes, NLM_F_CREATE, NLM_F_EXCL, attribute, u32_at};
use super::network::NetworkLink;
use super::policy::Policy;
use crate::family::Family;
use crate::warnings::Complaint;
use nix::errno::Errno;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use tracing::warn;

/// The routes while rules are installed. Their drop removes them.
#[derive(Debug)]
pub(super) struct Routes(());

impl Routes {
    /// Makes them, before the rules that need them. Failing that, all but programs bound to a
    /// device is well, and the operator is told.
    pub(super) fn put(policy: &Policy) -> Self {
        RouteFollower::default().update(policy);
        Routes(())
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        if let Err(error) = remove() {
            warn!(
                "local routes to loopback addresses could not be removed ({error}); run `snet cleanup`"
            );
        }
    }
}

/// Keeps them as the devices come and go.
#[derive(Debug, Default)]
pub(super) struct RouteFollower {
    /// What was said of the last attempt.
    told: Complaint,
}

impl RouteFollower {
    /// To be called after every change of the network. Reads no routes: a router may have a
    /// million.
    pub(super) fn update(&mut self, policy: &Policy) {
        self.told.set(add(policy).err().map(|error| {
            format!(
                "programs that are bound to a device are not captured, and reach nothing foreign: \
                 {error}"
            )
        }));
    }
}

/// One of our routes: to the loopback address of this family by the device of this index.
type DeviceRoute = (Family, u32);

fn add(policy: &Policy) -> io::Result<()> {
    let socket = route::open(0)?;
    for way in wanted(&route::links(&socket)?, policy) {
        match request(&socket, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, way) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // It went down or away meanwhile, or has no such family: then nothing is bound to it.
            Err(Errno::ENETDOWN | Errno::ENODEV | Errno::EACCES | Errno::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes whatever any snet left; says how many there were.
///
/// # Errors
/// What the kernel says.
pub(super) fn remove() -> io::Result<usize> {
    let socket = route::open(0)?;
    let mut found = Vec::new();
    for family in Family::ALL {
        route::dump(&socket, RTM_GETROUTE, number(family), |kind, body| {
            if kind == RTM_NEWROUTE {
                found.extend(ours(family, body));
            }
        })?;
    }
    for way in &found {
        match request(&socket, RTM_DELROUTE, 0, *way) {
            Ok(()) | Err(Errno::ESRCH | Errno::ENODEV) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found.len())
}

/// What should be there.
fn wanted(links: &[NetworkLink], policy: &Policy) -> Vec<DeviceRoute> {
    let usable = |link: &&NetworkLink| link.is_up() && !link.is_loopback();
    let devices = links.iter().filter(usable).map(|link| link.index);
    let captured = |family: &Family| policy.listens(*family);
    let ways = |index| Family::ALL.into_iter().filter(captured).map(move |family| (family, index));
    devices.flat_map(ways).collect()
}

fn ours(family: Family, body: &[u8]) -> Option<DeviceRoute> {
    let [own_family, .., table, protocol, _, _] = *body.first_chunk::<8>()?;
    if (own_family, table, protocol) != (number(family), RT_TABLE_LOCAL, PROTOCOL) {
        return None;
    }
    Some((family, u32_at(attribute(body.get(RTMSG..)?, RTA_OIF)?, 0)?))
}

fn request(socket: &OwnedFd, act: u16, flags: u16, way: DeviceRoute) -> nix::Result<()> {
    let (header, attributes) = encode(way);
    route::change(socket, act, flags, &[&header, attributes.as_bytes()])
}

/// struct rtmsg, and the attributes.
fn encode((family, index): DeviceRoute) -> ([u8; RTMSG], Attributes) {
    let (address, scope) = match family.loopback() {
        IpAddr::V4(v4) => (v4.octets().to_vec(), RT_SCOPE_HOST),
        IpAddr::V6(v6) => (v6.octets().to_vec(), RT_SCOPE_UNIVERSE),
    };
    let bits = if family == Family::V4 { 32 } else { 128 };
    let header =
        [number(family), bits, 0, 0, RT_TABLE_LOCAL, PROTOCOL, scope, RTN_LOCAL, 0, 0, 0, 0];
    let mut attributes = Attributes::default();
    attributes.bytes(RTA_DST, &address);
    attributes.bytes(RTA_OIF, &index.to_ne_bytes());
    // Each has a metric of its own: in IPv4 two with the same are one. The kernel's is 0 and comes
    // first.
    attributes.bytes(RTA_PRIORITY, &index.saturating_add(1).to_ne_bytes());
    (header, attributes)
}

// linux/rtnetlink.h
const RTMSG: usize = 12;
const RT_TABLE_LOCAL: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::network::tests::{ETHERNET, TUNNEL, network};
    use crate::firewall::tests::ruleset;

    #[test]
    fn every_device_that_is_up_gets_one_for_each_captured_family() {
        let links = network(&[
            ("lo", 0x9, "", ""),
            ("br-lan", ETHERNET, "", ""),
            ("tun0", TUNNEL, "", ""),
            ("eth9", ETHERNET & !1, "", ""),
        ])
        .links;
        let both = &*ruleset().policy;
        let only_v4 = Policy { listeners: vec!["127.0.0.1".parse().unwrap()], ..both.clone() };
        assert_eq!(wanted(&links, &only_v4), [(Family::V4, 2), (Family::V4, 3)]);
        assert_eq!(wanted(&links, both).len(), 4);
    }

    #[test]
    fn what_was_written_is_ours() {
        for family in Family::ALL {
            let (header, attributes) = encode((family, 7));
            let message = [&header[..], attributes.as_bytes()].concat();
            assert_eq!(ours(family, &message), Some((family, 7)));
            let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
            assert_eq!(ours(other, &message), None);
            // Behind the device stands the metric.
            for length in 0..message.len() - 8 {
                assert_eq!(ours(family, &message[..length]), None);
            }
        }
        let (mut header, attributes) = encode((Family::V4, 7));
        header[5] = 2; // RTPROT_KERNEL
        assert_eq!(ours(Family::V4, &[&header[..], attributes.as_bytes()].concat()), None);
    }
}
