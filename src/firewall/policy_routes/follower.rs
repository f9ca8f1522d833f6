//! Keeps the policy routes while the rules are installed.

use super::add;
use crate::firewall::policy::Policy;
use crate::warnings::Complaint;
use std::time::{Duration, Instant};

/// Puts them back as the devices come and go, and when another program removes them.
#[derive(Debug)]
pub(in crate::firewall) struct PolicyRouteFollower {
    /// What was said of the last attempt.
    told: Complaint,
    /// How many attempts of this while made something, and since when it counts.
    puts: (u32, Instant),
}

impl Default for PolicyRouteFollower {
    fn default() -> Self {
        PolicyRouteFollower { told: Complaint::default(), puts: (0, Instant::now()) }
    }
}

impl PolicyRouteFollower {
    /// To be called every few seconds.
    pub(in crate::firewall) fn update(&mut self, policy: &Policy) {
        let result = add(policy);
        if result.as_ref().is_ok_and(|made| *made > 0) {
            self.puts.0 += 1;
        }
        self.told.set(result.err().map(|error| {
            format!("the policy routes of captured UDP are not kept: {error}; it is tried again")
        }));
    }

    /// To be called after every change of the network. Another program that takes them away
    /// whenever they come is not outrun: then it is for [`update`](Self::update).
    pub(in crate::firewall) fn update_at_once(&mut self, policy: &Policy) {
        let (puts, since) = self.puts;
        if since.elapsed() >= WHILE {
            self.puts = (0, Instant::now());
        } else if puts >= MOST_PUTS {
            return;
        }
        self.update(policy);
    }
}

/// So many attempts within [`WHILE`] are made as soon as something changes.
const MOST_PUTS: u32 = 100;
const WHILE: Duration = Duration::from_secs(10);
