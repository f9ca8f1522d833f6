//! The [`Ruleset`]: what shall be captured, rejected or left alone, as a value.

use super::environment::lan::Lan;
use super::exempt_programs::LeftAlone;
use super::family::Family;
use super::switch::OnFailure;
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// `firewall.ipv6`: what becomes of foreign IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// Redirected like IPv4.
    #[default]
    Proxy,
    /// Left alone.
    Direct,
    /// Foreign IPv6 is rejected, and foreign names get no AAAA.
    Block,
}

/// `firewall.quic`: what becomes of UDP 443 to foreign destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quic {
    /// Rejected by ICMP, so that browsers fall back to TCP at once.
    #[default]
    Reject,
    /// Left alone.
    Direct,
}

/// Everything the kernel is told, and all that the rules depend on.
///
/// The order of precedence among the sets: this machine and [`connected`](Self::connected), then
/// as in [`crate::route`]: `block`, `proxy`, `direct` and `servers`, what the resolver learned,
/// `reserved` and `china`, the rest, which is foreign. DNS is looked at before all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
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
    /// `rules.block`: refused.
    pub block: IpSet,
    /// `rules.proxy`: redirected, also where it names a reserved prefix.
    pub proxy: IpSet,
    /// `rules.direct`: left alone, DNS too.
    pub direct: IpSet,
    /// The upstream servers known so far; [`Handle::exempt`](super::Handle::exempt) adds to them.
    pub servers: Vec<IpAddr>,
    /// Never left the local networks, see [`crate::ipset::reserved`].
    pub reserved: IpSet,
    /// Domestic addresses; empty with `scope = "global"`.
    pub china: Arc<IpSet>,
    /// The prefixes on the links of this machine; [`look_around`](Self::look_around) fills them in,
    /// and the [`Handle`](super::Handle) follows them. They are never captured, whatever the other
    /// sets say.
    pub connected: IpSet,
    /// The links whose own link-local address is listened on, and that address;
    /// [`look_around`](Self::look_around) fills them in, and the [`Handle`](super::Handle) follows
    /// them. What this machine asks a name server of that link by its link-local address leads here.
    pub link_local: Vec<(String, Ipv6Addr)>,
    /// Programs of this machine that escape everything, DNS too.
    pub left_alone: LeftAlone,
    /// Router mode: LAN hosts and containers are captured too.
    pub lan: Option<Lan>,
    /// What becomes of foreign IPv6.
    pub ipv6: Ipv6,
    /// What becomes of foreign QUIC.
    pub quic: Quic,
    /// What becomes of foreign traffic while nobody keeps the rules active.
    pub on_failure: OnFailure,
}

impl Ruleset {
    /// What becomes of connections to foreign destinations of this family. Where nobody listens in it
    /// there is no redirect, and it is rejected while the other family is captured.
    pub(super) fn foreign(&self, family: Family) -> Foreign {
        match (family, self.ipv6) {
            (Family::V6, Ipv6::Block) => Foreign::Reject,
            (Family::V6, Ipv6::Direct) => Foreign::Pass,
            _ => Foreign::Redirect { reject_quic: self.quic == Quic::Reject },
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

    /// Whether this machine's queries to link-local name servers can be captured: a redirect cannot
    /// do it, see [`super::ladder::LINK_LOCAL`], a translation to the link's own address can.
    pub(super) fn listens_link_local(&self) -> bool {
        self.listeners.contains(&Ipv6Addr::UNSPECIFIED.into())
    }

    /// Whether our ports can be reached from outside: then strangers are turned away. A listener on an
    /// address that somebody wrote down by hand is meant to be reached, in local mode.
    pub(super) fn has_door(&self) -> bool {
        self.lan.is_some() || self.listeners.iter().any(IpAddr::is_unspecified)
    }

    /// Further addresses of upstream servers.
    pub(super) fn know_servers(&mut self, servers: &[IpAddr]) {
        let new = servers.iter().filter(|server| !self.servers.contains(server));
        let new: Vec<IpAddr> = new.copied().collect();
        self.servers.extend(new);
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
        /// UDP 443 is rejected.
        reject_quic: bool,
    },
    /// As if snet were not there.
    Pass,
    /// All of it is rejected. Needs no listener.
    Reject,
}
