//! UDP flows that are older than the rules: a VPN, a call or a game that began before anything was
//! captured goes on as it was, since its server knows this machine by the address and the port of
//! its first datagram.
//!
//! The backends learn such flows from their packets while nothing is captured. A flow that is
//! silent just then is told by conntrack, which keeps it for two minutes after its last datagram
//! (nf_conntrack_udp_timeout_stream). Captured datagrams are not tracked, so none of those is among
//! them.
//!
//! So does one that began outside, with a server here or behind a forwarded port: its way back is a
//! flow to a foreign destination like any other. What begins outside later is noted by the packets
//! as well.

use super::flow::Flow;
use super::netlink::flows;
use super::policy::{Datagrams, Foreign, QUIC};
use super::ruleset::Ruleset;
use super::switch::OnFailure;
use crate::family::Family;
use crate::probe::DNS_PORT;
use crate::route::{Learned, Route};
use crate::target::Target;
use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};
use tracing::debug;

/// More flows are not exempt: so many has a household in its busiest hour, and a set has room for.
const MOST: usize = 65536;

/// So long a flow that talks may rest, and is still learned from its packets.
const LEARNING: Duration = Duration::from_millis(250);

/// Entries that conntrack has in this network namespace. Before a first rule of any program needs
/// it, it has none (nf_conntrack_netns_get, Linux 4.10).
const TRACKED: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// How long these rules, which are about to be installed, have to learn from packets before they
/// capture: not at all where conntrack can tell of older flows already. To be asked before they
/// are there, since they make the kernel track connections themselves.
pub(super) fn learning(ruleset: &Ruleset) -> Duration {
    let tracked = fs::read_to_string(TRACKED).unwrap_or_default();
    let learns = ruleset.policy.on_failure == OnFailure::Open
        && Family::ALL.iter().any(|family| ruleset.captures_datagrams(*family));
    match learns && tracked.trim().parse().unwrap_or(0) == 0 {
        true => LEARNING,
        false => Duration::ZERO,
    }
}

/// The flows that are there now and that these rules would capture.
pub(super) fn older(ruleset: &Ruleset) -> Vec<Flow> {
    let mut found = HashSet::new();
    for family in Family::ALL.into_iter().filter(|family| ruleset.captures_datagrams(*family)) {
        let told = flows::of(family, |flow| {
            if would_be_captured(ruleset, family, &flow) {
                found.insert(flow);
            }
            found.len() < MOST
        });
        if let Err(error) = told {
            // Without the module nf_conntrack_netlink, for instance: those that are not silent are
            // learned from their packets.
            debug!("conntrack tells nothing of {family} flows: {error}");
        }
    }
    debug!("{} UDP flows are older than the rules", found.len());
    found.into_iter().collect()
}

/// The flows that other rules would capture although they are direct now, as a list was changed or
/// `firewall.udp` was: those of the families that are captured already, so that they can be exempt
/// before the change, and those of the others, whose rules only come with it.
pub(super) fn at_reload(old: &Ruleset, new: &Ruleset) -> (Vec<Flow>, Vec<Flow>) {
    let is_known = |flow: &Flow| old.captures_datagrams(Family::of(flow.source.ip()));
    older(new).into_iter().partition(is_known)
}

/// As the ladder says, but for what is learned later.
fn would_be_captured(ruleset: &Ruleset, family: Family, flow: &Flow) -> bool {
    let Ruleset { policy, environment } = ruleset;
    let Foreign::Redirect { quic, udp } = policy.foreign(family) else { return false };
    let (address, port) = (flow.destination.ip(), flow.destination.port());
    let wanted = if port == QUIC { quic } else { udp };
    let is_passed = environment.connected.contains(address)
        || environment.servers.contains(&address)
        || address.is_multicast();
    let decision =
        policy.rules.route(&Target::addr(flow.destination), &Learned::default(), Instant::now());
    wanted == Datagrams::Proxy && port != DNS_PORT && !is_passed && decision.route == Route::Proxy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::ruleset;

    #[test]
    fn only_what_would_be_captured_is_exempt() {
        let ruleset = ruleset().with(|policy| policy.udp = Datagrams::Proxy);
        for (destination, expected, why) in [
            ("198.51.100.1:3478", true, "foreign"),
            ("[2001:db8:f::1]:3478", true, "foreign"),
            ("203.0.113.33:9", true, "rules.proxy"),
            ("198.51.100.1:443", false, "QUIC is rejected"),
            ("198.51.100.1:53", false, "a query"),
            ("203.0.113.1:3478", false, "China"),
            ("192.168.1.9:3478", false, "reserved"),
            ("198.51.100.33:3478", false, "rules.direct"),
            ("198.51.100.65:3478", false, "rules.block"),
            ("198.51.100.80:3478", false, "a proxy server"),
            ("192.0.2.9:3478", false, "on the link"),
            ("239.1.1.1:3478", false, "multicast"),
        ] {
            let destination = destination.parse().unwrap();
            let source = "192.0.2.2:4000".parse().unwrap();
            let flow = Flow { source, destination };
            let family = Family::of(flow.destination.ip());
            assert_eq!(would_be_captured(&ruleset, family, &flow), expected, "{why}");
        }
    }
}
