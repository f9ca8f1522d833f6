//! Captured UDP: the rules and routes that lead marked datagrams to the listener on this machine.
//!
//! # Theory of operation
//!
//! A captured datagram of this machine is marked in OUTPUT and routed anew: table 1311 takes it to
//! `lo`, and so to PREROUTING, where TPROXY finds the listener. One of a LAN host gets its mark
//! with TPROXY, and the same table takes it in. So it has one kind of route, `local default`.
//!
//! | priority | rule | for |
//! |---|---|---|
//! | 1310 | `iif lo`, LAN mark: goto 1312 | the reverse-path check of a LAN host's datagram |
//! | 1311 | LAN mark: table 1311 | LAN hosts |
//! | 1312 | own mark: table 1311 | this machine |
//! | 1313 | own mark: unreachable | this machine, where the table has no route for the device |
//!
//! *Two marks, and a goto.* Where net.ipv4.conf.*.src_valid_mark is set (wg-quick sets it), and for
//! nft's `fib saddr . mark`, the way back to the client is looked up with the mark of the datagram,
//! as if it came from `lo` (fib_compute_spf_nh, nft_fib4_eval). With one mark that lookup finds
//! `local default`, and the datagram is dropped as a martian (seen).
//!
//! *A route for each device.* A socket that is bound to a device (SO_BINDTODEVICE) has its
//! datagrams routed anew by that device: the route of `lo` does not match, and they left directly
//! (seen). Between the coming of a device and its route rule 1313 keeps them from that. LAN hosts
//! need no such rule: what TPROXY has taken is never forwarded (ip_forward drops what has a
//! socket).
//!
//! *The priorities* stand before those that take everything elsewhere: mwan3's 2001 and more,
//! Tailscale's 5210 to 5270, wg-quick's 32764.
//!
//! Alone they are harmless: only rules of the firewall give the marks. They are known by their
//! protocol number, priority and mark, so that a start adopts them and a cleanup needs no memory.
//!
//! Source: ip-rule(8), linux/fib_rules.h, net/core/fib_rules.c, net/ipv4/fib_frontend.c.

mod follower;
mod rule;

use crate::family::Family;
use crate::firewall::error::Error;
use crate::firewall::netlink::route;
use crate::firewall::netlink::route::{
    PROTOCOL, RT_SCOPE_HOST, RT_SCOPE_UNIVERSE, RTA_OIF, RTA_PRIORITY, RTM_DELROUTE, RTM_NEWROUTE,
    RTN_LOCAL, number,
};
use crate::firewall::netlink::{Attributes, NLM_F_CREATE, NLM_F_EXCL};
use crate::firewall::network::NetworkLink;
use crate::firewall::policy::Policy;
use crate::firewall::ruleset::Ruleset;
use nix::errno::Errno;
use rule::{RT_TABLE_UNSPEC, RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE, RULES, RoutingRule, TABLE};
use std::io;
use std::os::fd::OwnedFd;
use tracing::warn;

pub(in crate::firewall) use follower::PolicyRouteFollower;

/// The rules and routes while a policy captures UDP. Their drop removes them.
#[derive(Debug)]
pub(in crate::firewall) struct PolicyRoutes(());

impl PolicyRoutes {
    /// Makes what this policy needs; to be called before the firewall's rules are there, since
    /// without it a marked datagram leaves directly.
    ///
    /// # Errors
    /// What the kernel says; then nothing is left.
    pub(in crate::firewall) fn put(policy: &Policy) -> Result<Self, Error> {
        let routes = PolicyRoutes(());
        routes.precede(policy)?;
        Ok(routes)
    }

    /// To be called before other rules of the firewall.
    ///
    /// # Errors
    /// What the kernel says.
    #[expect(clippy::unused_self, reason = "only where they are removed at the end")]
    pub(in crate::firewall) fn precede(&self, policy: &Policy) -> Result<(), Error> {
        add(policy).map(drop).map_err(|source| Error::PolicyRoutes { source })
    }

    /// To be called when other rules of the firewall are in force: what they do not need goes.
    #[expect(clippy::unused_self, reason = "only where they are removed at the end")]
    pub(in crate::firewall) fn succeed(&self, policy: &Policy) {
        let unused = Family::ALL.into_iter().filter(|family| !policy.proxies_datagrams(*family));
        warn_of(unused.map(remove_of).find_map(Result::err));
    }
}

impl Drop for PolicyRoutes {
    fn drop(&mut self) {
        warn_of(remove().err());
    }
}

fn warn_of(error: Option<io::Error>) {
    if let Some(error) = error {
        warn!("policy routes could not be removed ({error}); run `snet cleanup`");
    }
}

/// Why UDP of this family cannot be led to a listener on this kernel, in words for the operator.
pub(in crate::firewall) fn unsupported(family: Family) -> Option<String> {
    let asked = route::open(0).and_then(|socket| rules_there(&socket, family));
    let error = asked.err()?;
    is_missing(&error).then(|| {
        format!(
            "foreign {family} UDP cannot be captured, and is rejected: this kernel has no \
             {family}, or no policy routing for it (CONFIG_IP_MULTIPLE_TABLES or its IPv6 \
             namesake): {error}; firewall.udp = \"direct\" leaves it alone"
        )
    })
}

/// Whether the kernel was built without policy routing, or without the family.
fn is_missing(error: &io::Error) -> bool {
    const MISSING: [Errno; 2] = [Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT];
    MISSING.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Makes what is missing; says how many of them were.
fn add(policy: &Policy) -> io::Result<usize> {
    let families = Family::ALL.into_iter().filter(|family| policy.proxies_datagrams(*family));
    let families: Vec<Family> = families.collect();
    if families.is_empty() {
        return Ok(0);
    }
    let socket = route::open(0)?;
    let links = route::links(&socket)?;
    let mut made = 0;
    for family in families {
        let there = match rules_there(&socket, family) {
            // Its datagrams are not captured, which is told where that is decided.
            Err(error) if is_missing(&error) => continue,
            there => there?,
        };
        for device in devices(&links) {
            made += usize::from(add_route(&socket, family, device)?);
        }
        for rule in RULES.iter().filter(|rule| !there.contains(rule)) {
            match rule.request(&socket, family, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL) {
                Ok(()) => made += 1,
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(made)
}

fn add_route(socket: &OwnedFd, family: Family, device: u32) -> io::Result<bool> {
    match request_route(socket, family, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, device) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        // It went down or away meanwhile, or has no such family: then nothing leaves by it.
        Err(Errno::ENETDOWN | Errno::ENODEV | Errno::EACCES | Errno::EINVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes whatever any snet left; says how many there were.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn remove() -> io::Result<usize> {
    let [v4, v6] = Family::ALL.map(remove_of);
    Ok(v4? + v6?)
}

fn remove_of(family: Family) -> io::Result<usize> {
    let socket = route::open(0)?;
    let there = match rules_there(&socket, family) {
        Err(error) if is_missing(&error) => return Ok(0),
        there => there?,
    };
    let mut removed = 0;
    for rule in RULES.iter().rev() {
        for _ in there.iter().filter(|found| *found == rule) {
            match rule.request(&socket, family, RTM_DELRULE, 0) {
                Ok(()) => removed += 1,
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    // Without a device the kernel takes the first that matches. A listing would be of all tables,
    // and a router may have a million routes.
    for _ in 0..MOST_ROUTES {
        match request_route(&socket, family, RTM_DELROUTE, 0, 0) {
            Ok(()) => removed += 1,
            Err(Errno::ESRCH) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}

/// Of this kind, in the order of [`RULES`]; one that is there twice comes twice.
fn rules_there(socket: &OwnedFd, family: Family) -> io::Result<Vec<RoutingRule>> {
    let mut found = Vec::new();
    route::dump(socket, RTM_GETRULE, number(family), |kind, body| {
        if kind == RTM_NEWRULE {
            found.extend(RoutingRule::read(family, body));
        }
    })?;
    Ok(found)
}

/// Those that can have a route: `lo` too.
fn devices(links: &[NetworkLink]) -> impl Iterator<Item = u32> {
    links.iter().filter(|link| link.is_up()).map(|link| link.index)
}

/// What [`PolicyRoutes`] makes for these rules, as commands in comments; empty if nothing. Asks the
/// kernel nothing, so the devices have no names here.
pub(in crate::firewall) fn render(ruleset: &Ruleset) -> String {
    let families = Family::ALL.into_iter().filter(|family| ruleset.captures_datagrams(*family));
    let of_family = |family: Family| {
        let ip = if family == Family::V4 { "ip" } else { "ip -6" };
        let route = |device: &str, metric: &str| {
            format!("# {ip} route add local default dev {device} table {TABLE} metric {metric}\n")
        };
        let rules = RULES.iter().map(|rule| format!("# {ip} rule add {rule}\n"));
        route("lo", "1") + &route("DEVICE", "INDEX") + &rules.collect::<String>()
    };
    let text: String = families.map(of_family).collect();
    if text.is_empty() {
        return text;
    }
    format!("\n# Marked datagrams are led to the listener (DEVICE: each that is up):\n{text}")
}

/// By the device of this index; 0: by whichever.
fn request_route(
    socket: &OwnedFd,
    family: Family,
    act: u16,
    flags: u16,
    device: u32,
) -> nix::Result<()> {
    let scope = if family == Family::V4 { RT_SCOPE_HOST } else { RT_SCOPE_UNIVERSE };
    let header = [number(family), 0, 0, 0, RT_TABLE_UNSPEC, PROTOCOL, scope, RTN_LOCAL, 0, 0, 0, 0];
    let mut attributes = Attributes::default();
    attributes.bytes(RTA_TABLE, &TABLE.to_ne_bytes());
    if device != 0 {
        attributes.bytes(RTA_OIF, &device.to_ne_bytes());
        // Each has a metric of its own: in IPv4 two with the same are one. That of `lo` is 1
        // (LOOPBACK_IFINDEX), so that a lookup for no device finds it first.
        attributes.bytes(RTA_PRIORITY, &device.to_ne_bytes());
    }
    route::change(socket, act, flags, &[&header, attributes.as_bytes()])
}

/// More than a machine has devices.
const MOST_ROUTES: usize = 65536;

// linux/rtnetlink.h
const RTA_TABLE: u16 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::policy::{Datagrams, Ipv6};
    use crate::firewall::tests::ruleset;

    #[test]
    fn commands_only_where_datagrams_are_captured() {
        let direct = ruleset();
        assert_eq!(render(&direct), "");
        let only_v4 = direct.with(|policy| {
            policy.quic = Datagrams::Proxy;
            policy.ipv6 = Ipv6::Direct;
        });
        let text = render(&only_v4);
        for line in [
            "# ip route add local default dev lo table 1311 metric 1",
            "# ip rule add priority 1310 iif lo fwmark 0x2000000/0x2000000 goto 1312",
            "# ip rule add priority 1311 fwmark 0x2000000/0x2000000 lookup 1311",
            "# ip rule add priority 1313 fwmark 0x4000000/0x4000000 unreachable",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} in {text}");
        }
        assert!(!text.contains("ip -6"), "{text}");
        let both = only_v4.with(|policy| policy.ipv6 = Ipv6::Proxy);
        assert!(render(&both).contains("# ip -6 rule add priority 1312 fwmark"));
        let mut without = both;
        without.environment.datagrams.unrouted.push((Family::V4, "no rules".into()));
        assert!(!render(&without).contains("# ip rule"));
    }

    #[test]
    fn a_kernel_without_policy_routing_is_told_from_other_trouble() {
        assert!(is_missing(&Errno::EOPNOTSUPP.into()) && is_missing(&Errno::EAFNOSUPPORT.into()));
        assert!(!is_missing(&Errno::EPERM.into()) && !is_missing(&io::Error::other("else")));
    }
}
