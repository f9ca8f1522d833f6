//! Our part of one table of iptables, as a value: its chains and the jumps that lead to them.

use crate::family::Family;
use crate::firewall::direct::DirectReason;
use crate::firewall::names::CHAIN;
use crate::mark::Fwmark;

pub(super) const TCP: &str = "SNET-TCP";
pub(super) const REJECT: &str = "SNET-REJECT";
pub(super) const FOREIGN: &str = "SNET-FOREIGN";
/// The ladder of the rejects.
pub(super) const FILTER: &str = "SNET-FILTER";
/// What filter does while the family is not captured, as [`OnFailure`] says.
pub(super) const INACTIVE: &str = "SNET-INACTIVE";
/// By its name a closed network is recognised, whoever left it.
pub(in crate::firewall) const CLOSED: &str = "SNET-CLOSED";
/// What programs complain of answers that came too late.
pub(super) const STRAY: &str = "SNET-STRAY";
/// Where the daemon's proof goes.
pub(super) const PROBE: &str = "SNET-PROBE";
/// Of an earlier version.
pub(super) const QUIC: &str = "SNET-QUIC";
pub(super) const LAN: &str = "SNET-LAN";
/// What filter asks of this machine's packets and of the LAN's, where somebody is left alone: only
/// a chain that OUTPUT alone leads to may look at the owner of a socket (xt_owner.c, `.hooks`).
pub(super) const RUNGS: &str = "SNET-RUNGS";
pub(super) const LAN_DNS: &str = "SNET-LAN-DNS";
pub(super) const LINK: &str = "SNET-LINK";
/// Foreign UDP of this machine, and of LAN hosts, in raw.
pub(super) const UDP: &str = "SNET-UDP";
pub(super) const LAN_UDP: &str = "SNET-LAN-UDP";
/// The ladder of UDP.
pub(super) const DATAGRAMS: &str = "SNET-DATAGRAMS";
/// What becomes of UDP that is to be captured, as the switch says.
pub(super) const TAKE: &str = "SNET-TAKE";
/// Remembers a flow that begins while nothing is captured.
pub(super) const LEARN: &str = "SNET-LEARN";
pub(super) const CAPTURE: &str = "SNET-CAPTURE";
/// Where captured UDP meets the listener, in mangle.
pub(super) const TPROXY: &str = "SNET-TPROXY";
/// Foreign UDP that begins outside and comes in here, in nat.
pub(super) const INBOUND: &str = "SNET-INBOUND";
/// The same where it is forwarded to a LAN host.
pub(super) const FORWARDED: &str = "SNET-FORWARDED";
/// Remembers a flow that began outside.
pub(super) const OUTSIDE: &str = "SNET-OUTSIDE";
/// Lets captured UDP and its replies out, in filter.
pub(super) const OUTPUT: &str = "SNET-OUTPUT";
/// Where it is tried what the kernel can; no jump leads to it.
pub(super) const TRIAL: &str = "SNET-TRIAL";
/// Counts what the kernel sends directly, in mangle: the gate, and the two directions.
pub(super) const TALLY: &str = "SNET-TALLY";
pub(super) const UP: &str = "SNET-UP";
pub(super) const DOWN: &str = "SNET-DOWN";
/// What labels a connection with the reason for which it goes directly, in filter.
pub(super) const LABEL: [&str; DirectReason::ALL.len()] = [
    "SNET-LABEL-DOMESTIC",
    "SNET-LABEL-RULE",
    "SNET-LABEL-NAME",
    "SNET-LABEL-PRIVATE",
    "SNET-LABEL-FOREIGN",
];
/// The guard at our ports, in filter.
pub(in crate::firewall) const INPUT: &str = "SNET-INPUT";

/// The tables we have a part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Part {
    Raw,
    Mangle,
    Filter,
    Nat,
}

impl Part {
    pub(in crate::firewall) const ALL: [Part; 4] =
        [Part::Raw, Part::Mangle, Part::Filter, Part::Nat];

    pub(in crate::firewall) fn table(self) -> &'static str {
        match self {
            Part::Raw => "raw",
            Part::Mangle => "mangle",
            Part::Filter => "filter",
            Part::Nat => "nat",
        }
    }

    /// The rules that may lead to us, each as it stands behind `-I`. iptables-save prints them word
    /// by word.
    pub(in crate::firewall) fn jumps(self, is_router: bool) -> Vec<String> {
        let rejected = "-m conntrack --ctstate NEW --ctdir ORIGINAL";
        let (own, lan) = match self {
            Part::Raw => {
                (format!("OUTPUT -p udp -j {CHAIN}"), vec![format!("PREROUTING -p udp -j {LAN}")])
            }
            // It has those of captured UDP only.
            Part::Mangle => return Vec::new(),
            Part::Filter => (
                format!("OUTPUT {rejected} -j {CHAIN}"),
                vec![format!("FORWARD {rejected} -j {LAN}"), format!("INPUT ! -i lo -j {INPUT}")],
            ),
            Part::Nat => (format!("OUTPUT -j {CHAIN}"), vec![format!("PREROUTING -j {LAN}")]),
        };
        std::iter::once(own).chain(lan.into_iter().filter(|_| is_router)).collect()
    }

    /// The further ones where UDP is captured.
    pub(in crate::firewall) fn datagram_jumps(self, is_router: bool) -> Vec<String> {
        let lan = format!("-p udp -m mark --mark {}", Fwmark::LAN_DATAGRAMS);
        match self {
            Part::Raw => Vec::new(),
            Part::Nat => {
                let own = format!("INPUT ! -i lo -p udp -j {INBOUND}");
                let lan = format!("POSTROUTING -p udp -j {FORWARDED}");
                std::iter::once(own).chain(is_router.then_some(lan)).collect()
            }
            Part::Mangle => vec![
                format!("OUTPUT {lan} -j {CHAIN}"),
                format!("PREROUTING -p udp -j {TPROXY}"),
                format!("POSTROUTING ! -o lo -p udp -j {STRAY}"),
            ],
            Part::Filter => {
                let own = format!("OUTPUT -p udp -m conntrack --ctstate UNTRACKED -j {OUTPUT}");
                let lan = format!("FORWARD {lan} -j {STRAY}");
                std::iter::once(own).chain(is_router.then_some(lan)).collect()
            }
        }
    }

    /// The rules in mangle that lead to [`TALLY`].
    pub(in crate::firewall) fn tally_jumps() -> [String; 2] {
        ["INPUT", "POSTROUTING"].map(|chain| format!("{chain} -j {TALLY}"))
    }

    /// The rules in filter that lead to [`STRAY`], in OUTPUT and FORWARD.
    ///
    /// A program whose socket is gone when the answer to its query comes has its kernel complain to
    /// the server that it asked. Conntrack knows nothing of it, since captured queries are in a
    /// zone of their own: the complaint would leave for the foreign server, with the answer quoted
    /// in it, and that of a LAN host untranslated (seen).
    ///
    /// Of captured UDP conntrack knows nothing at all, and a host's firewall complains with other
    /// codes too: `is_any` is for all of them.
    pub(in crate::firewall) fn stray_jumps(family: Family, is_any: bool) -> [String; 2] {
        let complaint = match (family, is_any) {
            (Family::V4, false) => "-p icmp -m icmp --icmp-type 3/3",
            (Family::V4, true) => "-p icmp -m icmp --icmp-type 3",
            (Family::V6, false) => "-p ipv6-icmp -m icmp6 --icmpv6-type 1/4",
            (Family::V6, true) => "-p ipv6-icmp -m icmp6 --icmpv6-type 1",
        };
        ["OUTPUT", "FORWARD"]
            .map(|chain| format!("{chain} {complaint} -m conntrack --ctstate INVALID -j {STRAY}"))
    }

    /// The chains there may be.
    pub(in crate::firewall) fn chains(self) -> &'static [&'static str] {
        match self {
            Part::Raw => &[CHAIN, UDP, DATAGRAMS, TAKE, LEARN, CAPTURE, LAN, LAN_UDP, TRIAL],
            Part::Mangle => &[CHAIN, TPROXY, STRAY, TALLY, UP, DOWN, TRIAL],
            Part::Filter => &[
                CHAIN, RUNGS, INACTIVE, CLOSED, FILTER, FOREIGN, REJECT, QUIC, STRAY, LAN, INPUT,
                OUTPUT, LABEL[0], LABEL[1], LABEL[2], LABEL[3], LABEL[4],
            ],
            Part::Nat => &[CHAIN, PROBE, TCP, LINK, LAN, LAN_DNS, INBOUND, FORWARDED, OUTSIDE],
        }
    }
}

/// Our part of one table.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::firewall) struct IptablesTable {
    pub(in crate::firewall) part: Part,
    /// The rules that lead to us, each as it stands behind `-I`.
    pub(in crate::firewall) jumps: Vec<String>,
    pub(in crate::firewall) chains: Vec<IptablesChain>,
}

/// A chain of ours with its rules, each as it stands behind `-A CHAIN`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::firewall) struct IptablesChain {
    pub(in crate::firewall) name: &'static str,
    pub(in crate::firewall) rules: Vec<String>,
}
