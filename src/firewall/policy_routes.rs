//! Captured UDP: the rules and routes that lead marked datagrams to the listener on this machine.
//!
//! # Theory of operation
//!
//! A captured datagram of this machine is marked in OUTPUT and routed anew: table 1311 takes it to
//! `lo`, and so to PREROUTING, where TPROXY finds the listener. One of a LAN host gets its mark with
//! TPROXY, and the same table takes it in. So the table has one kind of route, `local default`.
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
//! *A route for each device.* A socket that is bound to a device (SO_BINDTODEVICE) has its datagrams
//! routed anew by that device: the route of `lo` does not match, and they left directly (seen).
//! Between the coming of a device and its route rule 1313 keeps them from that. LAN hosts need no
//! such rule: what TPROXY has taken is never forwarded (ip_forward drops what has a socket).
//!
//! *The priorities* stand before those that take everything elsewhere: mwan3's 2001 and more,
//! Tailscale's 5210 to 5270, wg-quick's 32764.
//!
//! Alone they are harmless: only rules of the firewall give the marks. They are known by their
//! protocol number, priority and mark, so that a start adopts them and a cleanup needs no memory.
//!
//! Source: ip-rule(8), linux/fib_rules.h, net/core/fib_rules.c, net/ipv4/fib_frontend.c.

use super::error::Error;
use super::family::Family;
use super::netlink::route;
use super::netlink::route::{RTA_OIF, RTM_DELROUTE, RTM_NEWROUTE, number};
use super::netlink::{Attributes, NLM_F_CREATE, NLM_F_EXCL, attributes, u32_at};
use super::network::NetworkLink;
use super::policy::Policy;
use super::ruleset::Ruleset;
use crate::mark::Fwmark;
use nix::errno::Errno;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tracing::warn;

/// The rules and routes while a policy captures UDP. Their drop removes them.
#[derive(Debug)]
pub(super) struct PolicyRoutes(());

impl PolicyRoutes {
    /// Makes what this policy needs; to be called before the firewall's rules are there, since
    /// without it a marked datagram leaves directly.
    ///
    /// # Errors
    /// What the kernel says; then nothing is left.
    pub(super) fn put(policy: &Policy) -> Result<Self, Error> {
        let routes = PolicyRoutes(());
        routes.precede(policy)?;
        Ok(routes)
    }

    /// To be called before other rules of the firewall.
    ///
    /// # Errors
    /// What the kernel says.
    #[expect(clippy::unused_self, reason = "only where they are removed at the end")]
    pub(super) fn precede(&self, policy: &Policy) -> Result<(), Error> {
        add(policy).map(drop).map_err(|source| Error::PolicyRoutes { source })
    }

    /// To be called when other rules of the firewall are in force: what they do not need goes.
    #[expect(clippy::unused_self, reason = "only where they are removed at the end")]
    pub(super) fn succeed(&self, policy: &Policy) {
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

/// Keeps them as the devices come and go, and when another program removes them.
#[derive(Debug)]
pub(super) struct PolicyRouteFollower {
    /// What was said of the last attempt.
    told: Option<String>,
    /// How many attempts of this while made something, and since when it counts.
    puts: (u32, Instant),
}

impl Default for PolicyRouteFollower {
    fn default() -> Self {
        PolicyRouteFollower { told: None, puts: (0, Instant::now()) }
    }
}

impl PolicyRouteFollower {
    /// To be called every few seconds.
    pub(super) fn update(&mut self, policy: &Policy) {
        let result = add(policy);
        if result.as_ref().is_ok_and(|made| *made > 0) {
            self.puts.0 += 1;
        }
        let failure = result.err().map(|error| error.to_string());
        if let Some(error) = &failure
            && self.told != failure
        {
            warn!("the policy routes of captured UDP are not kept: {error}; it is tried again");
        }
        self.told = failure;
    }

    /// To be called after every change of the network. Another program that takes them away
    /// whenever they come is not outrun: then it is for [`update`](Self::update).
    pub(super) fn update_at_once(&mut self, policy: &Policy) {
        let (puts, since) = self.puts;
        if since.elapsed() >= WHILE {
            self.puts = (0, Instant::now());
        } else if puts >= MOST_PUTS {
            return;
        }
        self.update(policy);
    }
}

/// Why UDP of this family cannot be led to a listener on this kernel, in words for the operator.
pub(super) fn unsupported(family: Family) -> Option<String> {
    let asked = route::open(0).and_then(|socket| rules_there(&socket, family));
    let error = asked.err()?;
    is_missing(&error).then(|| {
        format!(
            "foreign {family} UDP cannot be captured, and is rejected: this kernel has no policy \
             routing for it (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES), or no {family} \
             ({error}); firewall.udp = \"direct\" leaves it alone"
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
pub(super) fn remove() -> io::Result<usize> {
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

/// What becomes of a datagram with a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Lookup,
    /// The rule of this priority, and those behind it.
    Goto(u32),
    Unreachable,
}

/// A rule of policy routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RoutingRule {
    priority: u32,
    mark: Fwmark,
    /// Only for packets of this machine.
    is_local: bool,
    action: Action,
}

/// In the order in which they are made; they are removed the other way round. So a datagram never
/// meets a table without the rule that says what else becomes of it.
const RULES: [RoutingRule; 4] = {
    let own = Fwmark::OWN_DATAGRAMS;
    let lan = Fwmark::LAN_DATAGRAMS;
    let lookup = RoutingRule { priority: 1312, mark: own, is_local: false, action: Action::Lookup };
    [
        RoutingRule { priority: 1313, action: Action::Unreachable, ..lookup },
        lookup,
        RoutingRule { priority: 1310, mark: lan, is_local: true, action: Action::Goto(1312) },
        RoutingRule { priority: 1311, mark: lan, ..lookup },
    ]
};

impl RoutingRule {
    fn request(&self, socket: &OwnedFd, family: Family, act: u16, flags: u16) -> nix::Result<()> {
        let (header, attributes) = self.encode(family);
        route::change(socket, act, flags, &[&header, attributes.as_bytes()])
    }

    /// struct fib_rule_hdr, and the attributes.
    fn encode(&self, family: Family) -> ([u8; FIB_RULE_HDR], Attributes) {
        let action = match self.action {
            Action::Lookup => FR_ACT_TO_TBL,
            Action::Goto(_) => FR_ACT_GOTO,
            Action::Unreachable => FR_ACT_UNREACHABLE,
        };
        let header = [number(family), 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, action, 0, 0, 0, 0];
        let mut attributes = Attributes::default();
        attributes.bytes(FRA_PRIORITY, &self.priority.to_ne_bytes());
        attributes.bytes(FRA_FWMARK, &self.mark.value().to_ne_bytes());
        attributes.bytes(FRA_FWMASK, &self.mark.mask().to_ne_bytes());
        // A kernel before 4.17 does not know it.
        attributes.bytes(FRA_PROTOCOL, &[PROTOCOL]);
        if self.is_local {
            attributes.text(FRA_IIFNAME, "lo");
        }
        match self.action {
            Action::Lookup => attributes.bytes(FRA_TABLE, &TABLE.to_ne_bytes()),
            Action::Goto(target) => attributes.bytes(FRA_GOTO, &target.to_ne_bytes()),
            Action::Unreachable => {}
        }
        (header, attributes)
    }

    /// The one of [`RULES`] that the kernel shows here.
    fn read(family: Family, body: &[u8]) -> Option<Self> {
        let [own_family, .., action, _, _, _, _] = *body.first_chunk::<FIB_RULE_HDR>()?;
        let (mut priority, mut table, mut target) = (None, None, None);
        let (mut mark, mut mask, mut is_local, mut protocol) = (None, None, false, PROTOCOL);
        for (kind, value) in attributes(body.get(FIB_RULE_HDR..)?) {
            match kind {
                FRA_PRIORITY => priority = u32_at(value, 0),
                FRA_FWMARK => mark = u32_at(value, 0),
                FRA_FWMASK => mask = u32_at(value, 0),
                FRA_TABLE => table = u32_at(value, 0),
                FRA_GOTO => target = u32_at(value, 0),
                FRA_PROTOCOL => protocol = *value.first()?,
                FRA_IIFNAME => is_local = value == b"lo\0",
                _ => {}
            }
        }
        let is_same = |rule: &RoutingRule| {
            let acts = match rule.action {
                Action::Lookup => action == FR_ACT_TO_TBL && table == Some(TABLE),
                Action::Goto(wanted) => action == FR_ACT_GOTO && target == Some(wanted),
                Action::Unreachable => action == FR_ACT_UNREACHABLE,
            };
            let marks = (Some(rule.mark.value()), Some(rule.mark.mask())) == (mark, mask);
            acts && marks && (Some(rule.priority), rule.is_local) == (priority, is_local)
        };
        let is_ours = (own_family, protocol) == (number(family), PROTOCOL);
        RULES.into_iter().find(|rule| is_ours && is_same(rule))
    }
}

/// As ip-rule(8) takes it.
impl fmt::Display for RoutingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.is_local { "iif lo " } else { "" };
        write!(f, "priority {} {from}fwmark {} ", self.priority, self.mark)?;
        match self.action {
            Action::Lookup => write!(f, "lookup {TABLE}"),
            Action::Goto(target) => write!(f, "goto {target}"),
            Action::Unreachable => f.write_str("unreachable"),
        }
    }
}

/// What [`PolicyRoutes`] makes for these rules, as commands in comments; empty if nothing. Asks the
/// kernel nothing, so the devices have no names here.
pub(super) fn render(ruleset: &Ruleset) -> String {
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

/// The table. Its number, like the priorities, is snet's port.
const TABLE: u32 = 1311;

/// So many attempts within [`WHILE`] are made as soon as something changes.
const MOST_PUTS: u32 = 100;
const WHILE: Duration = Duration::from_secs(10);

/// More than a machine has devices.
const MOST_ROUTES: usize = 65536;

/// Who made a rule or a route (FRA_PROTOCOL, rtm_protocol), as in `device_routes`.
const PROTOCOL: u8 = 0x53;

// linux/rtnetlink.h
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
const RT_TABLE_UNSPEC: u8 = 0;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;

// linux/fib_rules.h
const FIB_RULE_HDR: usize = 12;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_UNREACHABLE: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::policy::{Datagrams, Ipv6};
    use crate::firewall::tests::ruleset;

    #[test]
    fn a_rule_that_was_written_is_ours_and_no_other_is() {
        for family in Family::ALL {
            for rule in RULES {
                let (header, attributes) = rule.encode(family);
                let message = [&header[..], attributes.as_bytes()].concat();
                assert_eq!(RoutingRule::read(family, &message), Some(rule));
                let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
                assert_eq!(RoutingRule::read(other, &message), None);
                for length in 0..message.len() {
                    // No panic, and nothing else is taken for it.
                    let cut = RoutingRule::read(family, &message[..length]);
                    assert!(cut.is_none_or(|found| found == rule));
                }
                let theirs = RoutingRule { priority: rule.priority + 100, ..rule };
                let (header, attributes) = theirs.encode(family);
                let message = [&header[..], attributes.as_bytes()].concat();
                assert_eq!(RoutingRule::read(family, &message), None);
            }
        }
    }

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
