//! The addresses that mark a forged answer: those of `dns.bogus`, those that rewriting providers
//! put into the place of NXDOMAIN, and for a while those that a comparison has found.

use crate::ipset::IpSet;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an address counts that was found by comparison: who owns a few names can make a good
/// one look forged.
const CONVICTED_FOR: Duration = Duration::from_secs(3600);

/// So many of them at a time.
const MOST_CONVICTED: usize = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct ForgedAddresses {
    lasting: IpSet,
    convicted: VecDeque<(IpAddr, Instant)>,
    all: IpSet,
}

impl ForgedAddresses {
    /// Those of the configuration.
    pub(super) fn new(configured: &IpSet) -> Self {
        ForgedAddresses {
            lasting: configured.clone(),
            convicted: VecDeque::new(),
            all: configured.clone(),
        }
    }

    /// All of this moment.
    pub(super) fn all(&self) -> &IpSet {
        &self.all
    }

    /// These too, as long as the network is the same.
    pub(super) fn add(&mut self, addresses: &IpSet) {
        self.lasting = self.lasting.union(addresses);
        self.count();
    }

    /// This one too, for a while; of many the last ones.
    pub(super) fn convict(&mut self, address: IpAddr, now: Instant) {
        if self.convicted.len() >= MOST_CONVICTED {
            self.convicted.pop_front();
        }
        self.convicted.push_back((address, now + CONVICTED_FOR));
        self.count();
    }

    /// Believes one again whose time is over, and returns it.
    pub(super) fn acquit(&mut self, now: Instant) -> Option<IpAddr> {
        let (address, _) = *self.convicted.front().filter(|(_, until)| *until <= now)?;
        self.convicted.pop_front();
        self.count();
        Some(address)
    }

    fn count(&mut self) {
        let convicted = self.convicted.iter().map(|(address, _)| *address).collect();
        self.all = self.lasting.union(&convicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conviction_ends_and_is_bounded() {
        let (mut forged, now) = (ForgedAddresses::default(), Instant::now());
        let address = |last: usize| IpAddr::from([198, 51, 100, u8::try_from(last).unwrap()]);
        for last in 0..=MOST_CONVICTED {
            forged.convict(address(last), now);
        }
        let has = |forged: &ForgedAddresses, last| forged.all().contains(address(last));
        assert!(!has(&forged, 0) && has(&forged, 1) && has(&forged, MOST_CONVICTED));
        forged.add(&[address(200)].into_iter().collect());
        assert_eq!(forged.acquit(now + CONVICTED_FOR - Duration::from_secs(1)), None);
        assert_eq!(forged.acquit(now + CONVICTED_FOR), Some(address(1)));
        assert!(!has(&forged, 1) && has(&forged, 2) && has(&forged, 200));
    }
}
