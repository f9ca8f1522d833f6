//! From what rounds have found to the switches of both families. Pure.

use crate::daemon::proof::Finding;
use crate::firewall::Switch;

/// A family that was captured is given up after so many rounds that failed in a row.
const STRIKES: u32 = 2;

/// What the operator wants of families that are not captured.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::daemon) struct LossPolicy {
    /// `firewall.on-failure = "closed"`
    pub(in crate::daemon) is_closed: bool,
    /// `firewall.ipv6 = "block"`: foreign IPv6 is rejected as long as the daemon lives.
    pub(in crate::daemon) blocks_ipv6: bool,
}

/// What a family has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyState {
    Captured,
    /// Nothing to capture.
    NoRoute,
    /// The proof cannot be sent; it is taken for captured.
    Unprovable,
    /// Not yet given up.
    Doubtful,
    /// Nothing listens, or the tools have no such family.
    NotRedirected,
    Broken,
}

/// From rounds to switches. Pure.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) policy: LossPolicy,
    strikes: [u32; 2],
    was_captured: [bool; 2],
    is_rejected: [bool; 2],
}

impl Judge {
    pub(super) fn new(policy: LossPolicy) -> Self {
        Judge { policy, ..Judge::default() }
    }

    /// `None`: the family is not redirected. `serves`: a listener of the daemon answers.
    pub(super) fn judge(
        &mut self,
        found: [Option<&Finding>; 2],
        serves: bool,
    ) -> ([FamilyState; 2], [Switch; 2]) {
        let states = [0, 1].map(|place| self.state(place, found[place]));
        let switches = [0, 1].map(|place| {
            let switch = self.switch(place, states[place], states[1 - place], serves);
            self.is_rejected[place] = matches!(switch, Switch::Reject | Switch::KeepThenReject);
            switch
        });
        (states, switches)
    }

    fn state(&mut self, place: usize, found: Option<&Finding>) -> FamilyState {
        let Some(found) = found else { return FamilyState::NotRedirected };
        if let Finding::Broken(_) = found {
            self.strikes[place] += 1;
            if self.was_captured[place] && self.strikes[place] < STRIKES {
                return FamilyState::Doubtful;
            }
            self.was_captured[place] = false;
            return FamilyState::Broken;
        }
        self.strikes[place] = 0;
        match found {
            Finding::Captured => {
                self.was_captured[place] = true;
                FamilyState::Captured
            }
            Finding::Unprovable(_) => FamilyState::Unprovable,
            Finding::NoRoute | Finding::Broken(_) => FamilyState::NoRoute,
        }
    }

    /// A family that is not captured is rejected while the other one is, and stays so while that
    /// one merely has no route: a lease that is renewed must not open the other side. One that
    /// was never captured beside it is not rejected, since programs would have nowhere to go.
    fn switch(&self, place: usize, own: FamilyState, other: FamilyState, serves: bool) -> Switch {
        let is_blocked = self.policy.blocks_ipv6 && place == 1 && serves;
        let rejects = match other {
            FamilyState::Captured | FamilyState::Unprovable | FamilyState::Doubtful => true,
            FamilyState::NoRoute => self.is_rejected[place],
            FamilyState::NotRedirected | FamilyState::Broken => false,
        };
        match own {
            FamilyState::Captured | FamilyState::NoRoute | FamilyState::Unprovable => {
                Switch::Capture
            }
            FamilyState::Doubtful if rejects || is_blocked => Switch::KeepThenReject,
            FamilyState::Doubtful => Switch::Keep,
            FamilyState::NotRedirected | FamilyState::Broken if rejects || is_blocked => {
                Switch::Reject
            }
            FamilyState::NotRedirected | FamilyState::Broken => Switch::Off,
        }
    }
}

#[cfg(test)]
mod tests;
