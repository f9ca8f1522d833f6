//! Who escapes on this machine: snet itself by its mark, and who is left alone. Pure.

use super::matches::marked;
use super::table::{Expression, Rule};
use crate::firewall::ruleset::Ruleset;

/// The chain of the rejects of this machine's packets.
pub(super) const FILTER: &str = "filter";

/// Lets go snet's own packets, and those of whoever is left alone on this machine.
pub(super) fn ours(ruleset: &Ruleset) -> Vec<Rule> {
    let users = ruleset.left_alone.users.iter().map(|user| Expression::User(*user));
    let cgroups = ruleset.left_alone.present();
    let cgroups = cgroups
        .map(|(cgroup, number)| Expression::Cgroup(cgroup.path.clone(), cgroup.level(), number));
    let left_alone = users.chain(cgroups).map(|whose| vec![whose, Expression::Return]);
    std::iter::once(marked(ruleset)).chain(left_alone).collect()
}

/// The chain of the rungs of filter, for this machine's packets and the LAN's. Where somebody is left
/// alone it is one of its own: only a way from OUTPUT may ask for the cgroup of a socket
/// (nft_socket_validate).
pub(super) fn rungs_of(ruleset: &Ruleset) -> &'static str {
    if ruleset.lan.is_some() && !ruleset.left_alone.is_empty() { "rungs" } else { FILTER }
}
