//! What the operator wants of the kernel: read from the configuration, and never changed.

use super::switch::OnFailure;
use crate::exempt_programs::ExemptPrograms;
use crate::family::Family;
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use crate::route::Rules;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// `firewall.ipv6`: what becomes of foreign IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// Redirected like IPv4.
    #[default]
    Proxy,
    /// Connections to foreign destinations are not touched; DNS is, and `rules.block`.
    Direct,
    /// Foreign IPv6 is rejected, and foreign names get no AAAA.
    Block,
}

/// The port of QUIC (RFC 9114, section 3.1, HTTP/3).
pub(super) const QUIC: u16 = 443;

/// What becomes of datagrams to foreign destinations, names aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagrams {
    /// Captured: they go to the UDP listener.
    Proxy,
    /// Not touched.
    Direct,
    /// Rejected by ICMP, so that programs know at once (browsers fall back to TCP).
    Reject,
}

/// What shall be captured, rejected or not touched.
///
/// The order of precedence among destinations is the ladder's ([`super::ladder`]); DNS is looked at
/// before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Packets that carry it pass everywhere.
    pub mark: Fwmark,
    /// Where foreign TCP is redirected to.
    pub tcp_port: u16,
    /// Where DNS is redirected to.
    pub dns_port: u16,
    /// The addresses both ports listen on. A redirect of local packets leads to 127.0.0.1 or ::1
    /// (net/netfilter/nf_nat_redirect.c), so a family is captured only if one of these is that
    /// address or the unspecified one; `::` serves both families.
    pub listeners: Vec<IpAddr>,
    /// The prefixes of all routes; what the resolver learns comes on top of them.
    pub rules: Arc<Rules>,
    /// Programs of this machine that escape everything, DNS too.
    pub exempt: ExemptPrograms,
    /// Router mode: LAN hosts and containers are captured too.
    pub lan: Option<LanPolicy>,
    /// What becomes of foreign IPv6.
    pub ipv6: Ipv6,
    /// What becomes of foreign QUIC (UDP port 443).
    pub quic: Datagrams,
    /// What becomes of foreign UDP to other ports.
    pub udp: Datagrams,
    /// The same where it cannot be captured.
    pub uncapturable_udp: Datagrams,
    /// Where foreign UDP is taken to: this port of 127.0.0.1 and ::1.
    pub udp_port: u16,
    /// What becomes of foreign traffic while no heartbeat keeps the rules active.
    pub on_failure: OnFailure,
    /// What the kernel sends directly is counted ([`super::direct`]).
    pub counts_direct: bool,
}

/// What router mode needs beyond local mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LanPolicy {
    /// `firewall.interfaces`: names and globs (`*`, `?`). Empty: all interfaces but the uplinks.
    pub patterns: Vec<String>,
    /// `rules.direct-sources`: these hosts escape everything, DNS too.
    pub direct_sources: IpSet,
    /// `firewall.offload`: forwarded domestic flows go into a flowtable, where there can be one.
    pub offload: bool,
}

impl Policy {
    /// What becomes of connections to foreign destinations of this family. Whether it has a
    /// listener is not looked at here: without one the backends make no redirect, and it is
    /// rejected while the other family is captured. Nor what can be captured:
    /// [`Ruleset::foreign`](super::Ruleset::foreign).
    pub(super) fn foreign(&self, family: Family) -> Foreign {
        match (family, self.ipv6) {
            (Family::V6, Ipv6::Block) => Foreign::Reject,
            (Family::V6, Ipv6::Direct) => Foreign::Pass,
            _ => Foreign::Redirect { quic: self.quic, udp: self.udp },
        }
    }

    /// Whether foreign datagrams of this family are to be captured, all or some of them. Whether
    /// they can be: [`Ruleset::captures_datagrams`](super::Ruleset::captures_datagrams).
    pub(super) fn proxies_datagrams(&self, family: Family) -> bool {
        match self.foreign(family) {
            Foreign::Redirect { quic, udp } => [quic, udp].contains(&Datagrams::Proxy),
            Foreign::Pass | Foreign::Reject => false,
        }
    }

    /// What becomes of foreign UDP that was to be captured and cannot be, in words.
    pub(super) fn instead_of_capture(&self) -> &'static str {
        match (self.udp, self.uncapturable_udp) {
            (Datagrams::Proxy, Datagrams::Direct) => "goes out directly",
            _ => "is rejected",
        }
    }

    /// Whether a redirect of this family's local packets finds a listener.
    pub(super) fn listens(&self, family: Family) -> bool {
        self.listeners.iter().any(|address| match family {
            _ if *address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
            Family::V4 => {
                [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].map(IpAddr::V4).contains(address)
            }
            Family::V6 => *address == IpAddr::V6(Ipv6Addr::LOCALHOST),
        })
    }

    /// Whether what is redirected to this address finds a listener.
    pub(super) fn listens_on(&self, address: IpAddr) -> bool {
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        self.listeners.iter().any(|listener| {
            *listener == any
                || *listener == address
                || listener.is_unspecified() && address.is_ipv4() && listener.is_ipv4()
        })
    }

    /// Whether this machine's queries to link-local name servers can be captured: a redirect cannot
    /// do it, see [`LINK_LOCAL`](super::ladder::LINK_LOCAL), a translation to the link's own
    /// address can.
    pub(super) fn listens_link_local(&self) -> bool {
        self.listeners.contains(&Ipv6Addr::UNSPECIFIED.into())
    }

    /// Whether our ports can be reached from outside: then hosts that are not LAN side are turned
    /// away. A listener on an address that was written down by hand is meant to be reached, in
    /// local mode.
    pub(super) fn has_input_guard(&self) -> bool {
        self.lan.is_some() || self.listeners.iter().any(IpAddr::is_unspecified)
    }

    /// Whether forwarded domestic flows are to be offloaded. Whether they can be:
    /// [`OffloadLimits`](super::environment::offload::OffloadLimits).
    pub(super) fn offloads(&self) -> bool {
        self.lan.as_ref().is_some_and(|lan| lan.offload)
    }

    /// Why a family is not captured, in words for the operator; `None` if it is.
    pub(super) fn uncaptured(&self, family: Family) -> Option<String> {
        (!self.listens(family)).then(|| {
            format!(
                "{family} is not captured, and foreign destinations in it are rejected: redirected \
                 packets arrive at {}, and no listen.address is that one or unspecified",
                family.loopback()
            )
        })
    }
}

/// What the rules make of foreign connections of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// TCP goes to the redirect port.
    Redirect {
        /// UDP 443.
        quic: Datagrams,
        /// Other UDP.
        udp: Datagrams,
    },
    /// As if snet were not there.
    Pass,
    /// All of it is rejected. Needs no listener.
    Reject,
}
