//! The matches of iptables that several tables ask. Pure.

use crate::family::Family;
use crate::firewall::ladder::Destination;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::Set;
use crate::probe;

/// The match, with a space behind it if there is one.
pub(super) fn to(destination: Destination, family: Family) -> String {
    match (destination, family) {
        (Destination::Local, Family::V4) => "-m addrtype --dst-type LOCAL,BROADCAST ".into(),
        (Destination::Local, Family::V6) => "-m addrtype --dst-type LOCAL ".into(),
        (Destination::Multicast, _) => "-m addrtype --dst-type MULTICAST ".into(),
        (Destination::In(set), _) => in_set(set, family),
        (Destination::Anywhere, _) => String::new(),
    }
}

/// The matches of a DNS query that is ours to answer, UDP and TCP.
pub(super) fn queries(family: Family) -> impl Iterator<Item = String> {
    let exempt = Set::Direct.name(family);
    ["-p udp --dport 53", "-p tcp --dport 53 --syn"]
        .into_iter()
        .map(move |query| format!("{query} -m set ! --match-set {exempt} dst"))
}

/// The dead man's switch: nothing is redirected unless the daemon has just renewed this set, see
/// [`Installed::beat`](crate::firewall::Installed::beat).
pub(super) fn inactive(family: Family) -> String {
    format!("-m set ! --match-set {} dst -j RETURN", Set::Alive.name(family))
}

/// The match of the daemon's proof, see [`probe`].
pub(super) fn to_probe(family: Family) -> String {
    format!("-d {} ", probe::prefix(family))
}

/// Lets go what shall be left alone on this machine.
pub(super) fn exempt(ruleset: &Ruleset) -> impl Iterator<Item = String> {
    let users = ruleset.policy.exempt.users.iter();
    let users = users.map(|user| format!("-m owner --uid-owner {user} -j RETURN"));
    let cgroups = ruleset.environment.present_cgroups();
    users.chain(cgroups.map(|(cgroup, _)| format!("-m cgroup --path {} -j RETURN", cgroup.path)))
}

pub(super) fn marked(ruleset: &Ruleset) -> String {
    format!("-m mark --mark {} -j RETURN", ruleset.policy.mark)
}

pub(super) fn in_set(set: Set, family: Family) -> String {
    format!("-m set --match-set {} dst ", set.name(family))
}

pub(super) fn loopback(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1/128",
    }
}
