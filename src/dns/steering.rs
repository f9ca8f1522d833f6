//! Steers the traffic of names that the operator gave a route of their own: their addresses go into
//! the router and the kernel before the client can use them.

use super::policy::LEARNED_AT_MOST;
use super::reply::Stored;
use crate::dispatch::Current;
use crate::ipset::{self, IpSet};
use crate::route::{NamedWay, Route};
use std::cell::Cell;
use std::time::Duration;

/// Addresses that one answer teaches at most: it may be a lie.
const MOST_LEARNED: usize = 64;

/// A program connects a little after the TTL has ended: so long a learned address stays known.
const LEARNED_BEYOND_TTL: Duration = Duration::from_secs(60);

/// The way to the router.
pub(super) struct Steering {
    current: Current,
    reserved: IpSet,
    /// Another resolver has taken the place of this one. What this one answers from now on is for
    /// the clients that have asked it, and teaches nothing.
    retired: Cell<bool>,
}

impl Steering {
    pub(super) fn new(current: Current) -> Self {
        Steering { current, reserved: ipset::reserved(), retired: Cell::new(false) }
    }

    /// Ends this one; returns the one for the next resolver.
    pub(super) fn succeed(&self) -> Self {
        self.retired.set(true);
        Steering::new(self.current.clone())
    }

    /// Learns the addresses in an answer about a name that has this way by a rule.
    pub(super) fn learn(&self, way: Option<NamedWay>, stored: &Stored) {
        if self.retired.get() {
            return;
        }
        let Some(way) = way.filter(|way| way.route != Route::Block) else { return };
        let ttl = Duration::from_secs(stored.lifetime().min(LEARNED_AT_MOST).into());
        let dispatcher = self.current.load();
        // The owner of the name chooses the addresses: it must not steer those of local networks.
        let addresses = stored.destinations().into_iter().filter(|ip| !self.reserved.contains(*ip));
        for address in addresses.take(MOST_LEARNED) {
            dispatcher.learned().learn_via(address, way, ttl + LEARNED_BEYOND_TTL);
        }
    }
}
