//! Who escapes: LAN hosts that shall, and on this machine snet itself by its mark, and who is left
//! alone. Pure.

use super::matches::marked;
use super::sets::set_name;
use super::table::{Expression, Is, NftRule};
use crate::family::Family;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets;

/// The chain of the rejects of this machine's packets.
pub(super) const FILTER: &str = "filter";

/// Lets go snet's own packets, and those of whoever is left alone on this machine.
pub(super) fn ours(ruleset: &Ruleset) -> Vec<NftRule> {
    let users = ruleset.policy.exempt.users.iter().map(|user| Expression::User(*user));
    let cgroups = ruleset.environment.present_cgroups();
    let cgroups = cgroups
        .map(|(cgroup, number)| Expression::Cgroup(cgroup.path.clone(), cgroup.level(), number));
    let exempt = users.chain(cgroups).map(|whose| vec![whose, Expression::Return]);
    std::iter::once(marked(ruleset)).chain(exempt).collect()
}

/// The chain of the rungs of filter, for this machine's packets and the LAN's. Where somebody is
/// left alone it is one of its own: only a way from OUTPUT may ask for the cgroup of a socket
/// (nft_socket_validate).
pub(super) fn rungs_of(ruleset: &Ruleset) -> &'static str {
    if ruleset.policy.lan.is_some() && !ruleset.policy.exempt.is_empty() { "rungs" } else { FILTER }
}

/// Lets go what is none of the LAN side's, and the hosts that shall be left alone.
pub(super) fn of_the_lan(family: Family) -> [NftRule; 2] {
    let [lan, sources] = [sets::Set::Lan, sets::Set::Sources].map(|set| set_name(set, family));
    [
        vec![Expression::FromInterfaceIn(Is::NotIn, lan), Expression::Return],
        vec![Expression::FromSet(family, sources), Expression::Return],
    ]
}
