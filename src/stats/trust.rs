//! What the domestic name servers said where their word was weighed, and which addresses mark a
//! forged answer: whether the names of this network are clean.

use super::Counter;
use crate::sync::lock;
use std::net::IpAddr;
use std::sync::Mutex;

/// Addresses that are told.
const MOST: usize = 16;

/// Domestic replies of which it was judged whether they are to be believed.
#[derive(Debug, Default)]
pub struct TrustStats {
    /// All of them.
    pub weighed: Counter,
    /// Only foreign addresses: forged or true, the trusted side decided.
    pub foreign: Counter,
    /// Addresses that cannot be true.
    pub forged: Counter,
    /// The name servers were found to give these for names that do not exist.
    forging: Mutex<Vec<IpAddr>>,
}

impl TrustStats {
    /// Such answers are forged.
    pub fn forges(&self, addresses: &[IpAddr]) {
        let mut forging = lock(&self.forging);
        for address in addresses {
            if forging.len() < MOST && !forging.contains(address) {
                forging.push(*address);
            }
        }
    }

    /// Another network, or this one counts as good again.
    pub fn acquit(&self, address: Option<IpAddr>) {
        lock(&self.forging).retain(|known| address.is_some_and(|it| it != *known));
    }

    /// Those that the name servers put in the place of the truth.
    pub fn forging(&self) -> Vec<IpAddr> {
        lock(&self.forging).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_forgers_are_told_once_and_forgotten() {
        let trust = TrustStats::default();
        let address = |last| IpAddr::from([198, 51, 100, last]);
        trust.forges(&[address(1), address(2)]);
        trust.forges(&[address(2), address(3)]);
        assert_eq!(trust.forging(), [address(1), address(2), address(3)]);
        trust.acquit(Some(address(2)));
        assert_eq!(trust.forging(), [address(1), address(3)]);
        trust.acquit(None);
        assert!(trust.forging().is_empty());
        (0..100).for_each(|last| trust.forges(&[address(last)]));
        assert_eq!(trust.forging().len(), MOST);
    }
}
