//! What keeps UDP from being captured here, although the policy wants it.

use crate::firewall::family::Family;
use crate::firewall::policy::Policy;
use crate::firewall::policy_routes;

/// As it is observed; empty where nothing is in the way, or no UDP is to be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramLimits {
    /// The families that the kernel cannot lead to a listener, and why, in words for the operator.
    pub(crate) unrouted: Vec<(Family, String)>,
}

impl DatagramLimits {
    /// All of it, one line each.
    pub(in crate::firewall) fn told(&self) -> impl Iterator<Item = String> {
        self.unrouted.iter().map(|(_, why)| why.clone())
    }

    /// Looks what this policy finds here.
    pub(super) fn observe(&mut self, policy: &Policy) {
        let wanted = Family::ALL.into_iter().filter(|family| policy.proxies_datagrams(*family));
        self.unrouted = wanted
            .filter_map(|family| Some((family, policy_routes::unsupported(family)?)))
            .collect();
    }
}
